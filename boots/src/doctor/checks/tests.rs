use std::net::IpAddr;

use Level::{Error, Ok as Fine, Unknown, Warning};

use super::super::PortRule;
use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn question() -> Question {
    Question {
        address: Some(ADDRESS),
        interface: None,
        is_proxy: false,
        has_dhcp6: false,
        http: 7080,
        grpc: 42113,
        api: 6443,
        metadata: vec![([0, 0, 0, 0], 50061).into()],
        files: Vec::new(),
        nbp: "/usr/lib/ipxe".into(),
    }
}

fn interface(name: &str, address: Ipv4Addr) -> Interface {
    Interface {
        name: name.to_owned(),
        addresses: vec![(address, Ipv4Addr::new(255, 255, 255, 0))],
        mtu: Some(1500),
        is_up: true,
        vrf: None,
    }
}

/// A host on which all is well.
fn host() -> Facts {
    let interfaces = vec![interface("lo", Ipv4Addr::LOCALHOST), interface("eth1", ADDRESS)];
    Facts {
        interfaces,
        holders: Vec::new(),
        kernel: Kernel::default(),
        answers: Ok(Vec::new()),
        firewall: Ok(Vec::new()),
        missing: Vec::new(),
        programs: Vec::new(),
    }
}

fn holder(port: u16, address: IpAddr, program: &str) -> Holder {
    Holder { transport: Transport::Udp, address, port, program: program.to_owned(), pid: 7 }
}

fn answer(address: Option<Ipv4Addr>, is_pxe: bool, boot_file: &str) -> Answer {
    Answer {
        server: OTHER,
        interface: "eth1".to_owned(),
        address,
        is_pxe,
        boot_file: boot_file.to_owned(),
        next_server: None,
        relay: None,
    }
}

fn rule(port: u16, passage: Passage) -> PortRule {
    PortRule { family: Family::V4, transport: Transport::Udp, port, passage }
}

fn closed_tcp(port: u16) -> PortRule {
    PortRule { family: Family::V4, transport: Transport::Tcp, port, passage: Passage::Closed("inet filter input".to_owned()) }
}

#[test]
fn a_host_on_which_all_is_well_has_nothing_to_do() {
    let found = check(&question(), &host());
    assert!(found.iter().all(|one| one.level == Fine && one.remedy.is_empty()), "{found:?}");
}

