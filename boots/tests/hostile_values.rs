//! What machines say of themselves stands in lines of the log, in events and in steps. It can act on no terminal and begin no line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use api::StepKind;
use boots::LogSink;
use dhcp::v4::{MessageType, Packet, Text, code};
use support::{Fixed, Host, KNOWN, Kept, LIMIT, STRANGER, keep_log, logged, machine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// It clears a terminal, ends the line, begins another one, turns the order of letters, and ends a colour.
const EVIL: &str = "\u{1b}[2J\r\nERROR all is lost\u{202e}\u{9b}31m\u{7}";

fn evil(kind: MessageType, mac: model::Mac) -> Packet {
    let mut packet = Packet::request(kind, 7, mac.bytes());
    for option in [code::VENDOR_CLASS, code::USER_CLASS, code::HOSTNAME, code::CLIENT_ID, code::BOOT_FILE_NAME] {
        packet.options.set(option, EVIL.as_bytes());
    }
    packet.options.set(code::CLIENT_ARCH, [0, 7]);
    packet.file = Text::new(EVIL).unwrap();
    packet
}

fn assert_harmless(what: &str, text: &str) {
    assert!(::machine::is_harmless(text), "{what}: {text:?}");
}

async fn get(host: &Host, path: &str) {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// Every protocol, from a machine that is known and one that is not.
#[tokio::test]
async fn no_value_of_a_packet_acts_on_a_terminal_or_begins_a_line_of_the_log() {
    keep_log();
    let host = Host::with(Arc::new(Fixed(vec![machine(KNOWN)]))).await;
    let mut events = host.events.resubscribe();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for mac in [KNOWN, STRANGER] {
        for kind in [MessageType::Discover, MessageType::Request, MessageType::Inform, MessageType::Decline] {
            udp.send_to(&evil(kind, mac).encode(), host.dhcp).await.unwrap();
        }
    }
    let name = EVIL.replace('\0', "");
    for read in [
        format!("\0\u{1}{name}\0octet\0"),
        format!("\0\u{1}{KNOWN}/{name}\0octet\0{name}\0{name}\0"),
        format!("\0\u{2}{name}\0octet\0"),
    ] {
        udp.send_to(read.as_bytes(), host.tftp).await.unwrap();
    }
    udp.send_to(format!("<13>1 - {name} {name} - - - {name}").as_bytes(), host.syslog).await.unwrap();
    udp.send_to(format!("<13>{name}: {name}").as_bytes(), host.syslog).await.unwrap();
    let encoded: String = EVIL.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in [
        format!("/files/{encoded}"),
        format!("/files/{encoded}?{encoded}"),
        format!("/ipxe/script/{KNOWN}/{encoded}"),
        format!("/ipxe/script/{KNOWN}/auto.ipxe?{encoded}"),
        format!("/ipxe/script/{encoded}/auto.ipxe"),
        format!("/ipxe/binary/{encoded}"),
        format!("/ipxe/binary/{KNOWN}/{encoded}"),
        format!("/grub/{encoded}/grub.cfg"),
        format!("/v2/{encoded}/manifests/{encoded}"),
        format!("/iso/{KNOWN}/{encoded}.iso"),
    ] {
        get(&host, &path).await;
    }
    host.steps.until(KNOWN, StepKind::FileRefused).await;
    host.steps.until(KNOWN, StepKind::NbpRefused).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // what has arrived last
    let lines = logged();
    assert!(lines.len() > 5, "{lines:?}");
    lines.iter().for_each(|line| assert_harmless("a line of the log", line));
    let mut count = 0;
    while let Ok(event) = events.try_recv() {
        let json = serde_json::to_string(&event).unwrap();
        assert!(!json.contains(['\u{1b}', '\n', '\r']), "JSON escapes: {json}");
        count += 1;
    }
    assert!(count > 5, "{count} events");
    // The history escapes what a sink gets, as `explain` shows it.
    let book = steps::Steps::default();
    for mac in [KNOWN, STRANGER] {
        for step in host.steps.of(mac) {
            book.add(mac, true, step);
        }
        for step in book.of(mac) {
            assert_harmless("a step", &step.to_string());
        }
    }
    assert!(!book.of(KNOWN).is_empty());
    host.stop().await;
}

/// A reply of another server names a file, and the doctor and the history show it.
#[test]
fn the_boot_file_of_another_server_is_shown_without_its_effects() {
    let mut offer = Packet::request(MessageType::Discover, 1, KNOWN.bytes()).reply(MessageType::Offer);
    offer.file = Text::new(EVIL).unwrap();
    offer.options.set(code::BOOT_FILE_NAME, EVIL.as_bytes());
    let answer = boots::doctor::Answer::of(&offer, [10, 0, 0, 9].into(), "eth0");
    assert_harmless("the doctor's answer", &answer.boot_file);
    let sink = Kept::default();
    sink.step(KNOWN, api::BootStep::new(jiff::Timestamp::now(), StepKind::ForeignAnswer, "heard", "OFFER").with_file(EVIL));
    let book = steps::Steps::default();
    sink.of(KNOWN).into_iter().for_each(|step| book.add(KNOWN, true, step));
    assert_harmless("a step", &book.of(KNOWN).first().unwrap().to_string());
}
