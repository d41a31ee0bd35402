//! Whatever arrives at the ports of DHCP: what boots answers is well formed, and goes only where RFC 2131 section 4.1 lets it go.
#![no_main]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use boots::dhcp::leasequery::{self, Active, Query};
use boots::dhcp::{Client, Ends, Ignored, Port, destination, frame, is_direct, pxe_destination, respond, respond_as_proxy};
use boots::{BootInterface, BootState, Config, CustomBoot, Reservation};
use dhcp::v4::{CLIENT_PORT, MessageType, Op, Packet, Route, SERVER_PORT, code};
use fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;
use model::Mac;
use pid1::network::datagram;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 20);
const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// What a sender may have written: nothing, its own, its router's, and what is not a host's.
const ADDRESSES: [Ipv4Addr; 8] = [
    NOWHERE,
    RESERVED,
    Ipv4Addr::new(10, 0, 0, 254),
    Ipv4Addr::new(192, 0, 2, 1),
    OWN,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::LOCALHOST,
];
static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::new(OWN, "/nowhere".into(), "/nowhere".into()));
static MACHINES: LazyLock<[BootInterface; 6]> = LazyLock::new(|| {
    let unknown = BootInterface::unknown(Mac::new(MAC));
    let reservation = Reservation {
        address: RESERVED,
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: Some(Ipv4Addr::new(10, 0, 0, 254)),
        lease_time: None,
        hostname: Some("node-1".to_owned()),
        domain_name: Some("lab.test".to_owned()),
        name_servers: vec![OWN; 3],
        time_servers: vec![OWN],
        routes: vec![Route { destination: Ipv4Addr::new(10, 9, 0, 0), prefix: 16, router: OWN }],
    };
    let install = BootState::Install { workflow: None };
    let known = BootInterface { reservation: Some(reservation), boot: install, ..unknown.clone() };
    let local = BootState::Local { reason: "installed".to_owned() };
    let custom = CustomBoot { tftp_server_name: "tftp.lab.test".to_owned(), boot_file_name: "x".repeat(200) };
    [
        BootInterface { boot: local, ..known.clone() },
        BootInterface { netboot_allowed: false, ..known.clone() },
        BootInterface { custom_boot: Some(custom), ..known.clone() },
        BootInterface { dhcp_disabled: true, reservation: None, ..known.clone() },
        known,
        unknown,
    ]
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&[machine, kind, giaddr, ciaddr, peer, flags], options)) = bytes.split_first_chunk::<6>() else { return };
    let machine = &MACHINES[usize::from(machine) % MACHINES.len()];
    let address = |byte: u8| ADDRESSES[usize::from(byte) % ADDRESSES.len()];
    // The kernel takes no packet from an address that is not a host's.
    let peer = SocketAddrV4::new(address(peer % 4), if peer & 8 == 0 { CLIENT_PORT } else { 4011 });
    if let Ok(packet) = Packet::decode(options) {
        asked(machine, &packet, peer);
    }
    let mut request = Packet { giaddr: address(giaddr), ciaddr: address(ciaddr), ..Packet::default() };
    request.set_mac(MAC);
    request.set_wants_broadcast(flags & 1 == 1);
    let mut whole = request.encode();
    whole.truncate(240);
    whole.extend([code::MESSAGE_TYPE, 1, kind % 16]);
    whole.extend_from_slice(options);
    if let Ok(packet) = Packet::decode(&whole) {
        asked(machine, &packet, peer);
    }
});

fn asked(machine: &BootInterface, request: &Packet, peer: SocketAddrV4) {
    if Query::of(request).is_some() {
        queried(request, peer);
    }
    match Ignored::check(request) {
        Ok(_) => {}
        Err(why) => return assert_harmless(&why.to_string()),
    }
    assert_harmless(&Client::of(request).to_string());
    for port in [None, Some(Port::Dhcp), Some(Port::Pxe)] {
        let answer = match port {
            None => respond(&CONFIG, machine, request),
            Some(port) => respond_as_proxy(&CONFIG, machine, request, port),
        };
        match answer {
            Ok(reply) => {
                assert!(!machine.dhcp_disabled);
                formed(request, &reply);
                if port.is_none() {
                    of_server(machine, request, &reply)
                } else {
                    of_proxy(&reply)
                }
                sent(request, &reply, peer, port.unwrap_or(Port::Dhcp));
            }
            Err(why) => assert_harmless(&why.to_string()),
        }
    }
}

