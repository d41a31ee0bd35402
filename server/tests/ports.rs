//! The port of the workflow service: agents with TLS and without on one port, and which of them are let in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::net::SocketAddr;
use std::sync::Arc;

use access::{Access, Names, PlainGrpc};
use jiff::Timestamp;
use lab::{MAC, apply, everything, soon};
use proto::ActionRequest;
use proto::workflow_service_client::WorkflowServiceClient;
use rustls::pki_types::CertificateDer;
use server::grpc::{HTTP2, Port};
use server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

struct Bench {
    server: Server,
    access: Arc<Access>,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn start(plain_grpc: PlainGrpc) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::open(folder.path(), Names::local(), Timestamp::now()).unwrap();
        let server = Server::open(Config { plain_grpc, ..Config::default() }).await.unwrap();
        apply(&server, &everything()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = Port::with_tls(listener, access.tls(&[HTTP2], false).unwrap());
        tokio::spawn(server::grpc::serve(server.clone(), port, std::future::pending()));
        Self { server, access, address, _folder: folder }
    }

    async fn plain(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// An agent that believes these certificates.
    async fn tls(&self, trusted: &[CertificateDer<'static>]) -> Result<WorkflowServiceClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        let verifier = Arc::new(trust::Verifier::new(trusted));
        let endpoint = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), verifier).unwrap();
        Ok(WorkflowServiceClient::new(endpoint.connect().await?))
    }

    fn encrypted(&self) -> Option<bool> {
        self.server.machine(MAC.parse().unwrap()).unwrap().agent.unwrap().encrypted
    }
}

fn question() -> ActionRequest {
    ActionRequest { agent_id: Some(MAC.to_owned()), agent_attributes: None }
}

#[tokio::test]
async fn agents_with_tls_and_without_get_their_work_on_one_port() {
    let bench = Bench::start(PlainGrpc::Known).await;
    let action = soon(bench.plain().await.get_action(question())).await.unwrap().into_inner();
    assert_eq!((action.name.as_deref(), bench.encrypted()), (Some("a0"), Some(false)));
    let mut encrypted = bench.tls(&[bench.access.authority.certificate().clone()]).await.unwrap();
    let again = soon(encrypted.get_action(question())).await.unwrap().into_inner();
    assert_eq!((again.action_id, bench.encrypted()), (action.action_id, Some(true)), "the same action, asked for by TLS");
}

#[tokio::test]
async fn an_agent_that_does_not_know_the_authority_does_not_speak() {
    let bench = Bench::start(PlainGrpc::Known).await;
    assert!(bench.tls(&[]).await.is_err());
}

#[tokio::test]
async fn plain_calls_are_refused_with_what_to_do() {
    let elsewhere = || PlainGrpc::Networks(vec!["192.0.2.0/24".parse().unwrap()]);
    for (plain, allowed) in [(PlainGrpc::Known, true), (elsewhere(), true), (PlainGrpc::None, false)] {
        let bench = Bench::start(plain.clone()).await;
        let answer = soon(bench.plain().await.get_action(question())).await;
        match answer {
            Ok(_) => assert!(allowed, "{plain:?}"),
            Err(status) => {
                assert!(!allowed && status.code() == Code::PermissionDenied, "{plain:?}: {status}");
                assert!(status.message().contains("--plain-grpc"), "{status}");
            }
        }
        let mut encrypted = bench.tls(&[bench.access.authority.certificate().clone()]).await.unwrap();
        assert!(soon(encrypted.get_action(question())).await.is_ok(), "{plain:?}: TLS is always taken");
    }
}

#[tokio::test]
async fn silent_and_slow_connections_stop_no_agent() {
    let bench = Bench::start(PlainGrpc::Known).await;
    let mut slow = Vec::new();
    for n in 0..500 {
        let mut socket = TcpStream::connect(bench.address).await.unwrap();
        match n % 3 {
            0 => {}
            1 => socket.write_all(&[0x16, 3, 1, 2]).await.unwrap(), // the beginning of a handshake
            _ => socket.write_all(b"PRI * HTTP/2").await.unwrap(),  // the beginning of a plain one
        }
        slow.push(socket);
    }
    assert!(soon(bench.plain().await.get_action(question())).await.is_ok());
    let mut encrypted = bench.tls(&[bench.access.authority.certificate().clone()]).await.unwrap();
    assert!(soon(encrypted.get_action(question())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_begin_is_closed() {
    let bench = Bench::start(PlainGrpc::Known).await;
    for (case, begin) in [("nothing", &b""[..]), ("a handshake", &[0x16, 3, 1, 2]), ("HTTP/2", b"PRI * HTTP/2.0\r\n")] {
        let mut socket = TcpStream::connect(bench.address).await.unwrap();
        socket.write_all(begin).await.unwrap();
        let mut answer = Vec::new();
        // The clock moves on while nothing else happens.
        let _ = soon(socket.read_to_end(&mut answer)).await; // a reset closes it, too
        assert!(answer.len() < 64, "{case}: {} bytes before the end", answer.len()); // the settings of the server
    }
}
