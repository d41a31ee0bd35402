//! DHCP over real sockets: an exchange, silence, bad packets, an unreachable source.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::StepKind::{ChoseOther, Offered, Silent};
use boots::dhcp::{Mode, Modes, Pool};
use boots::{BootInterface, Config, MachineSource, Milestone, SourceFuture};
use dhcp::v4::{MessageType, Packet, code};
use model::Mac;
use support::namespace::{inside, ip};
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
async fn an_answer_that_the_host_does_not_let_out_is_taken_back_in_the_history() {
    if !inside("an_answer_that_the_host_does_not_let_out_is_taken_back_in_the_history") {
        return;
    }
    ip("link set lo up");
    ip("route add prohibit 127.0.0.77/32 table local");
    let host = Host::start().await;
    let client = Client::of(&host).await;
    let mut request = Packet::request(MessageType::Discover, 1, KNOWN.bytes());
    request.giaddr = [127, 0, 0, 77].into();
    client.send(&request.encode()).await;
    host.steps.until(KNOWN, Silent).await;
    let steps = host.steps.of(KNOWN);
    assert_eq!(steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [Offered, Silent], "{steps:?}");
    assert_eq!(steps[0].asked, steps[1].asked);
    // Its line has a limit, and its step has none: the last step is the one that is explained.
    client.send(&request.encode()).await;
    let again = async {
        while host.steps.of(KNOWN).iter().filter(|step| step.kind == Silent).count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, again).await.expect("the second failure is no step");
    assert_eq!(host.steps.of(KNOWN).last().map(|step| step.kind), Some(Silent));
    assert!(steps[1].why.starts_with("the answer could not be sent to 127.0.0.77: "), "{steps:?}");
    let diagnosis = steps::diagnose(&steps, &steps::Situation::default(), jiff::Timestamp::now());
    assert!(diagnosis.cause.contains("could not be sent") && diagnosis.checks[0].contains("firewall"), "{diagnosis:?}");
    host.stop().await;
}

/// Keeps what it is told about addresses of other servers.
struct Listening(Fixed, Mutex<Vec<(Option<Mac>, Ipv4Addr)>>);

impl MachineSource for Listening {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        self.0.machine(mac)
    }

    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        self.0.machine_at(address)
    }

    fn heard(&self, mac: Option<Mac>, address: Ipv4Addr) {
        self.1.lock().unwrap().push((mac, address));
    }
}

/// GRUB asks by DHCP again, and its configuration names no MAC.
#[tokio::test]
async fn a_machine_that_chose_another_server_is_known_by_the_address_it_got() {
    let (first, last, subnet) = ([127, 0, 0, 100].into(), [127, 0, 0, 110].into(), "127.0.0.0/8".parse().unwrap());
    let pool = Pool { subnet, first, last, router: None, name_servers: vec![], domain: None, lease_time: 600 };
    for mode in [Mode::Reservation, Mode::Pool(Arc::new(pool))] {
        let mut known = machine(KNOWN);
        known.reservation = known.reservation.filter(|_| mode == Mode::Reservation);
        let source = Arc::new(Listening(Fixed(vec![known]), Mutex::default()));
        let modes = Modes { networks: Vec::new(), otherwise: mode.clone() };
        let host = Host::on(Arc::clone(&source) as Arc<dyn MachineSource>, |config| Config { modes, ..config }).await;
        let client = Client::of(&host).await;
        let mut request = Packet::request(MessageType::Request, 1, KNOWN.bytes());
        let given = Ipv4Addr::new(10, 0, 0, 77);
        request.options.set_ip(code::REQUESTED_IP, given).set_ip(code::SERVER_ID, [10, 0, 0, 5].into());
        client.send(&request.encode()).await;
        host.steps.until(KNOWN, ChoseOther).await;
        assert_eq!(*source.1.lock().unwrap(), [(Some(KNOWN), given)], "{mode:?}");
        host.stop().await;
    }
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
    host.steps.until(KNOWN, Offered).await; // its step comes behind its packet
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
