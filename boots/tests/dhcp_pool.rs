//! Pools over real sockets: unknown machines, restarts, reservations, exhaustion and floods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boots::dhcp::{Mode, Modes, Pool};
use boots::{BootInterface, Config, Milestone};
use dhcp::v4::{MessageType, Packet, code};
use model::Mac;
use support::{Fixed, Host, KNOWN, LIMIT, assert_logged, keep_log, machine};
use tokio::net::UdpSocket;

/// Set aside for documentation (RFC 5737), so no host of this machine has these.
fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 7, last])
}

struct Segment {
    host: Host,
    socket: UdpSocket,
}

impl Segment {
    async fn start(first: u8, last: u8, machines: Vec<BootInterface>, leases: Option<&Path>) -> Self {
        Self::with(first, last, machines, leases, |config| config).await
    }

    async fn with(
        first: u8,
        last: u8,
        machines: Vec<BootInterface>,
        leases: Option<&Path>,
        edit: impl FnOnce(Config) -> Config,
    ) -> Self {
        let pool = Pool {
            subnet: "192.0.2.0/24".parse().unwrap(),
            first: ip(first),
            last: ip(last),
            router: Some(ip(254)),
            name_servers: vec![ip(53)],
            domain: Some("lab.example".to_owned()),
            lease_time: 3600,
        };
        let modes = Modes { networks: Vec::new(), otherwise: Mode::Pool(Arc::new(pool)) };
        let leases = leases.map(Path::to_owned);
        let host = Host::on(Arc::new(Fixed(machines)), |config| edit(Config { modes, leases, ..config })).await;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(host.dhcp).await.unwrap();
        Self { host, socket }
    }

    async fn send(&self, packet: &Packet) {
        self.socket.send(&packet.encode()).await.unwrap();
    }

    /// The answer to this packet. Answers to others are left out.
    async fn ask(&self, packet: &Packet) -> Packet {
        self.send(packet).await;
        loop {
            let mut buffer = [0; 1500];
            let length = tokio::time::timeout(LIMIT, self.socket.recv(&mut buffer)).await.expect("no answer in time").unwrap();
            let answer = Packet::decode(&buffer[..length]).unwrap();
            if answer.answers(packet) {
                return answer;
            }
        }
    }

    /// DISCOVER and REQUEST.
    async fn lease(&self, mac: Mac) -> Packet {
        let offer = self.ask(&discover(mac)).await;
        assert_eq!(offer.message_type(), Some(MessageType::Offer));
        self.ask(&request(mac, offer.yiaddr, Some(offer.server_id().unwrap()))).await
    }
}

fn discover(mac: Mac) -> Packet {
    Packet::request(MessageType::Discover, 1, mac.bytes())
}

fn request(mac: Mac, address: Ipv4Addr, server: Option<Ipv4Addr>) -> Packet {
    let mut request = Packet::request(MessageType::Request, 2, mac.bytes());
    request.options.set_ip(code::REQUESTED_IP, address);
    if let Some(server) = server {
        request.options.set_ip(code::SERVER_ID, server);
    }
    request
}

#[tokio::test]
async fn a_lease_survives_a_restart_and_is_given_to_no_other_machine() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::start(10, 11, Vec::new(), Some(folder.path())).await;
    let ack = segment.lease(mac(1)).await;
    assert_eq!((ack.message_type(), ack.lease_time(), ack.prefix_len()), (Some(MessageType::Ack), Some(3600), Some(24)));
    assert_eq!((ack.routers(), ack.dns_servers(), ack.domain_name()), (vec![ip(254)], vec![ip(53)], Some("lab.example")));
    assert_eq!(ack.boot_file(), None, "it did not ask for a boot");
    segment.host.stop().await;

    let segment = Segment::start(10, 11, Vec::new(), Some(folder.path())).await;
    let other = segment.lease(mac(2)).await;
    assert_ne!(other.yiaddr, ack.yiaddr);
    let renewed = segment.ask(&Packet { ciaddr: ack.yiaddr, ..Packet::request(MessageType::Request, 3, mac(1).bytes()) }).await;
    assert_eq!((renewed.message_type(), renewed.yiaddr), (Some(MessageType::Ack), ack.yiaddr));
    assert_eq!(segment.lease(mac(1)).await.yiaddr, ack.yiaddr);
    segment.host.stop().await;
}