#[test]
fn each_fault_is_found_with_what_to_do() {
    let any = IpAddr::from([0, 0, 0, 0]);
    let given = Ipv4Addr::new(10, 0, 0, 77);
    type Edit = Box<dyn Fn(&mut Question, &mut Facts)>;
    let cases: Vec<(&str, Edit, &str, Level, &str, &str)> = vec![
        (
            "another address",
            Box::new(|_, facts| facts.interfaces.truncate(1)),
            "address",
            Error,
            "no interface of this host has 10.0.0.1",
            "NAT",
        ),
        ("no address", Box::new(|question, _| question.address = None), "address", Unknown, "no address", "--config"),
        (
            "another interface",
            Box::new(|question, facts| {
                question.interface = Some("eth2".to_owned());
                facts.interfaces.push(interface("eth2", OTHER));
            }),
            "address",
            Error,
            "10.0.0.1 is on interface eth1, and boots serves eth2 only",
            "interface: eth1",
        ),
        (
            "no such interface",
            Box::new(|question, _| question.interface = Some("eth7".to_owned())),
            "interface",
            Error,
            "no interface eth7",
            "ip link",
        ),
        (
            "a cable that is out",
            Box::new(|question, facts| {
                question.interface = Some("eth1".to_owned());
                facts.interfaces[1].is_up = false;
            }),
            "interface",
            Error,
            "eth1 is down",
            "ip link set eth1 up",
        ),
        ("a tiny MTU", Box::new(|_, facts| facts.interfaces[1].mtu = Some(500)), "mtu", Error, "500 bytes only", "mtu 1500"),
        (
            "jumbo frames",
            Box::new(|_, facts| facts.interfaces[1].mtu = Some(9000)),
            "mtu",
            Warning,
            "9000 bytes",
            "MTU of the machines",
        ),
        (
            "dnsmasq on this host",
            Box::new(move |_, facts| facts.holders = vec![holder(67, any, "dnsmasq"), holder(67, any, "thimble")]),
            "ports",
            Error,
            "dnsmasq (process 7) holds UDP port 67 of this host, at 0.0.0.0: it is a DHCP server",
            "systemctl disable --now dnsmasq",
        ),
        (
            "tftpd on this host",
            Box::new(move |_, facts| facts.holders = vec![holder(69, any, "in.tftpd")]),
            "ports",
            Error,
            "UDP port 69",
            "stop it",
        ),
        (
            "a boot server on this host",
            Box::new(move |_, facts| facts.holders = vec![holder(4011, any, "")]),
            "ports",
            Error,
            "another program holds UDP port 4011",
            "stop it",
        ),
        (
            "another DHCP server",
            Box::new(move |_, facts| facts.answers = Ok(vec![answer(Some(given), false, "")])),
            "dhcp",
            Error,
            "offers 10.0.0.77 to every machine",
            "ignore the MACs",
        ),
        (
            "a rogue boot file",
            Box::new(move |_, facts| facts.answers = Ok(vec![answer(Some(given), false, "evil.efi")])),
            "pxe",
            Error,
            "with the boot file evil.efi",
            "boot options",
        ),
        (
            "a proxy",
            Box::new(|_, facts| facts.answers = Ok(vec![answer(None, true, "")])),
            "pxe",
            Error,
            "PXE server 10.0.0.9",
            "stop it on 10.0.0.9",
        ),
        (
            "a relay",
            Box::new(move |_, facts| {
                facts.answers = Ok(vec![Answer { relay: Some(Ipv4Addr::new(10, 0, 0, 254)), ..answer(Some(given), false, "") }])
            }),
            "relays",
            Warning,
            "10.0.0.254",
            "out of the relay",
        ),
        (
            "no right to ask",
            Box::new(|_, facts| facts.answers = Err("eth1: Operation not permitted".to_owned())),
            "dhcp",
            Unknown,
            "cannot be asked",
            "root",
        ),
        (
            "a closed port",
            Box::new(|_, facts| facts.firewall = Ok(vec![rule(69, Passage::Closed("inet filter input".to_owned()))])),
            "firewall",
            Error,
            "closes UDP port 69",
            "nft add rule inet filter input udp dport 69 accept",
        ),
        (
            "a closed port of PXE's boot server",
            Box::new(|question, facts| {
                question.is_proxy = true;
                facts.firewall = Ok(vec![rule(4011, Passage::Closed("inet filter input".to_owned()))]);
            }),
            "firewall",
            Error,
            "closes UDP port 4011",
            "udp dport 4011 accept",
        ),
        (
            "a closed port of metadata",
            Box::new(|_, facts| facts.firewall = Ok(vec![closed_tcp(50061)])),
            "firewall",
            Error,
            "closes TCP port 50061",
            "tcp dport 50061 accept",
        ),
        (
            "a closed port of syslog over TCP",
            Box::new(|_, facts| facts.firewall = Ok(vec![closed_tcp(514)])),
            "firewall",
            Error,
            "closes TCP port 514",
            "tcp dport 514 accept",
        ),
        (
            "another program on the port of metadata",
            Box::new(move |_, facts| facts.holders = vec![Holder { transport: Transport::Tcp, ..holder(50061, any, "tootles") }]),
            "ports",
            Error,
            "tootles (process 7) holds TCP port 50061",
            "stop it",
        ),
        (
            "a web server where metadata shall be",
            Box::new(move |question, facts| {
                question.metadata = vec!["169.254.169.254:80".parse().unwrap()];
                facts.interfaces.push(interface("dummy0", Ipv4Addr::new(169, 254, 169, 254)));
                facts.holders = vec![Holder { transport: Transport::Tcp, ..holder(80, any, "nginx") }];
            }),
            "ports",
            Error,
            "nginx (process 7) holds TCP port 80",
            "stop it",
        ),
        (
            "the address of metadata that no interface has",
            Box::new(|question, _| {
                question.interface = Some("eth1".to_owned());
                question.metadata = vec!["169.254.169.254:80".parse().unwrap()];
            }),
            "metadata",
            Error,
            "no interface of this host has 169.254.169.254",
            "ip address add 169.254.169.254/32 dev eth1",
        ),
        (
            "a port with conditions",
            Box::new(|_, facts| facts.firewall = Ok(vec![rule(69, Passage::Unclear("INPUT".to_owned()))])),
            "firewall",
            Warning,
            "conditions",
            "meets them",
        ),
        (
            "rules that cannot be read",
            Box::new(|_, facts| facts.firewall = Err("nft is not installed".to_owned())),
            "firewall",
            Unknown,
            "nft is not installed",
            "iptables-save",
        ),
        (
            "no ramdisk",
            Box::new(|_, facts| facts.missing = vec!["/f/initramfs".into()]),
            "files",
            Error,
            "/f/initramfs does not exist",
            "image build",
        ),
        (
            "no program",
            Box::new(|_, facts| facts.programs = vec![("BIOS", "undionly.kpxe")]),
            "programs",
            Warning,
            "BIOS cannot boot",
            "apt-get install ipxe",
        ),
    ];
    for (case, edit, word, level, found, remedy) in cases {
        let (mut question, mut facts) = (question(), host());
        edit(&mut question, &mut facts);
        let all = check(&question, &facts);
        let one = all.iter().find(|one| one.check == word && one.level == level).unwrap_or_else(|| panic!("{case}: {all:?}"));
        assert!(one.found.contains(found) && one.remedy.contains(remedy), "{case}: {one:?}");
    }
}

