//! DHCP over real sockets: an exchange, silence, bad packets, an unreachable source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use boots::Milestone;
use dhcp::v4::{MessageType, Packet, code};
use support::{Broken, Host, KNOWN, LIMIT, STRANGER};
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
    host.milestone(Milestone::Offered { address: offer.yiaddr, boot_file: String::new() }).await;
    let event = host.milestone(Milestone::Acknowledged { address: offer.yiaddr, boot_file: String::new() }).await;
    assert_eq!(event.mac, Some(KNOWN));
    assert_eq!(host.all_events.history(KNOWN).len(), 3);
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

#[tokio::test]
async fn a_source_that_fails_means_silence_not_death() {
    let host = Host::with(Arc::new(Broken)).await;
    let client = Client::of(&host).await;
    client.send(&Packet::request(MessageType::Discover, 1, KNOWN.bytes()).encode()).await;
    let none = tokio::time::timeout(Duration::from_millis(200), client.socket.recv(&mut [0; 1500])).await;
    assert!(none.is_err());
    host.stop().await;
}
