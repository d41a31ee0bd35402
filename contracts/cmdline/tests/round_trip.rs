//! What boots renders is what init reads, and no bytes whatever make the parser panic.

use cmdline::{Arguments, Bond, EmbeddedImages, HwAddr, Ip, Ipam, OnFailure, Proxy, Secret, SshKey, Vlan, Word, words};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9äß=.,:/@-][ a-zA-Z0-9äß=.,:/@-]{0,12}"
}

fn item() -> impl Strategy<Value = String> {
    "[a-z0-9.-]{1,8}(:[0-9]{1,4})?"
}

fn ipam() -> impl Strategy<Value = Ipam> {
    let name = || "[a-z0-9.-]{1,8}";
    let start = (any::<[u8; 6]>(), of(1u16..4095), any::<[u8; 4]>(), 0u8..=32, of(any::<[u8; 4]>()));
    let end = (of(name()), vec(any::<[u8; 4]>(), 0..3), vec(name(), 0..3), vec(name(), 0..3));
    (start, end).prop_map(|((mac, vlan, address, prefix, gateway), (hostname, dns, search, ntp))| Ipam {
        mac: HwAddr(mac),
        vlan,
        address: Ipv4Addr::from(address),
        prefix,
        gateway: gateway.map(Ipv4Addr::from),
        hostname,
        dns: dns.into_iter().map(Ipv4Addr::from).collect(),
        search,
        ntp,
    })
}

fn ip() -> impl Strategy<Value = Ip> {
    let address = || prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    let names = (of("[a-z0-9-]{1,8}"), of("[a-z]{1,4}[0-9]"));
    (of((address(), 0u8..=32)), of(address()), names, vec(address(), 0..3), of(address())).prop_map(
        |(address, gateway, (hostname, device), dns, ntp)| Ip { address, gateway, hostname, device, dns, ntp, mtu: None },
    )
}

fn vlan() -> impl Strategy<Value = Vlan> {
    (1u16..4095, of("[a-z]{1,4}[0-9]")).prop_map(|(id, device)| Vlan { id, device })
}

fn bond() -> impl Strategy<Value = Bond> {
    let options = vec((Just("miimon".to_owned()), (0u32..9999).prop_map(|n| n.to_string())), 0..3);
    ("[a-z]{1,4}[0-9]", vec("[a-z]{1,4}[0-9]", 1..3), options, of(576u16..)).prop_map(|(name, members, options, mtu)| Bond {
        name,
        members,
        options,
        mtu,
    })
}

fn ssh_key() -> impl Strategy<Value = SshKey> {
    "AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/]{48}".prop_filter_map("a key", |key| key.parse().ok())
}

fn other() -> impl Strategy<Value = Word> {
    ("x[a-z_.-]{0,8}", of(prop_oneof![Just(String::new()), text()])).prop_map(|(name, value)| Word { name, value })
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let names = (of(text()), of("[a-z0-9.]{1,9}:[1-9][0-9]{0,3}"), of(text()), of(text()), of(text()), of(text()));
    let numbers = (any::<Option<bool>>(), any::<Option<bool>>(), of(1u16..), of(1u16..4095), any::<Option<i32>>());
    let servers = vec("[a-z0-9.]{1,9}:[1-9][0-9]{0,3}", 0..3);
    let lists = (vec(item(), 0..3), vec("[a-z][a-z0-9]{0,14}", 0..3), vec("tty[A-Z0-9]{1,4}", 0..3), vec(other(), 0..4), servers);
    let rest = (of(any::<[u8; 6]>()), of(ipam()), of(0..=i64::MAX.unsigned_abs()), of(1u8..=95));
    let secrets = (of(text()), of(text()), of(text()), of(text()));
    let links = (
        of(ip()),
        of(vlan()),
        of(bond()),
        vec(item(), 0..3),
        of(prop_oneof![Just(OnFailure::Hold), Just(OnFailure::Reboot), Just(OnFailure::PowerOff)]),
        vec("[a-z.]{1,9}=https?://[a-z0-9.:/]{1,12}".prop_filter("a host", |m| !m.contains(":///")), 0..3),
    );
    let embedded = prop_oneof![Just(EmbeddedImages::First), Just(EmbeddedImages::Fallback), Just(EmbeddedImages::Never)];
    let switches = (any::<Option<bool>>(), any::<Option<bool>>());
    let ends = (of(0u8..=60), any::<bool>(), vec(ssh_key(), 0..2), of(embedded), switches, vec(item(), 0..3));
    (names, numbers, lists, rest, secrets, links, ends).prop_map(|(names, numbers, lists, rest, secrets, links, ends)| {
        Arguments {
            worker_id: names.0,
            grpc_authority: names.1,
            syslog_host: names.2,
            facility: names.3,
            docker_registry: names.4,
            registry_username: names.5,
            tinkerbell_tls: numbers.0,
            tinkerbell_insecure_tls: numbers.1,
            syslog_port: numbers.2,
            vlan_id: numbers.3,
            panic: numbers.4,
            insecure_registries: lists.0,
            interfaces: lists.1,
            consoles: lists.2,
            other: lists.3,
            servers: lists.4,
            hw_addr: rest.0.map(HwAddr),
            ipam: rest.1,
            time: rest.2,
            run_percent: rest.3,
            registry_password: secrets.0.map(Secret::new),
            http_proxy: secrets.1.map(Proxy::new),
            https_proxy: secrets.2.map(Proxy::new),
            no_proxy: secrets.3,
            ip: links.0,
            vlan: links.1,
            bond: links.2,
            ntp: links.3,
            on_failure: links.4,
            mirrors: links.5,
            countdown: ends.0,
            rescue: ends.1,
            ssh_keys: ends.2,
            embedded: ends.3,
            pull_ahead: ends.4.0,
            image_disk: ends.4.1,
            packs: ends.5,
        }
    })
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(arguments in arguments()) {
        let parsed = Arguments::parse(&arguments.render());
        prop_assert_eq!(parsed.notes, vec![]);
        prop_assert_eq!(parsed.arguments, arguments);
    }

    #[test]
    fn no_line_makes_the_parser_panic_and_what_it_read_can_be_shown(line in "\\PC{0,200}|[\"= \\na-z_.]{0,60}") {
        let parsed = Arguments::parse(&line);
        let _ = (parsed.arguments.render(), parsed.arguments.to_string(), format!("{parsed:?}"));
        prop_assert!(parsed.notes.len() <= words(&line).len());
    }

    #[test]
    fn a_rendered_line_stays_one_line_without_stray_quotes(worker in any::<String>(), name in any::<String>(), value in any::<String>()) {
        let arguments = Arguments { worker_id: Some(worker), other: vec![Word::new(name, value)], ..Arguments::default() };
        let line = arguments.render();
        prop_assert!(!line.contains(|c: char| c.is_control()));
        prop_assert!(line.matches('"').count().is_multiple_of(2));
        prop_assert!(words(&line).len() <= 2);
    }
}
