//! How an answer becomes a lease, and what of it is refused.

use super::*;
use dhcp::v4::{MessageType, code};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

fn ack() -> Packet {
    let mut ack = Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]).reply(MessageType::Ack);
    ack.yiaddr = ADDRESS;
    ack.options.set_ip(code::SERVER_ID, SERVER).set_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0));
    ack.options.set_ip(code::ROUTERS, SERVER).set_u32(code::LEASE_TIME, 800);
    ack
}

fn with(change: impl Fn(&mut Packet)) -> Lease {
    let mut ack = ack();
    change(&mut ack);
    Lease::read(&ack).unwrap().0
}

#[test]
fn an_ack_becomes_address_gateway_and_names() {
    let lease = with(|ack| {
        ack.options.set_ips(code::DNS_SERVERS, &[SERVER, ADDRESS]).set_text(code::DOMAIN_NAME, "lab.test");
        ack.options.set_text(code::HOSTNAME, "node1");
    });
    assert_eq!(lease.to_string(), "10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.1,10.0.0.5");
    assert_eq!(lease.resolv_conf("eth0"), "# from DHCP or ipam=\nsearch lab.test\nnameserver 10.0.0.1\nnameserver 10.0.0.5\n");
    assert_eq!(lease.hostname.as_deref(), Some("node1"));
    assert_eq!(with(|ack| drop(ack.options.remove(code::ROUTERS))).to_string(), "10.0.0.5/24 gateway none dns none");
}

#[test]
fn an_answer_without_server_or_address_is_refused() {
    let mut no_server = ack();
    no_server.options.remove(code::SERVER_ID);
    assert_eq!(Lease::read(&no_server), Err(Unusable::NoServer));
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(224, 0, 0, 1)] {
        assert_eq!(Lease::read(&Packet { yiaddr: address, ..ack() }), Err(Unusable::Address(address)));
    }
}

#[test]
fn an_invalid_option_is_left_out_alone() {
    let lease = with(|ack| {
        ack.options.set_text(code::HOSTNAME, "$(reboot)").set_text(code::DOMAIN_NAME, "a\nnameserver 6.6.6.6");
        ack.options.set_u16(code::INTERFACE_MTU, 68).set(code::SUBNET_MASK, [255, 0, 255, 0]);
    });
    assert_eq!((lease.hostname, lease.search, lease.mtu, lease.prefix), (None, vec![], None, 8));
}

#[test]
fn renewal_times_are_used_if_they_are_in_order() {
    let seconds = Duration::from_secs;
    for (case, lease, t1, t2, expected) in [
        ("halves and eighths", 800, None, None, Some((400, 700, 800))),
        ("as the server says", 800, Some(100), Some(200), Some((100, 200, 800))),
        ("T2 before T1", 800, Some(300), Some(200), Some((400, 700, 800))),
        ("T2 after the end", 800, Some(300), Some(900), Some((400, 700, 800))),
        ("for ever", u32::MAX, Some(300), None, None),
        ("0 s", 0, None, None, Some((1800, 3150, 3600))),
        ("absurdly short", 1, None, None, Some((5, 8, 10))),
        ("short", 20, None, None, Some((10, 17, 20))),
    ] {
        let times = with(|ack| {
            ack.options.set_u32(code::LEASE_TIME, lease);
            t1.map(|t1| ack.options.set_u32(code::RENEWAL_TIME, t1));
            t2.map(|t2| ack.options.set_u32(code::REBINDING_TIME, t2));
        })
        .times;
        let times = times.map(|times| (times.renew, times.rebind, times.expire));
        let whole = times.map(|(t1, t2, end)| (t1.as_secs(), t2.as_secs(), end.as_secs()));
        assert_eq!(whole, expected, "{case}");
        assert!(times.is_none_or(|(t1, t2, end)| t1 < t2 && t2 < end && t1 >= seconds(1)), "{case}");
    }
}

/// The notes about an answer, and its lease.
fn noted(change: impl Fn(&mut Packet)) -> (Lease, Vec<String>) {
    let mut ack = ack();
    change(&mut ack);
    Lease::read(&ack).unwrap()
}

#[test]
fn a_search_list_follows_the_limits_of_dns_and_names_what_it_leaves_out() {
    let long = ["abcdefghi"; 9].join(".");
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let (label, name) = (format!("{}.lab", "a".repeat(64)), format!("{longest}e"));
    let note = |name: &str, why: &str| format!("the domain {} (option 15) {why}: left out", shown(name));
    for (case, domain, expected, notes) in [
        ("one", "lab.test".to_owned(), vec!["lab.test"], vec![]),
        ("two", "corp.example lab.example".to_owned(), vec!["corp.example", "lab.example"], vec![]),
        ("with commas and dots", "a.b., c.d ,e".to_owned(), vec!["a.b", "c.d", "e"], vec![]),
        ("more than 63 bytes", long.clone(), vec![long.as_str()], vec![]),
        ("253 bytes", longest.clone(), vec![longest.as_str()], vec![]),
        ("254 bytes", name.clone(), vec![], vec![note(&name, "is longer than 253 bytes")]),
        ("a label of 64 bytes", label.clone(), vec![], vec![note(&label, "has a label of more than 63 bytes")]),
        ("one of three", "a.b $(x) c.d".to_owned(), vec!["a.b", "c.d"], vec![note("$(x)", "has characters that no domain has")]),
        ("an empty label", "a..b".to_owned(), vec![], vec![note("a..b", "has an empty label")]),
    ] {
        let (lease, noted) = noted(|ack| _ = ack.options.set_text(code::DOMAIN_NAME, &domain));
        assert_eq!((lease.search, noted), (expected.into_iter().map(str::to_owned).collect(), notes), "{case}");
    }
    let (lease, notes) = noted(|ack| _ = ack.options.set(code::DOMAIN_SEARCH, *b"\x03lab\0\x01\xff\0\x01b\0"));
    assert_eq!(lease.search, ["lab", "b"]);
    assert_eq!(notes, ["the search list (option 119) is broken, a label is not text: only its readable names are used"]);
    let (lease, notes) = noted(|ack| {
        ack.options.set(code::DOMAIN_SEARCH, *b"\x01*\0").set_text(code::DOMAIN_NAME, "lab.test");
    });
    assert_eq!((lease.search, notes.len()), (vec!["lab.test".to_owned()], 1), "option 15 is better than nothing");
}

