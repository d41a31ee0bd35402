//! Connections of HTTP over real sockets: requests in a row, clients that close half, stall, or send nonsense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use boots::http::Limits;
use boots::{Config, Events, Milestone};
use bytes::Bytes;
use futures_util::StreamExt;
use support::{Fixed, Host, LIMIT, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The next answer on a connection: its status line and its body.
async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(LIMIT, stream.read_u8()).await.expect("no answer in time").unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .to_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut body)).await.expect("no body in time").unwrap();
    (head.lines().next().unwrap().to_owned(), body)
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("the connection stays open").unwrap();
    bytes
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let host = Host::start().await;
    let (small, large) = (pattern(1000), pattern(3_000_000));
    host.file("small", &small);
    host.file("large", &large);
    let row = "GET /files/small HTTP/1.1\r\n\r\nGET /files/large HTTP/1.1\r\n\r\nGET /files/nothing HTTP/1.1\r\n\r\n\
               GET /files/small HTTP/1.1\r\nRange: bytes=-5\r\n\r\nGET /files/large HTTP/1.0\r\n\r\n";
    let mut stream = connect(host.http, row).await;
    assert!(answer(&mut stream).await == ("HTTP/1.1 200 OK".to_owned(), small.clone()));
    assert!(answer(&mut stream).await == ("HTTP/1.1 200 OK".to_owned(), large.clone()));
    assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 404 Not Found");
    assert_eq!(answer(&mut stream).await, ("HTTP/1.1 206 Partial Content".to_owned(), small[995..].to_vec()));
    assert!(answer(&mut stream).await == ("HTTP/1.0 200 OK".to_owned(), large));
    assert!(until_closed(stream).await.is_empty(), "a client of HTTP/1.0 expects the end");
    host.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_the_whole_answer() {
    let host = Host::start().await;
    let content = pattern(3_000_000);
    host.file("large", &content);
    for (path, length) in [("/files/large", content.len()), ("/ipxe/script/02:00:00:00:00:01/auto.ipxe", 100)] {
        let mut stream = connect(host.http, &format!("GET {path} HTTP/1.1\r\nHost: boots\r\n\r\n")).await;
        stream.shutdown().await.unwrap();
        let bytes = until_closed(stream).await;
        assert!(bytes.starts_with(b"HTTP/1.1 200 OK") && bytes.len() > length, "{path}: {} bytes", bytes.len());
    }
    host.stop().await;
}

/// hyper serves what is not a plain request for a file or a script, also behind one on the same connection.
#[tokio::test]
async fn other_requests_of_a_connection_are_served_too() {
    let host = Host::start().await;
    let content = pattern(300_000);
    host.file("file", &content);
    let get = "GET /files/file HTTP/1.1\r\n\r\n";
    let row = format!("{get}POST /files/file HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc{get}GET /healthz HTTP/1.1\r\n\r\n");
    let mut stream = connect(host.http, &row).await;
    assert!(answer(&mut stream).await == ("HTTP/1.1 200 OK".to_owned(), content.clone()));
    assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 405 Method Not Allowed");
    assert!(answer(&mut stream).await == ("HTTP/1.1 200 OK".to_owned(), content));
    assert_eq!(answer(&mut stream).await.1, b"ok");
    host.stop().await;
}

