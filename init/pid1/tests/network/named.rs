//! Servers with a name: each network has name servers, which give different addresses for the name.

use std::io::{Read, Write};
use std::net::UdpSocket;

use super::Scenario;
use super::peers::{self, Client, Peer};

pub const SCENARIOS: &[Scenario] = &[
    ("the server of a name is found by the network that knows it", by_name),
    ("a name below the network's domain, on IPv6", by_name_on_ipv6),
    ("a name that is not known yet", nobody_knows),
    ("a name server that does not answer", silent_name_server),
    ("a network without a name server", no_name_server),
    ("time from a server of a name", time_by_name),
    ("an answer that is cut short is asked for over TCP", cut_short),
];

const SERVER: &str = "grpc_authority=tink.lab.test:53"; // dnsmasq itself listens there
const RANGE: &str = "--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1";
const ELSEWHERE: &str = "--dhcp-range=192.168.1.50,192.168.1.50 --dhcp-option=3,192.168.1.1";

fn by_name() {
    let other = Peer::new("na", "192.168.1.1/24");
    other.dhcp(&format!("{ELSEWHERE} --local=/lab.test/"));
    let liar = Peer::new("nb", "192.168.2.1/24");
    liar.dhcp("--dhcp-range=192.168.2.50,192.168.2.50 --dhcp-option=3,192.168.2.1 --address=/tink.lab.test/192.168.2.9");
    let right = Peer::new("nc", "10.0.0.1/24");
    right.dhcp(&format!("{RANGE} --cname=tink.lab.test,box.lab.test --host-record=box.lab.test,10.0.0.1"));
    let mut client = Client::start(SERVER);
    // Whether the others have answered by then is random.
    client.says("network nc 10.0.0.50/24");
    client.is_ready_as("nc");
    client.sees(|| peers::sh("ip -4 -o addr show scope global").lines().count() == 1); // the others release theirs
    assert!(client.addresses("nc").contains("10.0.0.50"));
}

fn by_name_on_ipv6() {
    let peer = Peer::new("na", "fd00::1/64");
    peer.dhcp(
        "--dhcp-range=fd00::,ra-only --enable-ra --listen-address=fd00::1 --dhcp-option=option6:dns-server,[fd00::1] \
         --dhcp-option=option6:domain-search,lab.test --host-record=tink.lab.test,fd00::1 --local=/test/",
    );
    let mut client = Client::start("grpc_authority=tink:53");
    client.says("network na fd00::ff:fe00:61/64 gateway fe80::");
    client.is_ready_as("na");
    assert!(!client.has_said("no link reaches"));
}

fn nobody_knows() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp(&format!("{RANGE} --local=/lab.test/"));
    let mut client = Client::start(SERVER);
    client.says("na (02:00:00:00:00:61): name server 10.0.0.1 does not know tink.lab.test");
    client.says("no link reaches the server tink.lab.test:53; using na (02:00:00:00:00:61), the best one");
    client.is_ready_as("na");
    assert!(client.seconds() < 7.0, "long enough to look for another DHCP server: {} s", client.seconds());
    let right = Peer::new("nb", "192.168.1.1/24");
    right.dhcp(&format!("{ELSEWHERE} --address=/tink.lab.test/192.168.1.1"));
    client.says("nb (02:00:00:00:00:62) leads to tink.lab.test:53 and is used from now on");
    client.is_ready_as("nb");
}

fn silent_name_server() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp(&format!("{RANGE} --dhcp-option=6,10.0.0.9,10.0.0.1 --address=/tink.lab.test/10.0.0.1"));
    let mut client = Client::start(SERVER);
    client.says("network na 10.0.0.50/24");
    client.is_ready_as("na");
    assert!(!client.has_said("no link reaches"), "the second server knows the name");
}

fn no_name_server() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp(&format!("{RANGE} --dhcp-option=6"));
    let mut client = Client::start(SERVER);
    client.says("na (02:00:00:00:00:61): the network has no name server to ask for tink.lab.test");
    client.is_ready_as("na");
}

fn cut_short() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.serves(&["name-server"], 53);
    peer.dhcp(&format!("{RANGE} --port=0 --dhcp-option=6,10.0.0.1"));
    let mut client = Client::start(SERVER);
    client.says("network na 10.0.0.50/24");
    client.is_ready_as("na");
    assert!(!client.has_said("name server 10.0.0.1"), "the complete answer has the address");
    assert!(client.seconds() < 2.0, "{} s", client.seconds());
}

/// A name server whose answers have an address only over TCP (RFC 7766).
pub fn serve() -> ! {
    std::thread::spawn(|| {
        for mut stream in std::net::TcpListener::bind("0.0.0.0:53").unwrap().incoming().flatten() {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue; // the client checks whether its server is reachable
            }
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let answer = [&answer(&question, 0x84, 1)[..], &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]].concat();
            for piece in [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer[..20], &answer[20..]] {
                stream.write_all(piece).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20)); // in separate packets
            }
        }
    });
    let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&answer(&buffer[..length], 0x86, 0), from).unwrap();
    }
}

/// The header of an answer, and the question.
fn answer(question: &[u8], flags: u8, answers: u8) -> Vec<u8> {
    [&question[..2], &[flags, 0x80, 0, 1, 0, answers, 0, 0, 0, 0], &question[12..]].concat()
}

fn time_by_name() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp(&format!("{RANGE} --address=/clock.lab.test/10.0.0.1 --local=/lab.test/"));
    peer.time(40_000_000);
    let mut client = Client::start("grpc_authority=10.0.0.1:53 ntp=unknown.lab.test,clock.lab.test");
    client.says("clock: cannot ask for the time: name server 10.0.0.1 does not know unknown.lab.test");
    client.says("clock: cannot be set from ntp 10.0.0.1");
    client.is_ready_as("na");
    assert!(client.seconds() < 2.5, "ready after the answer: {} s", client.seconds());
}
