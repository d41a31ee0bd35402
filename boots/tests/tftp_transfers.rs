//! TFTP over real sockets, with a client that loses packets on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use boots::{Milestone, tftp};
use support::{Host, KNOWN, LIMIT, assert_logged, keep_log, pattern};
use tokio::net::UdpSocket;

fn request(path: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 1];
    let words = [path, "octet"].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value]));
    for word in words {
        out.extend_from_slice(word.as_bytes());
        out.push(0);
    }
    out
}

struct Client {
    socket: UdpSocket,
    server: Option<SocketAddr>,
}

impl Client {
    async fn ask(host: &Host, packet: &[u8]) -> Self {
        Self::ask_from(Ipv4Addr::LOCALHOST, host, packet).await
    }

    /// Waits for a block. Earlier ones may come again, because a busy host reads an ACK late.
    async fn block(&mut self, number: u16) {
        let expected = [[0, 3], number.to_be_bytes()].concat();
        while self.receive().await[..4] != expected {}
    }

    async fn ask_from(address: Ipv4Addr, host: &Host, packet: &[u8]) -> Self {
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        socket.send_to(packet, host.tftp).await.unwrap();
        Self { socket, server: None }
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0; 2000];
        let received = tokio::time::timeout(LIMIT, self.socket.recv_from(&mut buffer)).await.expect("no packet in time");
        let (length, from) = received.unwrap();
        self.server = Some(from);
        buffer[..length].to_vec()
    }

    async fn ack(&self, block: u16) {
        let [high, low] = block.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], self.server.unwrap()).await.unwrap();
    }

    /// Receives a file as RFC 7440 asks: acknowledges at a window's end, and the last good block when one is missing.
    /// `lost` says which packet counts as lost, counted from 0.
    async fn fetch(&mut self, block: usize, window: u64, mut lost: impl FnMut(u64) -> bool) -> Vec<u8> {
        let (mut file, mut good, mut count, mut complained) = (Vec::new(), 0_u64, 0, None);
        loop {
            let packet = self.receive().await;
            count += 1;
            if lost(count - 1) {
                continue;
            }
            if packet[..2] == [0, 6] {
                self.ack(0).await;
                continue;
            }
            assert_eq!(packet[..2], [0, 3], "{packet:?}");
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            if number != (good + 1) as u16 {
                if complained.replace(good) != Some(good) {
                    self.ack(good as u16).await;
                }
                continue;
            }
            good += 1;
            complained = None;
            file.extend_from_slice(&packet[4..]);
            if packet.len() < 4 + block {
                self.ack(good as u16).await;
                return file;
            }
            if good % window == 0 {
                self.ack(good as u16).await;
            }
        }
    }
}

/// A socket in the folder stands for a file that cannot be opened, also by root.
#[tokio::test]
async fn a_program_that_cannot_be_opened_is_reported_with_its_cause() {
    keep_log();
    let host = Host::start().await;
    let _socket = std::os::unix::net::UnixListener::bind(host.folder.path().join("nbp/socket.efi")).unwrap();
    let mut client = Client::ask(&host, &request("socket.efi", &[])).await;
    assert_eq!(client.receive().await, b"\0\x05\0\0cannot read \"socket.efi\"\0", "firmware learns only what failed");
    assert_logged(&["TFTP ", "refused: cannot read \"socket.efi\": No such device or address"]);
    let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest wants one, also without TLS
    let answer = reqwest::get(format!("http://{}/ipxe/binary/socket.efi", host.http)).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert_logged(&["HTTP 127.0.0.1: cannot open \"socket.efi\": No such device or address"]);
    host.stop().await;
}

#[tokio::test]
async fn files_arrive_whole_with_any_options() {
    let mut host = Host::start().await;
    for (case, options, block, window, size) in [
        ("as in 1992", &[][..], 512, 1, 5000),
        ("whole blocks", &[], 512, 1, 1024),
        ("an empty file", &[], 512, 1, 0),
        ("large blocks", &[("blksize", "1468"), ("tsize", "0")], 1468, 1, 100_000),
        ("windows", &[("blksize", "1024"), ("windowsize", "8")], 1024, 8, 100_001),
        ("numbers that wrap", &[("blksize", "8"), ("windowsize", "16")], 8, 16, 600_000),
        ("the largest windows", &[("blksize", "1468"), ("windowsize", "64")], 1468, 64, 1_000_003),
    ] {
        host.nbp("ipxe.efi", &pattern(size));
        let mut client = Client::ask(&host, &request("02:00:00:00:00:01/ipxe.efi", options)).await;
        assert!(client.fetch(block, window, |_| false).await == pattern(size), "{case}");
        let sent = Milestone::NbpSent { file: "ipxe.efi".to_owned(), bytes: size as u64 };
        assert_eq!(host.milestone(sent).await.mac, Some(KNOWN), "{case}");
    }
    host.stop().await;
}