#[tokio::test]
async fn an_address_of_a_reservation_is_never_given_to_another_machine() {
    keep_log();
    let mut reserved = machine(KNOWN);
    reserved.reservation.as_mut().unwrap().address = ip(10);
    let mut segment = Segment::start(10, 11, vec![reserved], None).await;
    let mut wanted = discover(mac(1));
    wanted.options.set_ip(code::REQUESTED_IP, ip(10));
    assert_eq!(segment.ask(&wanted).await.yiaddr, ip(11));
    assert_eq!(segment.lease(mac(1)).await.yiaddr, ip(11));
    segment.send(&discover(mac(2))).await;
    let reason = "all addresses of the pool 192.0.2.10-192.0.2.11 are leased".to_owned();
    assert_eq!(segment.host.milestone(Milestone::Silent { reason }).await.mac, Some(mac(2)));
    assert_logged(&["DHCP 02:00:00:00:07:02 (unknown machine): all addresses of the pool", "no answer. Widen its range"]);
    assert_eq!(segment.lease(KNOWN).await.yiaddr, ip(10), "the machine itself");
    segment.host.stop().await;
}

#[tokio::test]
async fn what_a_machine_boots_does_not_depend_on_where_its_address_comes_from() {
    let unaddressed = BootInterface { reservation: None, ..machine(KNOWN) };
    let disabled = BootInterface { reservation: None, dhcp_disabled: true, mac: mac(9), ..machine(KNOWN) };
    let custom = boots::CustomBoot { tftp_server_name: "10.0.0.77".to_owned(), boot_file_name: "onie.bin".to_owned() };
    let own_file = BootInterface { reservation: None, custom_boot: Some(custom), mac: mac(8), ..machine(KNOWN) };
    let mut segment = Segment::start(10, 19, vec![unaddressed.clone(), disabled, own_file], None).await;
    let firmware = |mac| {
        let mut packet = discover(mac);
        packet.options.set_text(code::VENDOR_CLASS, "PXEClient:Arch:00007:UNDI:003001").set_u16(code::CLIENT_ARCH, 7);
        packet
    };
    let offer = segment.ask(&firmware(KNOWN)).await;
    assert_eq!((offer.yiaddr.octets()[..3].to_vec(), offer.boot_file()), (vec![192, 0, 2], Some("ipxe.efi")));
    let offer = segment.ask(&firmware(mac(8))).await;
    assert_eq!((offer.siaddr, offer.boot_file()), (Ipv4Addr::new(10, 0, 0, 77), Some("onie.bin")), "options 66 and 67");
    segment.send(&firmware(mac(9))).await;
    let reason = "its Hardware has no IPv4 address here, or disables DHCP".to_owned();
    assert_eq!(segment.host.milestone(Milestone::Silent { reason }).await.mac, Some(mac(9)));
    let stranger = segment.ask(&firmware(mac(1))).await;
    assert_eq!(stranger.boot_file(), Some("/netboot-not-allowed"), "it gets an address, and goes on to its disk");
    segment.host.stop().await;

    let discovers = |config| Config { discovery: vec![(ip(0).into(), 24)], ..config };
    let segment = Segment::with(10, 19, Vec::new(), None, discovers).await;
    assert_eq!(segment.ask(&firmware(mac(1))).await.boot_file(), Some("ipxe.efi"), "it is discovered");
    segment.host.stop().await;
}

