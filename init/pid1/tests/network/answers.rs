//! A DHCP server that answers in every way that real servers do, and in some that no client may accept.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use dhcp::v4::{MessageType, Packet, code};
use nix::sys::socket::{setsockopt, sockopt};

use super::Scenario;
use super::peers::{self, Client, Peer};

pub const SCENARIOS: &[Scenario] = &[
    ("a DHCP answer is received however it is addressed", addressed),
    ("a broken option is left out and named", broken_options),
    ("a packet that is broken or for another link is not an answer", broken_packets),
    ("DHCP answers that cannot be used are named while the machine waits", unusable),
];

const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0x61];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
/// An address that no client may accept.
const WRONG: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const EVERYONE: [u8; 6] = [0xff; 6];
const GOT: &str = "network na 10.0.0.50/24";

/// The answer to one request: the frames in the order of sending.
type Frames = fn(&Packet) -> Vec<Vec<u8>>;

/// The name, what the server sends, and what the client then logs.
type Manner = (&'static str, Frames, &'static [&'static str]);

const ADDRESSED: &[Manner] = &[
    ("to the address that is offered", |request| vec![frame(CLIENT, ADDRESS, &good(request).encode())], &[GOT]),
    ("to the subnet's broadcast address", |request| vec![frame(EVERYONE, host(255), &good(request).encode())], &[GOT]),
    ("to everyone", |request| vec![frame(EVERYONE, Ipv4Addr::BROADCAST, &good(request).encode())], &[GOT]),
    ("to everyone on this Ethernet address", |request| vec![frame(CLIENT, Ipv4Addr::BROADCAST, &good(request).encode())], &[GOT]),
    (
        "without a UDP checksum",
        |request| {
            let mut frame = frame(CLIENT, ADDRESS, &good(request).encode());
            frame[40..42].fill(0);
            vec![frame]
        },
        &[GOT],
    ),
    (
        "with a priority in a tag of VLAN 0",
        |request| vec![tagged(0xe000, &frame(CLIENT, ADDRESS, &good(request).encode()))],
        &[GOT],
    ),
    (
        "in a frame with bytes behind it",
        |request| vec![[frame(CLIENT, ADDRESS, &good(request).encode()), vec![0xff; 9]].concat()],
        &[GOT],
    ),
    (
        "from a relay with another port",
        |request| {
            let mut frame = frame(CLIENT, ADDRESS, &good(request).encode());
            (frame[34], frame[35]) = (4, 0); // 1024
            frame[40..42].fill(0);
            vec![frame]
        },
        &[GOT],
    ),
];

const BROKEN_OPTIONS: &[Manner] = &[
    (
        "server-id-twice",
        |request| vec![answer(request, &[&[54, 4, 10, 0, 0, 1][..]; 2])],
        &[GOT, "option 54 (server identifier) came 2 times"],
    ),
    (
        "truncated-last-option",
        |request| vec![answer(request, &[&[43, 64, 1, 2, 3]])],
        &[GOT, "option 43 (vendor options) is cut off"],
    ),
    (
        "every option of fixed length twice",
        |request| {
            let twice =
                [&[1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 14, 16][..], &[54, 4, 10, 0, 0, 1, 58, 4, 0, 0, 4, 0, 59, 4, 0, 0, 8, 0]];
            vec![answer(request, &[&twice.concat()[..], &twice.concat()])]
        },
        &[GOT, "option 1 (subnet mask) came", "option 51 (lease time) came", "option 59 (rebinding time) came 2 times"],
    ),
    (
        "broken options before good ones",
        |request| vec![answer(request, &[&[54, 2, 1, 1, 1, 3, 255, 255, 0, 51, 0][..], &[54, 4, 10, 0, 0, 1, 6, 3, 1, 1, 1]])],
        &[GOT, "option 6 (name servers) has 3 bytes, which are not elements of 4"],
    ),
    ("two-domains-in-option-15", |request| vec![answer(request, &[&[15, 24][..], b"corp.example lab.example"])], &[GOT]),
    (
        "one domain that is not valid in DNS",
        |request| vec![answer(request, &[&[15, 16][..], b"lab.example a..b"])],
        &[GOT, "DHCP answer from 10.0.0.1: the domain a..b (option 15) has an empty label: left out"],
    ),
    (
        "a lease of 0 s",
        |request| vec![answer(request, &[&[51, 4, 0, 0, 0, 0]])],
        &[GOT, "its lease time (option 51) is 0: 3600 s are used"],
    ),
];

const BROKEN_PACKETS: &[Manner] = &[
    (
        "a wrong UDP checksum",
        |request| {
            let mut broken = wrong(request);
            broken[60] ^= 1;
            vec![broken, frame(CLIENT, ADDRESS, &good(request).encode())]
        },
        &["a DHCP answer cannot be read: its UDP checksum is wrong", GOT],
    ),
    (
        "a wrong IP checksum",
        |request| {
            let mut broken = wrong(request);
            broken[24] ^= 1;
            vec![broken, frame(CLIENT, ADDRESS, &good(request).encode())]
        },
        &[GOT],
    ),
    (
        "a fragment",
        |request| {
            let mut broken = wrong(request);
            broken[20] = 0x20;
            sum_again(&mut broken);
            vec![broken, frame(CLIENT, ADDRESS, &good(request).encode())]
        },
        &["a DHCP answer cannot be read: it is a fragment of a longer packet", GOT],
    ),
    (
        "a UDP length past the end",
        |request| {
            let mut broken = wrong(request);
            broken[38] = 9;
            vec![broken, frame(CLIENT, ADDRESS, &good(request).encode())]
        },
        &["a DHCP answer cannot be read: its length in the UDP header is", GOT],
    ),
    (
        "a frame for another Ethernet address",
        |request| {
            let mut other = wrong(request);
            other[5] ^= 1;
            vec![other, frame(CLIENT, ADDRESS, &good(request).encode())]
        },
        &[GOT],
    ),
    (
        "a frame of VLAN 100",
        |request| vec![tagged(100, &wrong(request)), frame(CLIENT, ADDRESS, &good(request).encode())],
        &[GOT],
    ),
    (
        "not DHCP at all",
        |request| vec![frame(CLIENT, ADDRESS, &short_of_cookie(request)), frame(CLIENT, ADDRESS, &good(request).encode())],
        &["cannot be read: no DHCP magic cookie", GOT],
    ),
];

const UNUSABLE: &[Manner] = &[
    (
        "no server identifier",
        |request| vec![without(request, code::SERVER_ID)],
        &[
            "an offer from 10.0.0.1 has no server identifier (option 54), so it cannot be used",
            "waiting for a usable DHCP answer on na (02:00:00:00:00:61): an offer from 10.0.0.1 has no server identifier (option 54) (5 s)",
        ],
    ),
    (
        "no message type",
        |request| vec![without(request, code::MESSAGE_TYPE)],
        &["answer on na (02:00:00:00:00:61): an answer from 10.0.0.1 has no message type"],
    ),
    (
        "a refusal with a text",
        |request| {
            let mut answer = good(request);
            if request.message_type() == Some(MessageType::Request) {
                answer.options.set_u8(code::MESSAGE_TYPE, MessageType::Nak.byte()).set_text(code::MESSAGE, "not\x1b[2J here");
            }
            vec![frame(EVERYONE, Ipv4Addr::BROADCAST, &answer.encode())]
        },
        &["the DHCP server at 10.0.0.1 refuses 10.0.0.50: not\\u{1b}[2J here"],
    ),
];

/// A server that does not answer a request for an address it has not offered, and does not refuse it either.
const SILENT: &[Manner] = &[(
    "of another network",
    |request| {
        let server = Ipv4Addr::new(192, 168, 7, 1);
        let is_asked = request.message_type() == Some(MessageType::Discover) || request.server_id() == Some(server);
        let mut answer = good(request);
        answer.yiaddr = Ipv4Addr::new(192, 168, 7, 50);
        answer.options.set_ip(code::SERVER_ID, server).set_ip(code::ROUTERS, server).set_ip(code::DNS_SERVERS, server);
        is_asked.then(|| frame(EVERYONE, Ipv4Addr::BROADCAST, &answer.encode())).into_iter().collect()
    },
    &[],
)];

fn addressed() {
    try_all(ADDRESSED);
}

fn broken_options() {
    try_all(BROKEN_OPTIONS);
}

fn broken_packets() {
    try_all(BROKEN_PACKETS);
}

fn unusable() {
    try_all(UNUSABLE);
}

fn try_all(manners: &[Manner]) {
    let peer = Peer::new("na", "10.0.0.1/24");
    for (name, _, lines) in manners {
        let mut server = peer.serves(&["dhcp-server", peer.link(), name], 67);
        let mut client = Client::start("syslog_host=10.0.0.1");
        lines.iter().for_each(|line| client.says(line));
        assert!(!client.has_said("10.0.0.66"), "{name}: the address that no client may accept");
        if *name == "two-domains-in-option-15" {
            client.file_has("/etc/resolv.conf", "search corp.example lab.example");
        }
        let takes = if lines.contains(&GOT) { client.seconds() } else { 0.0 };
        assert!(takes < 1.8, "{name}: {takes} s");
        drop(client);
        server.kill().unwrap();
        server.wait().unwrap();
        peers::sh("ip address flush dev na && ip -n na address show na >/dev/null");
    }
}

/// The server is this program in the peer's namespace.
pub fn serve(link: &str, manner: &str) -> ! {
    let all = [ADDRESSED, BROKEN_OPTIONS, BROKEN_PACKETS, UNUSABLE, SILENT].concat();
    let (_, frames, _) = all.into_iter().find(|(name, ..)| *name == manner).unwrap();
    let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
    setsockopt(&socket, sockopt::BindToDevice, &link.into()).unwrap();
    let mut buffer = [0; 1500];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        for frame in frames(&Packet::decode(&buffer[..length]).unwrap()) {
            assert!(Command::new("perl").args(["-e", &peers::sends(link, &frame)]).status().unwrap().success());
        }
    }
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// A correct OFFER or ACK.
fn good(request: &Packet) -> Packet {
    let kind = if request.message_type() == Some(MessageType::Discover) { MessageType::Offer } else { MessageType::Ack };
    let mut answer = request.reply(kind);
    answer.yiaddr = ADDRESS;
    answer.options.set_ip(code::SERVER_ID, SERVER).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    answer.options.set_u32(code::LEASE_TIME, 3600).set_ip(code::ROUTERS, SERVER).set_ip(code::DNS_SERVERS, SERVER);
    answer
}

/// A frame with the address that no client may accept, for a fault that makes the client refuse it.
fn wrong(request: &Packet) -> Vec<u8> {
    let mut answer = good(request);
    answer.yiaddr = WRONG;
    frame(CLIENT, WRONG, &answer.encode())
}

fn without(request: &Packet, code: u8) -> Vec<u8> {
    let mut answer = good(request);
    answer.options.remove(code);
    frame(EVERYONE, Ipv4Addr::BROADCAST, &answer.encode())
}

/// Type, mask and router after the header, then these bytes. Options that these bytes lack are added in front.
fn answer(request: &Packet, options: &[&[u8]]) -> Vec<u8> {
    let mut bytes = good(request).encode();
    let kind = bytes[242];
    bytes.truncate(240);
    let options = options.concat();
    let has = |code: u8| options.windows(2).any(|pair| pair == [code, 4]);
    bytes.extend([53, 1, kind, 3, 4, 10, 0, 0, 1]);
    for (code, value) in [(54, [10, 0, 0, 1]), (51, [0, 0, 14, 16]), (1, [255, 255, 255, 0])] {
        if !has(code) {
            bytes.extend([code, 4]);
            bytes.extend(value);
        }
    }
    bytes.extend(options);
    frame(CLIENT, ADDRESS, &bytes)
}

fn short_of_cookie(request: &Packet) -> Vec<u8> {
    let mut bytes = good(request).encode();
    bytes[236] = 0;
    bytes
}

/// Ethernet, IPv4 and UDP around a packet from the server.
fn frame(to: [u8; 6], target: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).unwrap();
    let mut udp = [&[0, 67, 0, 68][..], &udp_length.to_be_bytes(), &[0, 0], payload].concat();
    let pseudo = [&SERVER.octets()[..], &target.octets(), &[0, 17], &udp_length.to_be_bytes()].concat();
    let checksum = checksum(&[&pseudo[..], &udp].concat());
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    let total = 20 + udp_length;
    let ip = [&[0x45, 0][..], &total.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0], &SERVER.octets(), &target.octets()].concat();
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 7, 8, 0], &ip, &udp].concat();
    sum_again(&mut frame);
    frame
}

fn sum_again(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let checksum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

fn tagged(tag: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tag.to_be_bytes(), &frame[12..]].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