/// Thousands of machines may load their ramdisks at that time.
#[tokio::test]
async fn a_script_is_answered_while_the_executor_is_busy() {
    let host = Host::start().await;
    let get = b"GET /ipxe/script/02:00:00:00:00:01/auto.ipxe HTTP/1.1\r\n\r\n";
    host.file("small", b"small");
    let mut stream = connect(host.http, "GET /files/small HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer(&mut stream).await.1, b"small");
    // The executor has this thread only, which does nothing else until it has the script.
    let (mut waiting, mut first) = (std::net::TcpStream::connect(host.http).unwrap(), [0; 15]);
    waiting.set_read_timeout(Some(LIMIT)).unwrap();
    std::io::Write::write_all(&mut waiting, get).unwrap();
    std::io::Read::read_exact(&mut waiting, &mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    host.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_with_a_reason() {
    let host = Host::start().await;
    let long = format!("GET /files/a HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(70_000));
    for (text, status) in [("GET /files/a b HTTP/1.1\r\n\r\n", "400 Bad Request"), (long.as_str(), "431 Request Header Fields")] {
        let bytes = until_closed(connect(host.http, text).await).await;
        assert!(bytes.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{}", String::from_utf8_lossy(&bytes));
    }
    host.stop().await;
}

/// boots' paths alone, for clients that take this long at most.
async fn impatient(milliseconds: u64) -> (tempfile::TempDir, SocketAddr, Events) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), vec![7; 64 << 20]).unwrap();
    let config = Config::new(Ipv4Addr::LOCALHOST, folder.path().to_owned(), folder.path().to_owned());
    let events = Events::new();
    let router = boots::http::router(Arc::new(config), Arc::new(Fixed::default()), events.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: Duration::from_millis(milliseconds), stalled: Duration::from_millis(milliseconds) };
    tokio::spawn(boots::http::within(limits, std::future::pending(), listener, router));
    (folder, address, events)
}

#[tokio::test]
async fn a_client_that_sends_nothing_or_takes_nothing_is_cut() {
    let (_folder, address, events) = impatient(200).await;
    assert!(until_closed(connect(address, "").await).await.is_empty(), "no request");
    assert!(until_closed(connect(address, "GET /files/large HTTP/1.1\r\nA").await).await.is_empty(), "half a request");
    let mut listener = events.subscribe();
    let stream = connect(address, "GET /files/large HTTP/1.1\r\n\r\n").await;
    let cut = async {
        loop {
            if let Milestone::Interrupted { sent, total, .. } = listener.recv().await.unwrap().milestone {
                return (sent, total);
            }
        }
    };
    let (sent, total) = tokio::time::timeout(LIMIT, cut).await.expect("the transfer stays open");
    assert!(sent < total, "{sent} of {total}");
    drop(stream);
}

/// An image on its way to a BMC is such an answer.
#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_without_a_file_is_cut() {
    let (guard, dropped) = tokio::sync::oneshot::channel::<()>();
    let guard = Arc::new(Mutex::new(Some(guard)));
    let body = move || {
        let guard = guard.lock().unwrap().take();
        let chunks = futures_util::stream::repeat(Bytes::from_static(&[7; 1 << 16])).map(move |chunk| {
            let _kept = &guard;
            Ok::<_, Infallible>(chunk)
        });
        std::future::ready(Body::from_stream(chunks))
    };
    let router = Router::new().route("/iso/endless", axum::routing::get(body));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: LIMIT, stalled: Duration::from_millis(200) };
    tokio::spawn(boots::http::within(limits, std::future::pending(), listener, router));
    let stream = connect(address, "GET /iso/endless HTTP/1.1\r\nHost: boots\r\n\r\n").await;
    assert!(tokio::time::timeout(LIMIT, dropped).await.expect("the body stays open").is_err());
    drop(stream);
}

/// The promised length does not come, and the client notices.
#[tokio::test]
async fn a_file_that_becomes_shorter_breaks_its_download_off() {
    let (folder, address, _events) = impatient(20_000).await;
    let mut stream = connect(address, "GET /files/large HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    std::fs::File::options().write(true).open(folder.path().join("large")).unwrap().set_len(1000).unwrap();
    let bytes = until_closed(stream).await;
    assert!(bytes.len() < 64 << 20, "{} bytes", bytes.len());
}

#[tokio::test]
async fn curl_gets_files_by_its_own_ways() {
    if Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("skipped: no curl command");
    }
    let host = Host::start().await;
    let content = pattern(2_000_000);
    host.file("kernel", &content);
    let (target, part) = (host.folder.path().join("got"), content[..700_001].to_vec());
    let url = format!("http://{}/files/kernel", host.http);
    for (case, options, before) in [
        ("whole", &["--fail"][..], None),
        ("with HTTP/1.0", &["--fail", "--http1.0"], None),
        ("the rest of a download", &["--fail", "--continue-at", "-"], Some(&part)),
        ("slowly", &["--fail", "--limit-rate", "4M"], None),
    ] {
        let _ = std::fs::remove_file(&target);
        before.inspect(|part| std::fs::write(&target, part).unwrap());
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--output"]).arg(&target).args(options).arg(&url);
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{case}: {output:?}");
        assert!(std::fs::read(&target).unwrap() == content, "{case}");
    }
    host.stop().await;
}
