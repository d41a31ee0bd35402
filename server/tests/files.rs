//! A process that may open few files: it keeps places for new clients, says what is wrong once, and recovers. The limit belongs
//! to the whole process, so this is one test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::serve::Gate;
use lab::lines::{lines_with, listen};
use lab::{Lab, soon};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const FILES: u64 = 400;

async fn connect(last: u8, target: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(Ipv4Addr::new(127, 0, 8, last)), 0)).unwrap();
    soon(socket.connect(target)).await.unwrap()
}

/// The answer to a request for the health of the server.
async fn asks(socket: &mut TcpStream) -> String {
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn refused(lab: &Lab, reason: &str) -> u64 {
    let page = lab.server.metrics();
    let line = format!("thimble_refused_connections_total{{reason=\"{reason}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap()
}

#[tokio::test]
async fn a_process_with_few_files_keeps_places_for_new_clients_and_recovers_when_it_has_none() {
    listen();
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: most }).unwrap();
    let lab = Lab::hasty().await;

    // One client takes what it can get.
    let mut flood = Vec::new();
    for target in [lab.http, lab.grpc].into_iter().cycle() {
        flood.push(connect(1, target).await);
        if refused(&lab, "share") > 0 {
            break;
        }
        assert!(flood.len() < 300, "{} connections of one client", flood.len());
        tokio::task::yield_now().await;
    }
    let lines = lines_with("address=127.0.8.1 has ");
    assert!(lines.len() == 1 && lines[0].contains("open connections; its further ones are closed"), "{lines:?}");
    assert!(asks(&mut connect(2, lab.http).await).await.contains(" 200 OK"), "another client");
    drop(flood);
    soon(async {
        while Gate::default().open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // No file is left for a connection.
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop(); // for the client's end
    let mut waiting = connect(3, lab.http).await;
    soon(async {
        while refused(&lab, "files") < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let lines = lines_with("no connection can be accepted");
    assert!(lines.len() == 1 && lines[0].contains("LimitNOFILE="), "{lines:?}");
    drop(files);
    assert!(asks(&mut waiting).await.contains(" 200 OK"), "it was not lost");

    server::allow_many_connections();
    let now = getrlimit(Resource::Nofile);
    assert!(now.current == now.maximum && now.maximum >= most, "the limit is raised at the start");
    lab.stop().await;
}