#[tokio::test]
async fn lost_packets_are_sent_again() {
    let host = Host::start().await;
    let content = pattern(20_000);
    host.nbp("undionly.kpxe", &content);
    for (case, options, block, window, lost) in [
        ("the option acknowledgement", &[("blksize", "1024")][..], 1024, 1, &[0][..]),
        ("a block", &[], 512, 1, &[3]),
        ("the first of a window", &[("blksize", "512"), ("windowsize", "4")], 512, 4, &[5]),
        ("the middle of a window", &[("blksize", "512"), ("windowsize", "4")], 512, 4, &[2, 11]),
        ("the last of a window", &[("blksize", "512"), ("windowsize", "4")], 512, 4, &[4]),
    ] {
        let mut client = Client::ask(&host, &request("undionly.kpxe", options)).await;
        assert!(client.fetch(block, window, |count| lost.contains(&count)).await == content, "{case}");
    }
    host.stop().await;
}

#[tokio::test]
async fn what_is_not_for_the_public_is_refused_with_the_right_code() {
    let host = Host::start().await;
    host.nbp("ipxe.efi", b"efi");
    std::fs::write(host.folder.path().join("secret"), "s").unwrap();
    std::os::unix::fs::symlink("../secret", host.folder.path().join("nbp/link")).unwrap();
    let write = [&b"\0\x02"[..], &request("ipxe.efi", &[])[2..]].concat();
    for (case, packet, code) in [
        ("a missing file", request("nothing.efi", &[]), 1),
        ("a path that climbs", request("../secret", &[]), 2),
        ("a path that climbs later", request("02:00:00:00:00:01/../../secret", &[]), 2),
        ("a link that leads out", request("link", &[]), 2),
        ("a write", write, 2),
        ("mail", b"\0\x01a\0mail\0".to_vec(), 4),
        ("a name without end", b"\0\x01aaaa".to_vec(), 4),
        ("another opcode", b"\0\x09".to_vec(), 4),
        ("nothing", b"".to_vec(), 4),
    ] {
        let answer = Client::ask(&host, &packet).await.receive().await;
        assert_eq!(answer[..4], [0, 5, 0, code], "{case}");
        assert_eq!(answer.last(), Some(&0), "{case}");
    }
    let mut client = Client::ask(&host, &request("/any/folder/ipxe.efi", &[])).await;
    assert_eq!(client.fetch(512, 1, |_| false).await, b"efi", "and it still serves");
    host.stop().await;
}

#[tokio::test]
async fn one_client_cannot_take_all_places() {
    let host = Host::start().await;
    host.nbp("ipxe.efi", &pattern(2000));
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Client::ask(&host, &request("ipxe.efi", &[])).await;
        client.block(1).await;
        client.ack(1).await;
        client.block(2).await;
        clients.push(client);
    }
    let refused = Client::ask(&host, &request("ipxe.efi", &[])).await.receive().await;
    assert_eq!(refused[..4], [0, 5, 0, 0], "one more");
    let again = clients.last_mut().unwrap();
    again.socket.send_to(&request("ipxe.efi", &[]), host.tftp).await.unwrap();
    assert_eq!(again.receive().await[..4], [0, 3, 0, 1], "starting over needs no new place");
    host.stop().await;
}

