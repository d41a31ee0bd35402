use super::*;
use machine::network::{Bond, Method, Nic, Route};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

mod parsers;

const MAC: HwAddr = HwAddr([2, 0, 0, 0, 0, 1]);
const OTHER: HwAddr = HwAddr([2, 0, 0, 0, 0, 2]);

fn nic(name: &str, mac: HwAddr) -> Nic {
    Nic { name: name.to_owned(), mac }
}

fn bonded(learned: Learned) -> Learned {
    let options = [("mode", "802.3ad"), ("miimon", "100"), ("lacp_rate", "fast"), ("xmit_hash_policy", "layer3+4")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let bond = Bond { name: "bond0".to_owned(), mac: MAC, options, mtu: Some(9000) };
    Learned { nics: vec![nic("eth0", MAC), nic("eth1", OTHER)], bond: Some(bond), ..learned }
}

fn tagged(learned: Learned) -> Learned {
    Learned { vlan: Some(100), ..learned }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(destination: &str, prefix: u8, gateway: Option<&str>) -> Route {
    Route { destination: ip(destination), prefix, gateway: gateway.map(ip) }
}

fn fixed(address: &str, prefix: u8, default: Route, dns: &[&str]) -> Learned {
    Learned {
        method: Method::Static,
        nics: vec![nic("eth0", MAC)],
        bond: None,
        vlan: None,
        address: ip(address),
        prefix,
        routes: vec![default],
        dns: dns.iter().copied().map(ip).collect(),
        search: Vec::new(),
        ntp: Vec::new(),
        hostname: None,
        mtu: None,
    }
}

fn asked() -> Learned {
    let search = vec!["lab.test".to_owned(), "test".to_owned()];
    let learned = fixed("10.0.0.50", 24, route("0.0.0.0", 0, Some("10.0.0.1")), &["10.0.0.1"]);
    Learned { method: Method::Dhcp, search, mtu: Some(1400), ..learned }
}

/// An address without a network, as clouds give it, and routes of all kinds.
fn lonely() -> Learned {
    let mut learned = fixed("192.0.2.7", 32, route("0.0.0.0", 0, Some("10.0.0.1")), &["10.0.0.1", "10.0.0.2"]);
    learned.routes.extend([route("10.0.0.1", 32, None), route("10.1.0.0", 16, Some("10.0.0.1"))]);
    let (search, ntp) = (vec!["lab.test".to_owned()], vec!["10.0.0.3".to_owned()]);
    Learned { search, ntp, hostname: Some("node1".to_owned()), ..learned }
}

fn six() -> Learned {
    fixed("2001:db8::5", 64, route("::", 0, Some("2001:db8::1")), &["2001:db8::53"])
}

fn all() -> Vec<(&'static str, Learned)> {
    let by_router = Learned { method: Method::Auto6, ..six() };
    let assigned = Learned { method: Method::Dhcp6, prefix: 128, routes: Vec::new(), dns: Vec::new(), ..six() };
    vec![
        ("DHCP", asked()),
        ("a static address", fixed("10.0.0.5", 24, route("0.0.0.0", 0, Some("10.0.0.1")), &["10.0.0.1"])),
        ("an address without a network", lonely()),
        ("a VLAN with DHCP", tagged(asked())),
        ("a VLAN with a static address", tagged(lonely())),
        ("a bond with DHCP", bonded(asked())),
        ("a VLAN on a bond", tagged(bonded(lonely()))),
        ("an address of a router", by_router),
        ("DHCPv6", assigned),
        ("a static IPv6 address", six()),
    ]
}

fn text_of(learned: &Learned, name: &str) -> String {
    let files = files(learned);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let found = files.iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} in {names:?}")).1.clone()
}

#[test]
fn each_system_gets_the_address_by_the_way_it_came_with_its_routes_and_names() {
    let find = |case: &str| all().into_iter().find(|(known, _)| *known == case).unwrap().1;
    for (case, file, lines) in [
        (
            "DHCP",
            "netplan.yaml",
            "macaddress: \"02:00:00:00:00:01\"\n      mtu: 1400\n      dhcp4: true\n      dhcp-identifier: mac\n",
        ),
        ("DHCP", "networkd/10-eth0.network", "[Match]\nPermanentMACAddress=02:00:00:00:00:01\n"),
        ("DHCP", "networkd/10-eth0.network", "DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\nUseDomains=yes\n"),
        ("DHCP", "NetworkManager/eth0.nmconnection", "uuid=7468696d-626c-8000-8000-020000000001\n"),
        ("DHCP", "NetworkManager/eth0.nmconnection", "[ipv4]\nmethod=auto\ndhcp-client-id=mac\n"),
        ("DHCP", "ifcfg/ifcfg-eth0", "BOOTPROTO=dhcp\n"),
        ("DHCP", "interfaces", "auto mac/02:00:00:00:00:01/1=nic0\niface nic0 inet dhcp\n"),
        ("DHCP", "learned.env", "METHOD=\"dhcp\"\nLINKS=\"eth0\"\nMACS=\"02:00:00:00:00:01\"\n"),
        (
            "DHCP",
            "learned.env",
            "ADDRESS=\"10.0.0.50\"\nPREFIX=\"24\"\nGATEWAY=\"10.0.0.1\"\nROUTES=\"\"\nMTU=\"1400\"\nDNS=\"10.0.0.1\"\n",
        ),
        (
            "an address without a network",
            "netplan.yaml",
            "to: \"0.0.0.0/0\"\n          via: \"10.0.0.1\"\n          on-link: true\n",
        ),
        ("an address without a network", "netplan.yaml", "to: \"10.0.0.1/32\"\n          scope: link\n"),
        ("an address without a network", "networkd/10-eth0.network", "Gateway=10.0.0.1\nGatewayOnLink=yes\n"),
        ("an address without a network", "networkd/10-eth0.network", "Domains=lab.test\nNTP=10.0.0.3\n"),
        ("an address without a network", "NetworkManager/eth0.nmconnection", "address1=192.0.2.7/32,10.0.0.1\n"),
        ("an address without a network", "NetworkManager/eth0.nmconnection", "dns=10.0.0.1;10.0.0.2;\ndns-search=lab.test;\n"),
        ("an address without a network", "ifcfg/route-eth0", "ADDRESS0=10.0.0.1\nNETMASK0=255.255.255.255\nADDRESS1=10.1.0.0\n"),
        ("an address without a network", "interfaces", "up ip route add default via 10.0.0.1 dev $IFACE onlink\n"),
        ("an address without a network", "learned.env", "ROUTES=\"10.0.0.1/32 10.1.0.0/16,10.0.0.1\"\n"),
        ("an address without a network", "learned.env", "NTP=\"10.0.0.3\"\nHOSTNAME=\"node1\"\n"),
        ("a VLAN with DHCP", "netplan.yaml", "eth0.100:\n      id: 100\n      link: eth0\n      mtu: 1400\n      dhcp4: true\n"),
        ("a VLAN with DHCP", "networkd/10-eth0.network", "VLAN=eth0.100\nLinkLocalAddressing=no\n"),
        ("a VLAN with DHCP", "NetworkManager/eth0.100.nmconnection", "uuid=7468696d-626c-8064-8000-020000000001\ntype=vlan\n"),
        ("a VLAN with DHCP", "ifcfg/ifcfg-eth0.100", "VLAN_ID=100\nPHYSDEV=7468696d-626c-8000-8000-020000000001\n"),
        (
            "a VLAN with DHCP",
            "interfaces",
            "up ifup $IFACE.100=vlan-100\n    down ifdown $IFACE.100\n\niface vlan-100 inet dhcp\n",
        ),
        ("a VLAN on a bond", "netplan.yaml", "interfaces: [eth0, eth1]\n      macaddress: \"02:00:00:00:00:01\"\n"),
        ("a VLAN on a bond", "netplan.yaml", "mode: 802.3ad\n        mii-monitor-interval: 100\n        lacp-rate: fast\n"),
        ("a VLAN on a bond", "networkd/10-bond0.netdev", "[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast\n"),
        (
            "a VLAN on a bond",
            "networkd/10-eth1.network",
            "PermanentMACAddress=02:00:00:00:00:02\n\n[Link]\nMTUBytes=9000\n\n[Network]\nBond=bond0\n",
        ),
        ("a VLAN on a bond", "NetworkManager/eth1.nmconnection", "master=bond0\nslave-type=bond\n"),
        ("a VLAN on a bond", "NetworkManager/bond0.100.nmconnection", "flags=1\nparent=bond0\n"),
        (
            "a VLAN on a bond",
            "ifcfg/ifcfg-bond0",
            "BONDING_OPTS=\"mode=802.3ad miimon=100 lacp_rate=fast xmit_hash_policy=layer3+4\"\n",
        ),
        (
            "a VLAN on a bond",
            "interfaces",
            "bond-slaves none\n    bond-mode 802.3ad\n    bond-miimon 100\n    bond-lacp-rate fast\n",
        ),
        ("a VLAN on a bond", "interfaces", "auto bond0.100\niface bond0.100 inet static\n    vlan-raw-device bond0\n"),
        ("an address of a router", "netplan.yaml", "accept-ra: true\n      dhcp6: false\n"),
        ("an address of a router", "learned.env", "METHOD=\"auto6\"\n"),
        ("DHCPv6", "netplan.yaml", "accept-ra: true\n      dhcp6: true\n"),
        ("DHCPv6", "interfaces", "iface nic0 inet6 auto\n    dhcp 1\n"),
        ("a static IPv6 address", "ifcfg/ifcfg-eth0", "IPV6ADDR=2001:db8::5/64\nIPV6_DEFAULTGW=2001:db8::1\nDNS1=2001:db8::53\n"),
        (
            "a static IPv6 address",
            "NetworkManager/eth0.nmconnection",
            "[ipv6]\nmethod=manual\naddress1=2001:db8::5/64,2001:db8::1\n",
        ),
    ] {
        let text = text_of(&find(case), file);
        assert!(text.contains(lines), "{case}, {file}: no\n{lines}in\n{text}");
    }
}

#[test]
fn a_name_that_would_need_quotes_is_replaced() {
    let bond = Bond { name: "b\"0".to_owned(), mac: MAC, options: Vec::new(), mtu: None };
    let learned = Learned { nics: vec![nic("et\"h", MAC), nic("eth1", OTHER)], bond: Some(bond), ..asked() };
    let plain = with_plain_names(&learned);
    assert_eq!((plain.nics[0].name.as_str(), plain.base()), ("nic0", "bond0"));
    assert!(files(&learned).iter().all(|(name, text)| !name.contains('"') && !text.contains("et\"h")));
}

#[test]
fn the_folder_has_what_was_written_last_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let old = [file("NetworkManager/eth0.nmconnection", "old"), file("interfaces", "old")];
    let new = [file("NetworkManager/eth1.nmconnection", "new"), file("interfaces", "new")];
    for files in [old, new.clone()] {
        write(folder.path(), &files).unwrap();
    }
    for (name, text) in &new {
        assert_eq!(&fs::read_to_string(folder.path().join(name)).unwrap(), text);
    }
    assert!(!folder.path().join("NetworkManager/eth0.nmconnection").exists());
    for (name, mode) in [("NetworkManager/eth1.nmconnection", 0o600), ("interfaces", 0o644)] {
        assert_eq!(fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
}