#[test]
fn a_proxy_wants_a_dhcp_server_beside_it() {
    let question = Question { is_proxy: true, ..question() };
    let mut facts = host();
    let levels = |facts: &Facts| answers(&question, facts).iter().map(|one| (one.check, one.level)).collect::<Vec<_>>();
    assert_eq!(levels(&facts), [("dhcp", Warning)]);
    facts.answers = Ok(vec![answer(Some(OTHER), false, "")]);
    assert_eq!(levels(&facts), [("dhcp", Fine)]);
    facts.answers = Ok(vec![answer(Some(OTHER), false, "evil.efi")]);
    assert_eq!(levels(&facts), [("pxe", Error)], "its boot file is not meant");
}

#[test]
fn what_boots_has_itself_is_no_fault() {
    let mut facts = host();
    let any = IpAddr::from([0, 0, 0, 0]);
    facts.holders = vec![holder(67, any, "thimble"), holder(69, IpAddr::from([127, 0, 0, 1]), "tftpd")];
    facts.answers = Ok(vec![Answer { server: ADDRESS, ..answer(Some(OTHER), true, "ipxe.efi") }]);
    facts.firewall = Ok(vec![rule(4011, Passage::Closed("INPUT".to_owned())), rule(67, Passage::Open)]);
    let found = check(&question(), &facts);
    assert!(found.iter().all(|one| one.level == Fine), "{found:?}");
}

#[test]
fn a_web_server_at_another_address_than_that_of_metadata_is_no_fault() {
    let metadata = Ipv4Addr::new(169, 254, 169, 254);
    let question = Question { metadata: vec![(metadata, 80).into()], ..question() };
    let mut facts = host();
    facts.interfaces.push(interface("dummy0", metadata));
    facts.holders = vec![Holder { transport: Transport::Tcp, ..holder(80, ADDRESS.into(), "nginx") }];
    let found = check(&question, &facts);
    assert!(found.iter().all(|one| one.level == Fine), "{found:?}");
}

#[test]
fn every_port_of_a_machine_is_looked_at_and_each_once() {
    let question = Question { metadata: vec![(ADDRESS, 50061).into(), (ADDRESS, 7080).into()], ..question() };
    let mut found = ports(&question);
    let udp = |port| (Transport::Udp, port);
    let tcp = |port| (Transport::Tcp, port);
    for wanted in [udp(67), udp(69), udp(4011), udp(514), tcp(514), tcp(7080), tcp(42113), tcp(6443), tcp(50061)] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
    let count = found.len();
    found.sort_by_key(|(transport, port)| (*port, *transport == Transport::Tcp));
    found.dedup();
    assert_eq!(found.len(), count, "each once");
}
