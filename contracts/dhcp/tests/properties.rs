//! Any bytes are survived, any packet comes back as it was, and another implementation reads the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;

use dhcp::v4::{MessageType, Op, Packet, Text, code};
use dhcproto::v4::{self, DhcpOption};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Calls every reader: none may panic, whatever it finds.
fn read_all(packet: &Packet) {
    let _ = (packet.message_type(), packet.requested_ip(), packet.server_id(), packet.lease_time(), packet.mac());
    let _ = (packet.renewal_time(), packet.rebinding_time(), packet.prefix_len(), packet.routers(), packet.dns_servers());
    let _ = (packet.ntp_servers(), packet.broadcast_address(), packet.hostname(), packet.domain_name(), packet.mtu());
    let _ = (packet.domain_search(), packet.classless_routes(), packet.client_id(), packet.max_payload());
    let _ = (packet.parameter_list(), packet.message(), packet.vendor_class(), packet.has_user_class(b"iPXE"));
    let _ = (packet.client_archs(), packet.client_uuid(), packet.ipxe(19), packet.boot_file());
}

fn trim(field: Option<&[u8]>) -> &[u8] {
    field.unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default()
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let header =
        (any::<bool>(), any::<[u8; 2]>(), 0..=16u8, any::<u32>(), any::<[u16; 2]>(), any::<[u32; 4]>(), any::<[u8; 16]>());
    let options = btree_map(1..=254u8, vec(any::<u8>(), 0..700), 0..12);
    (header, "[a-z]{0,63}", "[a-z]{0,127}", options).prop_map(|(header, sname, file, options)| {
        let (reply, [htype, hops], hlen, xid, [secs, flags], addresses, chaddr) = header;
        let [ciaddr, yiaddr, siaddr, giaddr] = addresses.map(Ipv4Addr::from_bits);
        let mut packet = Packet {
            op: if reply { Op::Reply } else { Op::Request },
            htype,
            hlen,
            hops,
            xid,
            secs,
            flags,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            chaddr,
            sname: Text::new(sname).unwrap(),
            file: Text::new(file).unwrap(),
            ..Packet::default()
        };
        for (code, value) in options {
            packet.options.set(code, value);
        }
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..800)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            read_all(&packet);
        }
    }

    #[test]
    fn any_options_behind_a_good_header_are_survived(area in vec(any::<u8>(), 0..600), fields in vec(any::<u8>(), 192)) {
        let mut bytes = Packet::default().encode();
        bytes.truncate(240);
        bytes[44..236].copy_from_slice(&fields);
        bytes.extend([52, 1, 3]);
        bytes.extend(area);
        if let Ok(packet) = Packet::decode(&bytes) {
            read_all(&packet);
            prop_assert_eq!(Packet::decode(&packet.encode()).unwrap(), packet);
        }
    }

    #[test]
    fn any_packet_comes_back(packet in any_packet()) {
        read_all(&packet);
        prop_assert_eq!(Packet::decode(&packet.encode()).unwrap(), packet);
    }

    #[test]
    fn any_packet_that_fits_comes_back(packet in any_packet(), max in 300..1600usize) {
        match packet.encode_within(max) {
            Ok(wire) => {
                prop_assert!(wire.len() <= max);
                prop_assert_eq!(Packet::decode(&wire).unwrap(), packet);
            }
            Err(error) => prop_assert!(error.needed > max),
        }
    }

    #[test]
    fn another_implementation_reads_the_same_header(packet in any_packet()) {
        let mut packet = packet;
        for code in packet.options.iter().map(|(code, _)| code).collect::<Vec<_>>() {
            packet.options.remove(code); // random values would break its typed options
        }
        packet.hlen = 6;
        packet.options.set_u8(code::MESSAGE_TYPE, 1).set(code::VENDOR_SPECIFIC, vec![7; 600]);
        let theirs = v4::Message::decode(&mut Decoder::new(&packet.encode())).unwrap();
        prop_assert_eq!(theirs.xid(), packet.xid);
        prop_assert_eq!(theirs.secs(), packet.secs);
        prop_assert_eq!([theirs.ciaddr(), theirs.yiaddr(), theirs.siaddr(), theirs.giaddr()], [packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr]);
        prop_assert_eq!(theirs.chaddr(), &packet.chaddr[..6]);
        prop_assert_eq!(trim(theirs.fname()), packet.file.as_bytes());
        prop_assert_eq!(trim(theirs.sname()), packet.sname.as_bytes());
        prop_assert_eq!(theirs.opts().msg_type(), Some(v4::MessageType::Discover));
    }
}