/// The link of these tests has 127.0.0.0/8. A machine with a reservation there is left to it, although the mode is `pool`.
#[tokio::test]
async fn a_running_machine_of_another_network_of_the_link_keeps_its_address() {
    keep_log();
    let here = Ipv4Addr::new(127, 0, 0, 9);
    let (mut beside, mut elsewhere) = (machine(KNOWN), BootInterface { mac: mac(5), ..machine(KNOWN) });
    beside.reservation.as_mut().unwrap().address = here;
    elsewhere.reservation.as_mut().unwrap().address = Ipv4Addr::new(10, 77, 0, 9);
    let segment = Segment::start(10, 19, vec![beside, elsewhere], None).await;
    let renew = |mac: Mac, ciaddr| Packet { ciaddr, ..Packet::request(MessageType::Request, 3, mac.bytes()) };
    let renewed = segment.ask(&renew(KNOWN, here)).await;
    assert_eq!((renewed.message_type(), renewed.yiaddr), (Some(MessageType::Ack), here), "its lease");
    assert_eq!(segment.lease(KNOWN).await.yiaddr, here, "it boots again");
    let routed = segment.ask(&renew(mac(5), Ipv4Addr::new(10, 77, 0, 9))).await;
    assert_eq!(routed.message_type(), Some(MessageType::Ack), "it got it through a relay, and renews it through a router");
    let moved = segment.lease(mac(5)).await.yiaddr;
    assert!((ip(10)..=ip(19)).contains(&moved), "plugged in here it gets {moved}, as its own network is elsewhere");
    assert_logged(&["DHCP 02:00:00:00:07:05 (m1): its Hardware has 10.77.0.9", "It gets an address of the pool instead"]);
    assert_eq!(segment.ask(&renew(mac(5), moved)).await.message_type(), Some(MessageType::Ack), "and keeps it");
    segment.host.stop().await;
}

#[tokio::test]
async fn a_flood_of_spoofed_requests_takes_no_lease_and_fills_no_log() {
    keep_log();
    let segment = Segment::start(10, 17, vec![machine(KNOWN)], None).await;
    let flood = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = Ipv4Addr::LOCALHOST;
    for number in 0..3000_u16 {
        let [a, b] = number.to_be_bytes();
        let (mac, address) = (Mac::new([6, 6, 7, 7, a, b]), ip(10 + (number / 4 % 8) as u8));
        let spoofed = match number % 4 {
            0 => request(mac, address, None),
            1 => request(mac, address, Some(server)),
            2 => Packet { ciaddr: address, ..Packet::request(MessageType::Request, 1, mac.bytes()) },
            _ => request(Mac::new([6, 6, 7, 7, 9, 9]), Ipv4Addr::new(10, 0, 0, 1), None),
        };
        flood.send_to(&spoofed.encode(), segment.host.dhcp).await.unwrap();
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for last in 0..8 {
        let honest = async {
            loop {
                if let Ok(ack) = tokio::time::timeout(Duration::from_secs(1), segment.lease(mac(last))).await {
                    return ack;
                }
            }
        };
        let ack = tokio::time::timeout(LIMIT, honest).await.expect("the pool is not taken");
        assert_eq!(ack.message_type(), Some(MessageType::Ack), "{last}: the whole pool is left");
    }
    assert_eq!(support::count_logged("DHCP 06:06:07:07:09:09"), 1, "one line a minute for a machine");
    assert!(support::count_logged("DHCP 06:06:07:07") <= 1025, "and so many for all that are invented");
    segment.host.stop().await;
}

#[tokio::test]
async fn a_flood_of_spoofed_discovers_stops_no_machine() {
    let mut reserved = machine(KNOWN);
    reserved.reservation.as_mut().unwrap().address = ip(200);
    let segment = Segment::start(10, 59, vec![reserved], None).await;
    let flood = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut before = 0;
    for number in 0..5000_u16 {
        let [a, b] = number.to_be_bytes();
        let spoofed = discover(Mac::new([6, 6, 6, 6, a, b])).encode();
        flood.send_to(&spoofed, segment.host.dhcp).await.unwrap();
        if number % 1000 == 500 {
            let patient = async {
                let asked = discover(KNOWN);
                loop {
                    let offer = tokio::time::timeout(Duration::from_secs(1), segment.ask(&asked));
                    if let Ok(offer) = offer.await {
                        return offer;
                    }
                }
            };
            assert_eq!(tokio::time::timeout(LIMIT, patient).await.unwrap().message_type(), Some(MessageType::Offer));
            // The tables of strangers are full after the first thousand.
            before = before.max(if number < 2000 { resident() } else { 0 });
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "3,000 more invented machines took {grown} bytes");
    let honest = async {
        loop {
            let one = tokio::time::timeout(Duration::from_secs(1), segment.lease(mac(1)));
            if let Ok(ack) = one.await {
                return ack;
            }
        }
    };
    let ack = tokio::time::timeout(LIMIT, honest).await.unwrap();
    assert_eq!(ack.message_type(), Some(MessageType::Ack));
    segment.host.stop().await;
}

/// Bytes of this process that are in memory. Other tests of the process do little meanwhile.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
