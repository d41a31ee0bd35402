//! What a packet says, in bytes written out by hand, and what becomes of broken ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;

use dhcp::NameFault;
use dhcp::v4::{DecodeError, MIN_LEN, MessageType, Op, Packet, Route, Text, code};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Header of a request without options; `area` follows the cookie.
fn bytes(area: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&MAC);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend_from_slice(area);
    bytes
}

fn with(area: &[u8]) -> Packet {
    Packet::decode(&bytes(area)).unwrap()
}

#[test]
fn broken_packets_say_what_is_wrong() {
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes(&[255]);
        bytes[at] = value;
        bytes
    };
    for (case, bytes, error) in [
        ("nothing", vec![], DecodeError::TooShort { len: 0 }),
        ("a header without cookie", vec![1; 239], DecodeError::TooShort { len: 239 }),
        ("op 3", changed(0, 3), DecodeError::Op(3)),
        ("17 bytes of hardware address", changed(2, 17), DecodeError::HardwareAddress(17)),
        ("another cookie", changed(236, 98), DecodeError::Cookie),
    ] {
        assert_eq!(Packet::decode(&bytes), Err(error), "{case}");
    }
}

/// Each option of a packet with its faults.
fn faults(area: &[u8]) -> Vec<String> {
    Packet::decode_with_faults(&bytes(area)).unwrap().1.iter().map(ToString::to_string).collect()
}

#[test]
fn an_option_that_is_cut_off_costs_that_option_and_is_named() {
    for (case, area, fault) in [
        ("no length", &[53, 1, 1, 43][..], "option 43 (vendor options) is cut off before its length: left out"),
        ("a value", &[53, 1, 1, 43, 9, 7, 7], "option 43 (vendor options) is cut off, 2 of its 9 bytes are there: left out"),
        ("one without a name", &[53, 1, 1, 224, 1], "option 224 is cut off, 0 of its 1 bytes are there: left out"),
    ] {
        let packet = with(area);
        assert_eq!((packet.message_type(), packet.options.len()), (Some(MessageType::Discover), 1), "{case}");
        assert_eq!(faults(area), [fault], "{case}");
    }
    let mut overloaded = bytes(&[52, 1, 1, 53, 1, 1, 255]);
    overloaded[108..236].fill(12);
    let (packet, faults) = Packet::decode_with_faults(&overloaded).unwrap();
    assert_eq!((packet.message_type(), packet.hostname().map(str::len)), (Some(MessageType::Discover), Some(12)));
    assert_eq!(faults.len(), 2, "the same value nine times, and the end inside the field: {faults:?}");
}

#[test]
fn an_option_of_fixed_length_takes_its_first_good_value() {
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let (one, other) = ([54, 4, 10, 0, 0, 1], [54, 4, 10, 0, 0, 2]);
    for (case, area) in [
        ("twice the same", [&one[..], &one].concat()),
        ("twice, different", [&one[..], &other].concat()),
        ("three times", [&one[..], &other, &one].concat()),
        ("behind an empty one", [&[54, 0][..], &one].concat()),
        ("behind one that is too short", [&[54, 3, 1, 2, 3][..], &one].concat()),
        ("behind one that is too long", [&[54, 5, 1, 2, 3, 4, 5][..], &one].concat()),
        ("behind 0.0.0.0", [&[54, 4, 0, 0, 0, 0][..], &one].concat()),
        ("in two pieces", vec![54, 2, 10, 0, 54, 2, 0, 1]),
    ] {
        assert_eq!(with(&area).server_id(), Some(server), "{case}");
        let [fault] = &faults(&area)[..] else { panic!("{case}: {:?}", faults(&area)) };
        assert!(fault.starts_with("option 54 (server identifier) came "), "{case}: {fault}");
    }
    let twice = |code: u8, value: &[u8]| [&[code, value.len() as u8], value, &[code, value.len() as u8], value].concat();
    let packet = with(&[twice(53, &[1]), twice(51, &[0, 0, 0, 9]), twice(1, &[255, 255, 0, 0]), twice(26, &[5, 220])].concat());
    assert_eq!((packet.message_type(), packet.lease_time()), (Some(MessageType::Discover), Some(9)));
    assert_eq!((packet.prefix_len(), packet.mtu()), (Some(16), Some(1500)));
    let packet = with(&[twice(58, &[0, 0, 0, 4]), twice(59, &[0, 0, 0, 5]), twice(57, &[5, 220]), twice(97, &[0; 17])].concat());
    assert_eq!((packet.renewal_time(), packet.rebinding_time(), packet.max_payload()), (Some(4), Some(5), 1472));
    assert!(packet.client_uuid().is_some());
    assert_eq!(with(&[1, 4, 255, 0, 255, 0, 1, 4, 255, 255, 255, 0]).prefix_len(), Some(24), "the first is not a mask");
    assert_eq!(with(&[53, 1, 99, 53, 1, 1]).message_type(), Some(MessageType::Discover), "99 is not a type");
}