/// An option with any value, many of them of a code that the offer below has.
fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(1_u8), Just(3), Just(6), Just(26), Just(51), Just(53), Just(54), Just(119), Just(121), 2..=254u8];
    let known = |code: &u8| *code != code::OVERLOAD; // what it moves into the options was never one
    (code.prop_filter("overload", known), vec(any::<u8>(), 0..8))
        .prop_map(|(code, value)| [&[code, value.len() as u8][..], &value].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_option_never_hides_a_good_one(
        before in vec(any_option(), 0..4),
        between in vec(any_option(), 0..4),
        cut in vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = Packet::default().encode();
        bytes.truncate(240);
        let first = [&[53, 1, 2, 54, 4, 10, 0, 0, 1, 51, 4, 0, 0, 14, 16][..], &[1, 4, 255, 255, 255, 0, 26, 2, 5, 220]];
        let second = [&[3, 4, 10, 0, 0, 1, 6, 4, 10, 0, 0, 2][..], &[119, 5, 3, b'l', b'a', b'b', 0, 121, 5, 0, 10, 0, 0, 1]];
        bytes.extend([before.concat(), first.concat(), between.concat(), second.concat(), cut].concat());
        let (packet, _) = Packet::decode_with_faults(&bytes).unwrap();
        read_all(&packet);
        prop_assert!(packet.message_type().is_some() && packet.server_id().is_some() && packet.lease_time().is_some());
        prop_assert!(packet.prefix_len().is_some() && packet.mtu().is_some());
        prop_assert!(!packet.routers().is_empty() && !packet.dns_servers().is_empty());
        prop_assert!(!packet.domain_search().is_empty() && !packet.classless_routes().is_empty());
        prop_assert_eq!(Packet::decode(&packet.encode()).unwrap(), packet);
    }

    #[test]
    fn a_packet_that_ends_anywhere_keeps_the_options_before(end in 0..700_usize, packet in any_packet()) {
        let whole = packet.encode();
        let end = (240 + end).min(whole.len());
        let cut = Packet::decode(&whole[..end]).unwrap();
        prop_assert!(cut.options.iter().all(|(code, value)| packet.options.get(code).is_some_and(|all| all.starts_with(value))));
    }
}

#[test]
fn another_implementations_offer_is_read() {
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let mut theirs = v4::Message::new_with_id(
        9,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(10, 0, 0, 7),
        server,
        Ipv4Addr::UNSPECIFIED,
        &[2, 0, 0, 0, 0, 1],
    );
    theirs.set_opcode(v4::Opcode::BootReply).set_fname_str("undionly.kpxe");
    for option in [
        DhcpOption::MessageType(v4::MessageType::Offer),
        DhcpOption::ServerIdentifier(server),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 252, 0)),
        DhcpOption::Router(vec![server]),
        DhcpOption::DomainNameServer(vec![server, Ipv4Addr::new(10, 0, 0, 2)]),
        DhcpOption::Hostname("m1".into()),
        DhcpOption::InterfaceMtu(9000),
    ] {
        theirs.opts_mut().insert(option);
    }
    let packet = Packet::decode(&theirs.to_vec().unwrap()).unwrap();
    assert_eq!(packet.message_type(), Some(MessageType::Offer));
    assert_eq!((packet.xid, packet.yiaddr, packet.siaddr), (9, Ipv4Addr::new(10, 0, 0, 7), server));
    assert_eq!((packet.server_id(), packet.lease_time(), packet.prefix_len()), (Some(server), Some(3600), Some(22)));
    assert_eq!((packet.routers(), packet.dns_servers().len()), (vec![server], 2));
    assert_eq!((packet.hostname(), packet.mtu(), packet.boot_file()), (Some("m1"), Some(9000), Some("undionly.kpxe")));
}