/// An error would end the boot of a machine, and a rack that is switched on would lose most of its machines to it.
#[tokio::test]
async fn a_client_that_finds_all_places_taken_gets_the_file_when_it_asks_again() {
    let host = Host::start().await;
    host.nbp("ipxe.efi", &pattern(2000));
    let limits = tftp::Limits::default();
    let mut clients = Vec::new();
    for number in 0..limits.in_all {
        let address = Ipv4Addr::new(127, 0, 3, u8::try_from(number / limits.per_client).unwrap() + 1);
        let mut client = Client::ask_from(address, &host, &request("ipxe.efi", &[])).await;
        assert_eq!(client.receive().await[..4], [0, 3, 0, 1]);
        client.ack(1).await;
        assert_eq!(client.receive().await[..4], [0, 3, 0, 2]);
        clients.push(client);
    }
    let mut late = Client::ask(&host, &request("ipxe.efi", &[])).await;
    late.socket.send_to(b"nonsense", host.tftp).await.unwrap();
    assert_eq!(late.receive().await[..4], [0, 5, 0, 4], "the answer to nonsense is the first one that it gets");
    let mut first = clients.swap_remove(0);
    first.ack(2).await;
    for block in 3..=4 {
        first.block(block).await;
        first.ack(block).await;
    }
    let served = async {
        loop {
            late.socket.send_to(&request("ipxe.efi", &[]), host.tftp).await.unwrap();
            late.socket.send_to(b"nonsense", host.tftp).await.unwrap();
            if late.receive().await[..4] == [0, 3, 0, 1] {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("no place in time");
    host.stop().await;
}

/// A ROM asks for the size and never comes back. Twenty machines behind one address do it four times each.
#[tokio::test]
async fn a_forgotten_probe_gives_its_place_to_the_next_request() {
    let host = Host::start().await;
    host.nbp("ipxe.efi", &pattern(2000));
    let mut probes = Vec::new();
    for _ in 0..64 {
        let mut probe = Client::ask(&host, &request("ipxe.efi", &[("tsize", "0")])).await;
        assert_eq!(probe.receive().await[..2], [0, 6]);
        probes.push(probe);
    }
    let served = async {
        loop {
            let mut client = Client::ask(&host, &request("ipxe.efi", &[])).await;
            if client.receive().await[..4] == [0, 3, 0, 1] {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("no place in time");
    host.stop().await;
}

/// Firmware that boots GRUB or shim asks for `grub/grubx64.efi`, and another file may have the same name elsewhere.
#[tokio::test]
async fn a_path_is_looked_for_as_asked_and_then_by_its_name() {
    let host = Host::start().await;
    std::fs::create_dir(host.folder.path().join("nbp/grub")).unwrap();
    host.nbp("grub/grubx64.efi", b"in the folder");
    host.nbp("grubx64.efi", b"beside it");
    for (path, content) in [
        ("grub/grubx64.efi", &b"in the folder"[..]),
        ("/grub/grubx64.efi", b"in the folder"),
        ("grubx64.efi", b"beside it"),
        ("02:00:00:00:00:01/grubx64.efi", b"beside it"),
    ] {
        let mut client = Client::ask(&host, &request(path, &[])).await;
        assert_eq!(client.fetch(512, 1, |_| false).await, content, "{path}");
        let answer = reqwest_get(&format!("http://{}/ipxe/binary/{}", host.http, path.trim_start_matches('/'))).await;
        assert_eq!(answer, content, "{path} by HTTP");
    }
    host.stop().await;
}

async fn reqwest_get(url: &str) -> Vec<u8> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest wants one, also without TLS
    reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec()
}

/// Of every twenty packets one gets lost, in both directions by turns.
#[tokio::test]
async fn lost_packets_cost_milliseconds_each() {
    let host = Host::start().await;
    let content = pattern(1_400_000);
    host.nbp("ipxe.efi", &content);
    for (options, window) in [(&[("blksize", "1400")][..], 1), (&[("blksize", "1400"), ("windowsize", "64")], 64)] {
        let started = std::time::Instant::now();
        let mut client = Client::ask(&host, &request("ipxe.efi", options)).await;
        assert!(client.fetch(1400, window, |count| count % 20 == 7).await == content);
        let (took, lost) = (started.elapsed(), 1000 / 20);
        assert!(took < std::time::Duration::from_millis(200) * lost, "{took:?} with windows of {window}");
    }
    host.stop().await;
}

/// Debian's client, if it is installed; its options differ from the tests'.
#[tokio::test]
async fn the_tftp_command_gets_a_file() {
    if Command::new("tftp").arg("-V").output().is_err() {
        return eprintln!("skipped: no tftp command (package tftp-hpa)");
    }
    let host = Host::start().await;
    let content = pattern(70_000);
    host.nbp("snponly.efi", &content);
    let target = host.folder.path().join("got");
    let (port, to) = (host.tftp.port().to_string(), target.clone());
    let output = tokio::task::spawn_blocking(move || {
        let get = ["10", "tftp", "127.0.0.1", &port, "-m", "binary", "-c", "get", "ipxe.efi"];
        Command::new("timeout").args(get).arg(to).output().unwrap()
    });
    let output = output.await.unwrap();
    assert!(std::fs::read(&target).unwrap() == content, "{output:?}");
    host.stop().await;
}