#[test]
fn a_broken_value_of_a_list_does_not_hide_the_good_ones() {
    let [one, two] = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let options = |parts: &[&[u8]]| parts.iter().flat_map(|part| [&[6, part.len() as u8], *part].concat()).collect::<Vec<u8>>();
    for (case, area, expected) in [
        ("two options make one list", options(&[&one, &two]), &[one, two][..]),
        ("the same again counts once", options(&[&one, &one]), &[one]),
        ("a broken one in front", options(&[&[9, 9, 9], &one]), &[one]),
        ("a broken one behind", options(&[&one, &[9]]), &[one]),
        ("a byte too many", options(&[&[10, 0, 0, 1, 9]]), &[one]),
        ("nothing", options(&[&[]]), &[]),
    ] {
        let expected: Vec<Ipv4Addr> = expected.iter().copied().map(Ipv4Addr::from).collect();
        assert_eq!(with(&area).dns_servers(), expected, "{case}");
        assert_eq!(faults(&area).is_empty(), case.starts_with("two"), "{case}");
    }
    let broken_routes = [&[121, 2, 33, 1][..], &[121, 5, 0, 10, 0, 0, 1]].concat();
    assert_eq!(with(&broken_routes).classless_routes().len(), 1);
    let broken_names = [&[119, 2, 70, 1][..], b"\x77\x05\x03lab\0"].concat();
    assert_eq!(with(&broken_names).domain_search(), ["lab"]);
    assert_eq!(with(&[12, 1, 0xff, 12, 1, b'a']).hostname(), Some("a"), "the first is not text");
}

