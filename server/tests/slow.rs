//! Clients that are slow on purpose, and many that send a lot at once. They get a clear answer, memory stays bounded, and
//! other clients are served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::net::SocketAddr;
use std::time::Duration;

use access::Caller;
use api::paths::APPLY;
use api::serve::{Patience, patiently};
use axum::Extension;
use process::{Api, Process};
use server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const PATIENCE: Patience = Patience { head: Duration::from_millis(300), body: Duration::from_millis(300) };

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("nothing happened within 60 s")
}

async fn serve() -> SocketAddr {
    let server = Server::open(Config::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server::http::for_callers(server).layer(Extension(Caller::root(0)));
    tokio::spawn(patiently(PATIENCE, std::future::pending(), Duration::ZERO, listener, router));
    address
}

/// Everything the server sends until it closes the connection.
async fn rest(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ = soon(socket.read_to_end(&mut answer)).await; // a reset ends it, too
    String::from_utf8_lossy(&answer).into_owned()
}

async fn others_are_served(address: SocketAddr) {
    let api = Api::of(process::Addresses { grpc: address, http: address, api: address, https: address });
    assert_eq!(soon(api.list("hardware")).await.len(), 0);
}

#[tokio::test]
async fn a_body_that_comes_a_byte_at_a_time_is_refused_after_a_while_and_others_are_served_meanwhile() {
    let address = serve().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let socket = TcpStream::connect(address).await.unwrap();
        let (reader, mut writer) = socket.into_split();
        let head = format!("POST {APPLY} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        tokio::spawn(async move {
            while writer.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        slow.push(reader);
    }
    others_are_served(address).await;
    let api = Api::of(process::Addresses { grpc: address, http: address, api: address, https: address });
    assert_eq!(soon(api.apply(process_template("later", 10))).await.unwrap().0, 200, "an upload after them has its turn");
    for mut reader in slow {
        let answer = rest(&mut reader).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not come within 0.3 s"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_closed_after_a_while() {
    let address = serve().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut begun = TcpStream::connect(address).await.unwrap();
    begun.write_all(b"GET /version HTTP/1.1\r\nx-").await.unwrap();
    others_are_served(address).await;
    for socket in [&mut silent, &mut begun] {
        let answer = rest(socket).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

fn process_template(name: &str, bytes: usize) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: {name}}}\nspec:\n  data: |\n    name: t\n    tasks:\n    - name: t\n      \
         worker: a\n      environment: {{LONG: \"{}\"}}\n      actions: [{{name: a0, image: \"i:1\", timeout: 60}}]\n",
        "x".repeat(bytes)
    )
}

/// Not a real test: it is the process whose memory is measured.
#[test]
fn serving_process() {
    process::serve_if_asked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_templates_at_once_take_turns_in_bounded_memory() {
    if process::is_serving_process() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--exact", "serving_process", "--nocapture", "--test-threads=1"];
    let mut server = Process::start(&arguments, &folder.path().join("thimble.redb"), Duration::from_secs(1));
    let api = Api::of(server.addresses().await.unwrap());
    let before = server.memory("VmRSS");
    let uploads = (0..24).map(|number| {
        let api = api.clone();
        tokio::spawn(async move { api.apply(process_template(&format!("large-{number}"), 900_000)).await.unwrap().0 })
    });
    for upload in uploads.collect::<Vec<_>>() {
        let status = timeout(Duration::from_secs(120), upload).await.expect("an upload hangs").unwrap();
        assert!(status == 200 || status == 422, "{status}");
    }
    let peak = server.memory("VmHWM") - before;
    println!("24 Templates of 0.9 MB at once: {peak:.0} MiB more at the peak");
    assert!(peak < 250.0, "{peak:.0} MiB more for 24 Templates of 0.9 MB");
}
