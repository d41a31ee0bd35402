//! image2disk by mirrors and through a proxy that forwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use images::{Answer, DISK, Disk, NO_RETRY, Server, image, zstd};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[test]
fn the_next_mirror_is_asked_when_one_has_not_the_file() {
    let packed = zstd(&image());
    for (case, first) in [("not found", Answer::Status(404)), ("server error", Answer::Status(500))] {
        let (bad, good) = (Server::start(packed.clone(), &[first]), Server::start(packed.clone(), &[Answer::Whole]));
        let disk = Disk::of(DISK);
        let urls = format!("{}  {}", bad.url("d.zst"), good.url("d.zst"));
        disk.write(&urls, &[NO_RETRY]).unwrap_or_else(|error| panic!("{case}: {error}"));
        disk.must_hold(&image(), case);
    }
    let servers = [Answer::Status(404), Answer::Status(403)].map(|answer| Server::start(packed.clone(), &[answer]));
    let disk = Disk::of(DISK);
    let urls = format!("{} {}", servers[0].url("d.zst"), servers[1].url("d.zst"));
    let error = disk.write(&urls, &[NO_RETRY]).unwrap_err();
    assert!(error.contains("answers 403"), "{error}");
    disk.must_be_untouched("no mirror has it");
}

#[test]
fn another_mirror_continues_if_a_checksum_proves_the_whole() {
    let packed = zstd(&image());
    let sum = hex::encode(Sha256::digest(&packed));
    for (case, checksum, requests) in [("with a checksum", sum.as_str(), 1), ("without, from the start", "", 2)] {
        let dropping = Server::start(packed.clone(), &[Answer::Drop(900_000), Answer::Status(404)]);
        let other = Server::start(packed.clone(), &[Answer::Part]);
        let disk = Disk::of(DISK);
        disk.write(&format!("{} {}", dropping.url("d"), other.url("d")), &[("IMG_SHA256", checksum)]).unwrap();
        disk.must_hold(&image(), case);
        assert_eq!(other.requests().len(), requests, "{case}: {:?}", other.requests());
        assert!(other.requests()[0].is_some(), "{case}: it was asked for the rest");
    }
    // The same length, and other bytes.
    let mut wrong = packed.clone();
    let last = wrong.len() - 5;
    wrong[last] ^= 1;
    let dropping = Server::start(packed, &[Answer::Drop(900_000), Answer::Status(404)]);
    let other = Server::start(wrong, &[Answer::Part]);
    let disk = Disk::of(DISK);
    let urls = format!("{} {}", dropping.url("d"), other.url("d"));
    assert!(disk.write(&urls, &[("IMG_SHA256", &sum)]).is_err());
    disk.must_not_boot("another file at the mirror");
}

/// Forwards requests in absolute form only, as many proxies do for port 80.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let lines = seen.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let lines = lines.clone();
            std::thread::spawn(move || forward(client, &lines));
        }
    });
    (address, seen)
}

fn forward(client: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|got| *got > 0)?;
    }
    seen.lock().unwrap().push(head.clone());
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut client = client;
    let Some((authority, path)) =
        target.strip_prefix("http://").and_then(|rest| rest.split_once('/')).filter(|_| method == "GET")
    else {
        let _ = client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        return None;
    };
    let mut server = TcpStream::connect(authority).ok()?;
    write!(server, "GET /{path} HTTP/1.1\r\nConnection: close\r\n{headers}").ok()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = server.read(&mut buffer).ok().filter(|got| *got > 0)?;
        client.write_all(&buffer[..got]).ok()?;
    }
}

#[test]
fn a_proxy_gets_http_requests_in_absolute_form() {
    let packed = zstd(&image());
    let (server, disk) = (Server::start(packed.clone(), &[Answer::Drop(900_000), Answer::Part]), Disk::of(DISK));
    let (address, seen) = proxy();
    let proxy_url = format!("http://joe:t0p@{address}");
    disk.write(&server.url("d.zst"), &[("http_proxy", &proxy_url), ("no_proxy", "elsewhere.example")]).unwrap();
    disk.must_hold(&image(), "by the proxy");
    let lines = seen.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "the rest came by the proxy, too: {lines:?}");
    for line in &lines {
        assert!(line.starts_with(&format!("GET {} HTTP/1.1\r\n", server.url("d.zst"))), "{line}");
        assert!(line.contains("Proxy-Authorization: Basic am9lOnQwcA=="), "{line}");
    }

    let disk = Disk::of(DISK);
    disk.write(&server.url("d.zst"), &[("http_proxy", &proxy_url), ("no_proxy", "127.0.0.0/8")]).unwrap();
    disk.must_hold(&image(), "around the proxy");
    assert_eq!(seen.lock().unwrap().len(), 2);
}
