//! DHCP over real sockets: an exchange, silence, bad packets, an unreachable source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::StepKind::{ChoseOther, Offered, Silent};
use boots::{BootInterface, Milestone};
use dhcp::v4::{MessageType, Packet, code};
use support::{Broken, FORBIDDEN, Fixed, Host, KNOWN, LIMIT, STRANGER, assert_logged, keep_log, machine};
use tokio::net::UdpSocket;

struct Client {
    socket: UdpSocket,
}

impl Client {
    async fn of(host: &Host) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(host.dhcp).await.unwrap();
        Self { socket }
    }

    async fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).await.unwrap();
    }

    async fn receive(&self) -> Packet {
        let mut buffer = [0; 1500];
        let length = tokio::time::timeout(LIMIT, self.socket.recv(&mut buffer)).await.expect("no answer in time").unwrap();
        Packet::decode(&buffer[..length]).unwrap()
    }
}

#[tokio::test]
async fn a_known_machine_gets_its_lease() {
    let mut host = Host::start().await;
    let client = Client::of(&host).await;
    client.send(&Packet::request(MessageType::Discover, 1, KNOWN.bytes()).encode()).await;
    let offer = client.receive().await;
    assert_eq!((offer.message_type(), offer.xid), (Some(MessageType::Offer), 1));
    let mut request = Packet::request(MessageType::Request, 1, KNOWN.bytes());
    request.options.set_ip(code::REQUESTED_IP, offer.yiaddr).set_ip(code::SERVER_ID, offer.server_id().unwrap());
    client.send(&request.encode()).await;
    let ack = client.receive().await;
    assert_eq!((ack.message_type(), ack.yiaddr), (Some(MessageType::Ack), offer.yiaddr));
    assert!(ack.answers(&request));
    host.milestone(Milestone::Discover { client: "DHCP client".to_owned() }).await;
    host.milestone(Milestone::Offered { address: offer.yiaddr.into(), boot_file: String::new() }).await;
    let event = host.milestone(Milestone::Acknowledged { address: offer.yiaddr.into(), boot_file: String::new() }).await;
    assert_eq!(event.mac, Some(KNOWN));
    let steps: Vec<String> = host.steps.of(KNOWN).iter().map(ToString::to_string).collect();
    let answers = [format!("-> OFFER {}", offer.yiaddr), format!("-> ACK {}", offer.yiaddr)];
    assert!(steps.len() == 2 && steps.iter().zip(&answers).all(|(step, answer)| step.ends_with(answer)), "{steps:?}");
    assert!(steps[0].starts_with("DHCP: DISCOVER of DHCP client on lo ->"), "{steps:?}");
    host.stop().await;
}

#[tokio::test]
async fn unknown_machines_and_broken_packets_get_no_answer() {
    let mut host = Host::start().await;
    let client = Client::of(&host).await;
    let stranger = Packet::request(MessageType::Discover, 1, STRANGER.bytes()).encode();
    let good = Packet::request(MessageType::Discover, 2, KNOWN.bytes()).encode();
    client.send(&stranger).await;
    client.send(&stranger).await;
    for broken in [&b""[..], b"\x01", &good[..239], &[0xff; 1400]] {
        client.send(broken).await;
    }
    let mut wrong_cookie = good.clone();
    wrong_cookie[236] = 0;
    client.send(&wrong_cookie).await;
    client.send(&good).await;
    assert_eq!(client.receive().await.xid, 2, "the first answer is the known machine's");
    let event = host.event(|event| (event.milestone == Milestone::Unknown).then(|| event.clone())).await;
    assert_eq!(event.mac, Some(STRANGER));
    let none = tokio::time::timeout(Duration::from_millis(200), client.socket.recv(&mut [0; 1500])).await;
    assert!(none.is_err(), "nothing else is answered");
    host.stop().await;
}

/// Without a line it looks like a fault of the network.
#[tokio::test]
async fn silence_towards_a_known_machine_has_a_line_and_an_event() {
    keep_log();
    let disabled = BootInterface { reservation: None, ..machine(FORBIDDEN) };
    let mut host = Host::with(Arc::new(Fixed(vec![machine(KNOWN), disabled]))).await;
    let client = Client::of(&host).await;
    let mut elsewhere = Packet::request(MessageType::Request, 1, KNOWN.bytes());
    elsewhere.options.set_ip(code::SERVER_ID, Ipv4Addr::new(10, 0, 0, 5)).set_ip(code::REQUESTED_IP, Ipv4Addr::new(10, 0, 0, 77));
    let mut infiniband = Packet::request(MessageType::Discover, 1, KNOWN.bytes());
    infiniband.htype = 32;
    let bootp = Packet { options: Default::default(), ..Packet::request(MessageType::Discover, 1, KNOWN.bytes()) };
    for packet in [elsewhere, Packet::request(MessageType::Discover, 1, FORBIDDEN.bytes()), infiniband, bootp] {
        client.send(&packet.encode()).await;
        client.send(&packet.encode()).await;
    }
    let other = Ipv4Addr::new(10, 0, 0, 5);
    let took = Milestone::OtherServer { server: other.into(), detail: "the machine took its offer".to_owned() };
    let reason = "its Hardware has no IPv4 address here, or disables DHCP".to_owned();
    for (mac, milestone) in [(KNOWN, took), (FORBIDDEN, Milestone::Silent { reason })] {
        assert_eq!(host.milestone(milestone).await.mac, Some(mac));
    }
    client.send(&Packet::request(MessageType::Discover, 2, KNOWN.bytes()).encode()).await;
    assert_eq!(client.receive().await.xid, 2, "all before it were handled");
    let kinds = |mac| host.steps.of(mac).iter().map(|step| step.kind).collect::<Vec<_>>();
    assert_eq!(kinds(KNOWN), [ChoseOther, ChoseOther, Silent, Offered], "BOOTP is a step, too");
    assert_eq!(host.steps.of(KNOWN)[0].server, Some(other.into()));
    assert_eq!(kinds(FORBIDDEN), [Silent, Silent]);
    for words in [
        &["DHCP 02:00:00:00:00:01 (m1): it chose another server, 10.0.0.5; no answer. ", "find that DHCP server"][..],
        &["DHCP 02:00:00:00:00:02 (m2): no answer: its Hardware has no IPv4 address"],
        &["no answer: it carries no Ethernet address"],
        &["DHCP 02:00:00:00:00:01: no answer: it has no message type: plain BOOTP"],
    ] {
        assert_logged(words);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_source_that_fails_means_silence_not_death() {
    let host = Host::with(Arc::new(Broken)).await;
    let client = Client::of(&host).await;
    client.send(&Packet::request(MessageType::Discover, 1, KNOWN.bytes()).encode()).await;
    let none = tokio::time::timeout(Duration::from_millis(200), client.socket.recv(&mut [0; 1500])).await;
    assert!(none.is_err());
    host.stop().await;
}