/// RFC 2131 table 3, RFC 3046, RFC 6842.
fn formed(request: &Packet, reply: &Packet) {
    assert_eq!(request.op, Op::Request, "a reply is not answered");
    assert!(reply.answers(request));
    assert_eq!((reply.htype, reply.hlen, reply.giaddr), (request.htype, request.hlen, request.giaddr));
    assert!(reply.server_id().is_some());
    for echoed in [code::CLIENT_ID, code::RELAY_AGENT] {
        assert_eq!(reply.options.get(echoed), request.options.get(echoed), "option {echoed}");
    }
    let expected: &[MessageType] = match request.message_type() {
        Some(MessageType::Discover) => &[MessageType::Offer],
        Some(MessageType::Request) => &[MessageType::Ack, MessageType::Nak],
        Some(MessageType::Inform) => &[MessageType::Ack],
        other => panic!("{other:?} is not answered"),
    };
    assert!(reply.message_type().is_some_and(|kind| expected.contains(&kind)));
    let bytes = reply.encode();
    assert_eq!(Packet::decode(&bytes).as_ref(), Ok(reply));
    assert!(bytes.len() < request.encode().len() + 1500, "no amplification");
    if let Ok(bytes) = reply.encode_within(request.max_payload()) {
        assert!(bytes.len() <= request.max_payload());
        assert_eq!(Packet::decode(&bytes).as_ref(), Ok(reply));
    }
}

fn of_server(machine: &BootInterface, request: &Packet, reply: &Packet) {
    let own = machine.reservation.as_ref().map(|reservation| reservation.address);
    let gives = match (reply.message_type(), request.message_type()) {
        (Some(MessageType::Nak), _) => {
            assert_eq!((reply.siaddr, reply.ciaddr), (NOWHERE, NOWHERE));
            assert!(reply.file.is_empty() && reply.sname.is_empty());
            false
        }
        (_, kind) => kind != Some(MessageType::Inform),
    };
    assert_eq!(Some(reply.yiaddr), if gives { own } else { Some(NOWHERE) });
    assert_eq!(reply.lease_time().is_some(), gives);
}

fn of_proxy(reply: &Packet) {
    assert!(reply.yiaddr.is_unspecified() && reply.lease_time().is_none());
    assert_ne!(reply.message_type(), Some(MessageType::Nak));
}

fn sent(request: &Packet, reply: &Packet, peer: SocketAddrV4, port: Port) {
    if port == Port::Pxe {
        let to = pxe_destination(reply, peer);
        assert_eq!(to.port(), peer.port());
        let asker = if peer.ip().is_unspecified() { request.ciaddr } else { *peer.ip() };
        assert_eq!(*to.ip(), if asker.is_unspecified() { Ipv4Addr::BROADCAST } else { asker });
        assert!(!to.ip().is_multicast());
        return;
    }
    let to = destination(reply, peer);
    let expected = match (request.giaddr.is_unspecified(), peer.ip().is_unspecified(), reply.message_type()) {
        (false, ..) => SocketAddrV4::new(request.giaddr, SERVER_PORT),
        (true, false, kind) if kind != Some(MessageType::Nak) => peer,
        _ => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
    };
    assert_eq!(to, expected);
    assert!(!to.ip().is_multicast() && (request.giaddr.is_unspecified() || !to.ip().is_broadcast()), "{to} is not a relay");
    if is_direct(reply, peer) {
        assert!(!reply.wants_broadcast() && request.giaddr.is_unspecified() && !reply.yiaddr.is_unspecified());
        let (Some(mac), bytes) = (reply.mac(), reply.encode()) else { panic!("a frame has a receiver") };
        assert_eq!(mac[0] & 1, 0, "one receiver");
        let ends = Ends {
            from: ([2, 0, 0, 0, 0, 9], SocketAddrV4::new(OWN, SERVER_PORT)),
            to: (mac, SocketAddrV4::new(reply.yiaddr, CLIENT_PORT)),
        };
        let Some(frame) = frame(ends, &bytes) else { panic!("it fits into a packet") };
        assert!(frame.starts_with(&mac));
        assert!(datagram::read(&frame[14..], true).is_ok_and(|read| read.payload == bytes), "a client takes it");
    }
}

/// RFC 4388: the answer is for the relay only.
fn queried(request: &Packet, peer: SocketAddrV4) {
    let active = Active {
        address: RESERVED,
        mac: Mac::new(MAC),
        client: Some(b"id".to_vec()),
        remaining: 60,
        last: Some(1),
        associated: vec![RESERVED, OWN],
    };
    for answer in [leasequery::Answer::Active(active), leasequery::Answer::Unassigned, leasequery::Answer::Unknown] {
        let reply = leasequery::respond(OWN, request, &answer);
        assert_eq!((reply.op, reply.xid, reply.giaddr), (Op::Reply, request.xid, request.giaddr));
        assert_eq!(Packet::decode(&reply.encode()).as_ref(), Ok(&reply));
        let to = destination(&reply, peer);
        assert_eq!(to, SocketAddrV4::new(request.giaddr, SERVER_PORT));
        assert!(!to.ip().is_multicast() && !to.ip().is_broadcast(), "{to} is not a relay");
    }
}
