use super::*;
use cmdline::Arguments;

mod parsers;

const MAC: HwAddr = HwAddr([2, 0, 0, 0, 0, 1]);
const OTHER: HwAddr = HwAddr([2, 0, 0, 0, 0, 2]);

fn nic(name: &str, mac: HwAddr) -> Nic {
    Nic { name: name.to_owned(), mac }
}

fn bonded(lease: Lease, vlan: Option<u16>) -> Learned {
    let asked: cmdline::Bond = "bond0:eth0,eth1:mode=4,lacp_rate=1,xmit_hash_policy=layer3+4:9000".parse().unwrap();
    Learned::new(vec![nic("eth0", MAC), nic("eth1", OTHER)], Some(Bond::of(&asked, MAC, 100)), vlan, lease)
}

fn single(lease: Lease, vlan: Option<u16>) -> Learned {
    Learned::new(vec![nic("eth0", MAC)], None, vlan, lease)
}

fn fixed(line: &str) -> Lease {
    Lease::from_ip(&Arguments::parse(line).arguments.ip.unwrap()).unwrap()
}

fn asked() -> Lease {
    let server = Some("10.0.0.1".parse().unwrap());
    let search = vec!["lab.test".to_owned(), "test".to_owned()];
    Lease { server, search, mtu: Some(1400), ..fixed("ip=10.0.0.50::10.0.0.1:24::eth0:none:10.0.0.1") }
}

/// An address without a network, as clouds give it, and routes of all kinds.
fn lonely() -> Lease {
    let route = |destination: &str, prefix, gateway: Option<&str>| Route {
        destination: destination.parse().unwrap(),
        prefix,
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    let mut lease = fixed("ip=192.0.2.7::10.0.0.1:32::eth0:none:10.0.0.1:10.0.0.2:10.0.0.3");
    lease.routes.extend([route("10.0.0.1", 32, None), route("10.1.0.0", 16, Some("10.0.0.1"))]);
    Lease { search: vec!["lab.test".to_owned()], hostname: Some("node1".to_owned()), ..lease }
}

fn six() -> Lease {
    fixed("ip=[2001:db8::5]::[2001:db8::1]:64::eth0:none:[2001:db8::53]")
}

fn all() -> Vec<(&'static str, Learned)> {
    let by_router = Lease { by_kernel: true, ..six() };
    let assigned = Lease::from_dhcpv6("2001:db8::5".parse().unwrap(), None, None);
    vec![
        ("DHCP", single(asked(), None)),
        ("a static address", single(fixed("ip=10.0.0.5::10.0.0.1:24::eth0:none:10.0.0.1"), None)),
        ("an address without a network", single(lonely(), None)),
        ("a VLAN with DHCP", single(asked(), Some(100))),
        ("a VLAN with a static address", single(lonely(), Some(100))),
        ("a bond with DHCP", bonded(asked(), None)),
        ("a VLAN on a bond", bonded(lonely(), Some(100))),
        ("an address of a router", single(by_router, None)),
        ("DHCPv6", single(assigned, None)),
        ("a static IPv6 address", single(six(), None)),
    ]
}

fn text_of(learned: &Learned, name: &str) -> String {
    let files = learned.files();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let found = files.iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no {name} in {names:?}")).1.clone()
}

#[test]
fn each_system_is_told_how_the_address_came_and_where_it_goes() {
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
fn a_name_that_would_need_quotes_goes_nowhere() {
    let bond = Bond { name: "b\"0".to_owned(), mac: MAC, options: Vec::new(), mtu: None };
    let learned = Learned::new(vec![nic("et\"h", MAC), nic("eth1", OTHER)], Some(bond), None, asked());
    assert_eq!((learned.nics[0].name.as_str(), learned.base()), ("nic0", "bond0"));
    assert!(learned.files().iter().all(|(name, text)| !name.contains('"') && !text.contains("et\"h")));
}

#[test]
fn a_bond_says_what_the_kernel_would_not_do_by_itself() {
    for (asked, expected) in [
        ("bond0:eth0", "mode=balance-rr miimon=100"),
        ("bond0:eth0:miimon=50,mode=active-backup", "mode=active-backup miimon=50"),
        ("bond0:eth0:lacp_rate=0,mode=4", "mode=802.3ad miimon=100 lacp_rate=slow"),
    ] {
        let bond = Bond::of(&asked.parse().unwrap(), MAC, 100);
        assert_eq!(bond.joined(" ", |name, value| format!("{name}={value}")), expected);
    }
}