#[test]
fn replaced_and_omitted_parts_are_noted() {
    type Change = fn(&mut Packet);
    let cases: [(Change, &str); 8] = [
        (|ack| _ = ack.options.set_u32(code::LEASE_TIME, 0), "its lease time (option 51) is 0: 3600 s are used"),
        (|ack| drop(ack.options.remove(code::LEASE_TIME)), "it has no lease time (option 51): 3600 s are used"),
        (|ack| _ = ack.options.set_u32(code::LEASE_TIME, 3), "its lease time (option 51) is 3 s: 10 s are used"),
        (
            |ack| drop(ack.options.remove(code::SUBNET_MASK)),
            "it has no usable subnet mask (option 1): /8 is used, from the class of 10.0.0.5",
        ),
        (|ack| _ = ack.options.set_u16(code::INTERFACE_MTU, 68), "the MTU 68 (option 26) is less than 576: left out"),
        (|ack| _ = ack.options.set_text(code::HOSTNAME, "a b\x1b"), "a b\\u{1b} (option 12) is not a host name: left out"),
        (|ack| _ = ack.options.set_ip(code::DNS_SERVERS, Ipv4Addr::UNSPECIFIED), "0.0.0.0 cannot be a name server: left out"),
        (
            |ack| _ = ack.options.set_ip(code::NTP_SERVERS, Ipv4Addr::BROADCAST),
            "255.255.255.255 cannot be a time server: left out",
        ),
    ];
    for (change, note) in cases {
        assert_eq!(noted(change).1, [note]);
    }
    assert!(noted(|_| ()).1.is_empty());
    let name = format!("node1.{}", ["rack"; 13].join("."));
    let (lease, notes) = noted(|ack| _ = ack.options.set_text(code::HOSTNAME, &name));
    assert_eq!(lease.hostname.as_deref(), Some("node1"));
    assert_eq!(notes, [format!("the host name {name} (option 12) is too long: node1 is used")]);
}

#[test]
fn classless_routes_replace_the_router_and_links_come_before_gateways() {
    let link = dhcp::v4::Route { destination: Ipv4Addr::new(169, 254, 1, 1), prefix: 32, router: Ipv4Addr::UNSPECIFIED };
    let gateway = Ipv4Addr::new(169, 254, 1, 1);
    let default = dhcp::v4::Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: gateway };
    let lease = with(|ack| _ = ack.options.set_classless_routes(&[default, link]));
    let (first, second) = (lease.routes[0], lease.routes[1]);
    assert_eq!((first.gateway, first.prefix, second.gateway), (None, 32, Some(gateway.into())));
    assert_eq!(lease.routes.len(), 2);
    let sloppy = dhcp::v4::Route { destination: Ipv4Addr::new(10, 1, 2, 3), prefix: 12, router: gateway };
    let lease = with(|ack| _ = ack.options.set_classless_routes(&[sloppy]));
    assert_eq!(lease.routes[0].destination, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)));
    assert!(lease.is_on_link(SERVER.into()) && !lease.is_on_link(gateway.into()));
}

#[test]
fn a_static_address_needs_no_server() {
    let ipam: Ipam = "02-00-00-00-00-01::10.0.0.5:24:10.0.0.1:node1:10.0.0.2::".parse().unwrap();
    let lease = Lease::from_ipam(&ipam);
    assert_eq!(lease.to_string(), "10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.2");
    assert_eq!((lease.times, lease.server), (None, None));
}

#[test]
fn a_lease_has_routes_to_its_destinations() {
    let server: IpAddr = "192.168.7.1".parse().unwrap();
    let bare = with(|ack| drop(ack.options.remove(code::ROUTERS)));
    assert!(bare.leads_to(SERVER.into()) && !bare.leads_to(server), "only the link");
    assert!(with(|_| ()).leads_to(server), "through the router");
    assert!(!with(|_| ()).leads_to("fd00::1".parse().unwrap()), "another family");
}

#[test]
fn a_link_local_name_server_has_the_links_name() {
    let ip: Ip = "[fd00::5]::[fe80::1]:64::eth0:none:[fe80::1]:[fd00::1]".parse().unwrap();
    let lease = Lease::from_ip(&ip).unwrap();
    assert_eq!(lease.resolv_conf("eth0"), "# from DHCP or ipam=\nnameserver fe80::1%eth0\nnameserver fd00::1\n");
    assert_eq!(lease.to_string(), "fd00::5/64 gateway fe80::1 dns fe80::1,fd00::1");
    assert!(!lease.is_on_link("fe80::1".parse().unwrap()));
}
