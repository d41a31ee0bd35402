//! New settings while boots serves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use boots::{Config, Milestone};
use support::{Host, KNOWN, LIMIT, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(host: &Host, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("no answer in time").unwrap();
    all
}

async fn script(host: &Host) -> String {
    String::from_utf8(rest(ask(host, &format!("/ipxe/script/{KNOWN}/auto.ipxe")).await).await).unwrap()
}

#[tokio::test]
async fn new_settings_hold_for_the_next_request_and_a_transfer_goes_on() {
    let mut host = Host::start().await;
    let content = pattern(32 << 20); // more than the buffers of both sockets
    host.file("image", &content);
    let mut slow = ask(&host, "/files/image").await;
    let mut begin = vec![0; 1000];
    slow.read_exact(&mut begin).await.unwrap();
    assert!(script(&host).await.contains("/files/kernel "));

    let other = host.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("snp.efi"), b"another folder").unwrap();
    let before = Config::clone(&host.settings.borrow());
    host.settings.send_replace(Arc::new(Config { kernel: "new/kernel".to_owned(), nbp: other, ..before }));

    assert!(script(&host).await.contains("/files/new/kernel "));
    assert!(rest(ask(&host, "/ipxe/binary/snp.efi").await).await.ends_with(b"another folder"));
    assert!(rest(slow).await.ends_with(&content[content.len() - 1_000_000..]));
    let done = Milestone::Downloaded { path: "image".to_owned(), bytes: 32 << 20 };
    assert_eq!(host.milestone(done).await.mac, Some(KNOWN));
    host.stop().await;
}