/// The packets in `cases`, from servers and clients of the field.
#[test]
fn cases_of_the_field_are_read() {
    for (name, text) in [
        ("normal", include_str!("cases/normal.hex")),
        ("server-id-twice", include_str!("cases/server-id-twice.hex")),
        ("truncated-last-option", include_str!("cases/truncated-last-option.hex")),
        ("two-domains-in-option-15", include_str!("cases/two-domains-in-option-15.hex")),
    ] {
        let packet = Packet::decode(&hexadecimal(text)).unwrap();
        let server = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!((packet.message_type(), packet.server_id()), (Some(MessageType::Offer), Some(server)), "{name}");
        assert_eq!((packet.lease_time(), packet.prefix_len()), (Some(3600), Some(24)), "{name}");
        assert_eq!((packet.routers(), packet.dns_servers()), (vec![server], vec![server]), "{name}");
    }
    let request = Packet::decode(&hexadecimal(include_str!("cases/request-type-option-twice.hex"))).unwrap();
    assert_eq!((request.message_type(), request.client_archs()), (Some(MessageType::Discover), vec![7]));
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.trim().chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

#[test]
fn an_area_may_lack_its_end_and_hold_padding() {
    let packet = with(&[0, 0, 53, 1, 1, 0]);
    assert_eq!(packet.message_type(), Some(MessageType::Discover));
    assert_eq!(with(&[53, 1, 1, 255, 12, 200]).options.len(), 1, "nothing after the end counts");
}

#[test]
fn repeated_options_are_joined() {
    assert_eq!(with(&[12, 2, b'a', b'b', 53, 1, 1, 12, 1, b'c', 255]).hostname(), Some("abc"));
}

#[test]
fn overloaded_fields_hold_options_in_rfc_order() {
    let mut bytes = bytes(&[52, 1, 3, 12, 1, b'a', 255]);
    bytes[108..112].copy_from_slice(&[12, 1, b'b', 255]);
    bytes[44..48].copy_from_slice(&[12, 1, b'c', 255]);
    let packet = Packet::decode(&bytes).unwrap();
    assert_eq!(packet.hostname(), Some("abc"), "options, then file, then sname");
    assert!(packet.file.is_empty() && packet.sname.is_empty());
    assert!(!packet.options.contains(code::OVERLOAD));
}

#[test]
fn a_reply_is_padded_and_ends_with_the_relays_option() {
    let mut request = Packet::request(MessageType::Discover, 7, MAC);
    request.giaddr = Ipv4Addr::new(10, 1, 0, 1);
    request.options.set(code::RELAY_AGENT, [1, 2, 9, 9]).set(code::CLIENT_ID, [1, 2, 0, 0, 0, 0, 1]);
    request.options.set_ip(code::SUBNET_SELECTION, Ipv4Addr::new(10, 2, 0, 0));
    let mut reply = request.reply(MessageType::Offer);
    reply.options.set(code::IPXE, [1, 1, 1]).set_u32(code::LEASE_TIME, 60);
    let wire = reply.encode();
    assert_eq!(wire.len(), MIN_LEN);
    let end = wire.iter().rposition(|&byte| byte == 255).unwrap();
    assert_eq!(&wire[end - 6..=end], [82, 4, 1, 2, 9, 9, 255]);
    assert_eq!(&wire[240..243], [53, 1, 2], "message type first");
    let read = Packet::decode(&wire).unwrap();
    assert_eq!((read.op, read.xid, read.giaddr, read.mac()), (Op::Reply, 7, request.giaddr, Some(MAC)));
    assert_eq!(read.client_id(), request.client_id());
    assert_eq!(read.options.ip(code::SUBNET_SELECTION), Some(Ipv4Addr::new(10, 2, 0, 0)), "RFC 3011");
    assert!(read.answers(&request));
    assert!(!read.answers(&Packet::request(MessageType::Discover, 8, MAC)));
}

#[test]
fn typed_readers_take_what_is_well_formed_and_nothing_else() {
    let packet = with(&[
        53, 1, 1, 50, 4, 10, 0, 0, 9, 51, 3, 0, 0, 1, 1, 4, 255, 255, 255, 0, 3, 5, 10, 0, 0, 1, 9, 26, 2, 0, 60, 57, 2, 5, 192,
        93, 4, 0, 7, 0, 0, 97, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 175, 6, 0, 19, 1, 1, 235, 9, 255,
    ]);
    assert_eq!(packet.requested_ip(), Some(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(packet.lease_time(), None, "three bytes are not a number");
    assert_eq!(packet.prefix_len(), Some(24));
    assert_eq!(packet.routers(), [Ipv4Addr::new(10, 0, 0, 1)], "five bytes are one address");
    assert_eq!(packet.mtu(), None, "60 is not an MTU");
    assert_eq!(packet.max_payload(), 1472 - 28);
    assert_eq!(packet.client_archs(), [7, 0]);
    assert_eq!(packet.client_uuid().unwrap()[15], 16);
    assert_eq!(packet.ipxe(19), Some(&[1][..]));
    assert_eq!(packet.ipxe(235), None, "runs past its option");
    assert_eq!(with(&[1, 4, 255, 0, 255, 0]).prefix_len(), None);
    assert_eq!(with(&[53, 2, 1, 1]).message_type(), None);
}

#[test]
fn user_class_is_read_in_both_forms() {
    for (case, value, is_ipxe) in [
        ("as iPXE sends it", &b"iPXE"[..], true),
        ("with lengths", b"\x03abc\x04iPXE", true),
        ("with a NUL", b"iPXE\0", true),
        ("another class", b"Tinkerbell", false),
        ("a broken list", b"\x09iPXE", false),
        ("only its beginning", b"iPX", false),
    ] {
        let mut packet = Packet::default();
        packet.options.set(code::USER_CLASS, value);
        assert_eq!(packet.has_user_class(b"iPXE"), is_ipxe, "{case}");
    }
    assert!(!Packet::default().has_user_class(b"iPXE"));
}

#[test]
fn classless_routes_are_read_and_written() {
    let packet = with(&[121, 16, 0, 10, 0, 0, 1, 12, 10, 16, 10, 0, 0, 2, 32, 1, 2, 3, 255]);
    assert!(packet.classless_routes().is_empty(), "the last route is cut");
    let routes = [
        Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: Ipv4Addr::new(10, 0, 0, 1) },
        Route { destination: Ipv4Addr::new(10, 16, 0, 0), prefix: 12, router: Ipv4Addr::new(10, 0, 0, 2) },
    ];
    let mut packet = Packet::default();
    packet.options.set_classless_routes(&routes);
    assert_eq!(packet.options.get(121), Some(&[0, 10, 0, 0, 1, 12, 10, 16, 10, 0, 0, 2][..]));
    assert_eq!(packet.classless_routes(), routes);
    packet.options.set(121, [33, 1, 2, 3, 4, 5, 10, 0, 0, 1]);
    assert!(packet.classless_routes().is_empty(), "a prefix of 33");
}

#[test]
fn domain_search_follows_pointers_backwards_only() {
    let mut packet = Packet::default();
    packet.options.set_domain_search(&["example.org", "lab.example.org", "not..a.name"]);
    assert_eq!(packet.domain_search(), ["example.org", "lab.example.org"]);
    packet.options.set(119, *b"\x03eng\x05apple\x03com\0\x09marketing\xC0\x04");
    assert_eq!(packet.domain_search(), ["eng.apple.com", "marketing.apple.com"], "the example of RFC 3397");
    packet.options.set(119, *b"\x01a\xC0\x00");
    assert!(packet.domain_search().is_empty(), "a loop");
}

#[test]
fn a_broken_name_of_a_search_list_costs_that_name() {
    let long = [[63].as_slice(), &[b'a'; 63]].concat();
    for (case, bytes, names, fault) in [
        ("not text", [b"\x01\xff\0".as_slice(), b"\x01b\0"].concat(), &["b"][..], NameFault::NotText),
        ("a dot in a label", b"\x03a.b\0\x01b\0".to_vec(), &["b"], NameFault::NotText),
        ("a loop", b"\x01a\xC0\0\x01b\0".to_vec(), &["b"], NameFault::Pointer),
        ("256 bytes", [&long.repeat(4)[..], b"\0\x01b\0"].concat(), &["b"], NameFault::TooLong),
        ("a label of 64 bytes", [b"\x01a\0\x40".as_slice(), &[b'x'; 64], b"\0\x01b\0"].concat(), &["a"], NameFault::Label(64)),
        ("the names as text", b"corp.example".to_vec(), &[], NameFault::Label(b'c')),
        ("cut off", b"\x01a\0\x03b".to_vec(), &["a"], NameFault::CutOff),
    ] {
        let mut packet = Packet::default();
        packet.options.set(119, bytes);
        let found = packet.domain_search_with_faults();
        assert_eq!(
            (&found.names[..], found.faults),
            (&names.iter().map(|name| name.to_string()).collect::<Vec<_>>()[..], vec![fault]),
            "{case}"
        );
    }
}

#[test]
fn long_texts_do_not_fit_header_fields() {
    assert!(Text::<128>::new("x".repeat(127)).is_ok());
    assert_eq!(
        Text::<128>::new("x".repeat(128)).unwrap_err().to_string(),
        "128 bytes do not fit a field of 128 that ends in NUL"
    );
    assert_eq!(Text::<128>::new("a\0b").unwrap().as_bytes(), b"a");
}

#[test]
fn a_small_receiver_gets_options_in_empty_header_fields() {
    let mut packet = Packet::request(MessageType::Offer, 1, MAC);
    packet
        .options
        .set(code::VENDOR_SPECIFIC, vec![7; 250])
        .set(code::RELAY_AGENT, [9; 20])
        .set(code::DOMAIN_NAME, vec![b'x'; 100]);
    let wire = packet.encode_within(548).unwrap();
    assert!(wire.len() <= 548);
    assert_eq!(Packet::decode(&wire).unwrap(), packet);
    let tight = packet.encode_within(530).unwrap();
    assert!(tight.len() <= 530, "{}", tight.len());
    assert_eq!(Packet::decode(&tight).unwrap(), packet);
    packet.file = Text::new("undionly.kpxe").unwrap();
    packet.sname = Text::new("boots").unwrap();
    assert_eq!(packet.encode_within(530).unwrap_err().max, 530);
}

#[test]
fn a_relay_names_the_network_and_the_server() {
    let relayed = |area: &[u8], giaddr: [u8; 4]| Packet { giaddr: giaddr.into(), ..with(area) };
    for (case, packet, link, server) in [
        ("no relay", relayed(&[53, 1, 1], [0; 4]), None, None),
        ("its own address", relayed(&[53, 1, 1], [10, 1, 0, 1]), Some([10, 1, 0, 1]), None),
        ("link selection", relayed(&[82, 9, 1, 1, 7, 5, 4, 10, 2, 0, 0], [10, 1, 0, 1]), Some([10, 2, 0, 0]), None),
        ("server override", relayed(&[82, 6, 11, 4, 10, 1, 0, 254], [10, 1, 0, 1]), Some([10, 1, 0, 1]), Some([10, 1, 0, 254])),
        ("subnet selection by the client", relayed(&[118, 4, 10, 3, 0, 0], [0; 4]), Some([10, 3, 0, 0]), None),
        ("a sub-option that is cut off", relayed(&[82, 4, 5, 4, 10, 2], [10, 1, 0, 1]), Some([10, 1, 0, 1]), None),
        ("a sub-option of another length", relayed(&[82, 4, 5, 2, 10, 2], [10, 1, 0, 1]), Some([10, 1, 0, 1]), None),
    ] {
        assert_eq!(packet.remote_link(), link.map(Ipv4Addr::from), "{case}");
        assert_eq!(packet.server_id_override(), server.map(Ipv4Addr::from), "{case}");
    }
}
