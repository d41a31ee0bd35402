//! A server in a separate process, which can be killed and whose memory can be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::{Access, Caller, Local, Names};
use api::paths::APPLY;
use axum::Extension;
use proto::workflow_service_client::WorkflowServiceClient;
use reqwest::{Client, Method};
use serde_json::Value;
use server::grpc::{HTTP2, Port};
use server::{Config, Entrance, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

const STORE: &str = "THIMBLE_TEST_SERVER_STORE";
const LONG_POLL: &str = "THIMBLE_TEST_SERVER_LONG_POLL";
const READY: &str = "listening ";

/// Where the server of a store keeps its tokens and certificates.
pub fn data_folder(store: &Path) -> PathBuf {
    store.with_extension("data")
}

/// Who may call a server with this store. It can be opened beside the server's.
pub fn access(store: &Path) -> Arc<Access> {
    Access::open(&data_folder(store), Names::local(), jiff::Timestamp::now()).unwrap()
}

async fn entrance(store: &Path) -> Entrance {
    std::fs::create_dir_all(data_folder(store)).unwrap();
    let https = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Entrance { access: access(store), https, local: Some(Local::bind(&data_folder(store).join("api.sock")).unwrap()) }
}

/// Serves if this is the started process. Returns false in the process that starts it.
pub fn serve_if_asked() -> bool {
    let (Some(store), Ok(long_poll)) = (std::env::var_os(STORE), std::env::var(LONG_POLL)) else { return false };
    let long_poll = Duration::from_millis(long_poll.parse().unwrap());
    server::allow_many_connections();
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    executor.block_on(async {
        let store = PathBuf::from(store);
        let entrance = entrance(&store).await;
        let logs = Some((store.with_file_name("log"), server::LogLimits::default()));
        let server = Server::open(Config { store: Some(store), logs, long_poll, ..Config::default() }).await.unwrap();
        let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc, http, api) = (listener().await, listener().await, listener().await);
        let [at_grpc, at_http, at_api] = [&grpc, &http, &api].map(|one| one.local_addr().unwrap());
        let at_https = entrance.https.local_addr().unwrap();
        println!("{READY}{at_grpc} {at_http} {at_api} {at_https}");
        std::io::stdout().flush().unwrap();
        let router = server::http::for_callers(server.clone()).layer(Extension(Caller::root(0)));
        tokio::spawn(api::serve::until(std::future::pending(), Duration::ZERO, api, router));
        let grpc = Port::with_tls(grpc, entrance.access.tls(&[HTTP2], false).unwrap());
        tokio::spawn(entrance.serve(server.clone()));
        server::run(server, grpc, http, std::future::pending()).await.unwrap();
    });
    true
}

pub fn is_serving_process() -> bool {
    std::env::var_os(STORE).is_some()
}

/// A server process that has been started. It may not listen yet.
pub struct Process {
    child: Child,
    addresses: Option<JoinHandle<Option<Addresses>>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The API, as root of this host has it.
    pub api: SocketAddr,
    pub https: SocketAddr,
}

impl Process {
    /// Starts this program again with these arguments. Its `main` or test must call `serve_if_asked`.
    pub fn start(arguments: &[&str], store: &Path, long_poll: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env(STORE, store)
            .env(LONG_POLL, long_poll.as_millis().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let read = move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.find_map(|line| {
                let mut addresses = line.split(READY).nth(1)?.trim().split(' ').map_while(|address| address.parse().ok());
                let mut next = || addresses.next();
                Some(Addresses { grpc: next()?, http: next()?, api: next()?, https: next()? })
            })
        };
        Self { child, addresses: Some(tokio::task::spawn_blocking(read)) }
    }

    /// The addresses it listens on, or `None` if it ended before.
    pub async fn addresses(&mut self) -> Option<Addresses> {
        self.addresses.take()?.await.unwrap()
    }

    /// Sends SIGKILL. When this returns, the process is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // an error only means that it has ended
        let _ = self.child.wait();
    }

    /// Waits until it has this many files and connections, and no longer uses processor time.
    pub async fn quiet(&self, connections: usize) {
        let (mut last, limit) = (u64::MAX, Instant::now() + Duration::from_secs(120));
        loop {
            let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count();
            let now = self.ticks();
            if open >= connections && now <= last.saturating_add(1) {
                return;
            }
            assert!(Instant::now() < limit, "{open} of {connections} connections, {now} ticks");
            last = now;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The share of one core that it uses in this time.
    pub async fn load(&self, time: Duration) -> f64 {
        let before = self.ticks();
        tokio::time::sleep(time).await;
        self.ticks().saturating_sub(before) as f64 / 100.0 / time.as_secs_f64()
    }

    /// Processor time in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// A line of `/proc/PID/status` in MiB.
    pub fn memory(&self, key: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Addresses {
    /// A separate connection, which is made by the first call.
    pub fn agent(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(self.endpoint("http").connect_lazy())
    }

    /// The same from an address of its own, as one of several hosts: one client does not get all connections.
    pub fn agent_from(&self, number: usize) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(self.endpoint("http").local_address(Some(host(number))).connect_lazy())
    }

    /// The same by TLS, for an agent that believes this certificate.
    pub fn agent_by_tls(&self, number: usize, verifier: &Arc<trust::Verifier>) -> WorkflowServiceClient<Channel> {
        let endpoint = self.endpoint("https").local_address(Some(host(number)));
        let endpoint = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), Arc::clone(verifier) as _).unwrap();
        WorkflowServiceClient::new(endpoint.connect_lazy())
    }

    pub fn endpoint(&self, scheme: &str) -> Endpoint {
        Endpoint::from_shared(format!("{scheme}://{}", self.grpc)).unwrap()
    }
}

/// One of forty addresses of loopback.
fn host(number: usize) -> IpAddr {
    IpAddr::from([127, 0, 7, u8::try_from(number % 40 + 1).unwrap()])
}

/// The API from a client's side. An error means that the server is gone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    pub fn of(addresses: Addresses) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
        Self { client: Client::new(), base: format!("http://{}", addresses.api) }
    }

    pub async fn call(&self, method: Method, path: &str, body: String) -> Result<(u16, Value), reqwest::Error> {
        let response = self.client.request(method, format!("{}{path}", self.base)).body(body).send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// A page as it is.
    pub async fn text(&self, path: &str) -> Result<String, reqwest::Error> {
        self.client.get(format!("{}{path}", self.base)).send().await?.text().await
    }

    pub async fn apply(&self, text: String) -> Result<(u16, Value), reqwest::Error> {
        self.call(Method::POST, APPLY, text).await
    }

    /// All objects of a kind of v1alpha1.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let path = format!("/apis/tinkerbell.org/v1alpha1/{kind}");
        let (_, mut list) = self.call(Method::GET, &path, String::new()).await.unwrap();
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("no list of {kind}: {other}"),
        }
    }
}

/// Repeatable random choices (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
