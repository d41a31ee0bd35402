//! A switch port with tagged frames.

use super::peers::{self, Client, Peer};
use super::{Scenario, TCP_DNS};

pub const SCENARIOS: &[Scenario] = &[
    ("VLAN: a tagged port without untagged DHCP", tagged_only),
    ("VLAN: the tagged network wins over an untagged one", both),
    ("VLAN: in dracut's form, on one of two links", of_one_link),
    ("VLAN: a static address of ipam=", static_ipam),
    ("VLAN: a static address of ip=, jumbo frames", static_ip),
    ("VLAN: the cable returns", cable_returns),
];

/// A host on VLAN 100 behind the client's link `name`. No host answers untagged frames.
fn tagged(name: &str) -> Peer {
    let peer = Peer::new(name, "192.168.99.1/24");
    peer.ip(&format!("link add link {name} name {name}.100 type vlan id 100"));
    peer.ip(&format!("address add 10.0.0.1/24 dev {name}.100"));
    peer.ip(&format!("link set {name}.100 up"));
    peer.on(&format!("{name}.100"))
}

const DHCP: &str = "--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1";

fn tagged_only() {
    let peer = tagged("na");
    peer.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} vlan_id=100"));
    client.says("network na.100 10.0.0.50/24 gateway 10.0.0.1 dns 10.0.0.1");
    client.is_ready_as("na");
    client.sees(|| peers::sh("ip route").contains("default via 10.0.0.1 dev na.100"));
}

fn both() {
    let peer = tagged("na");
    let untagged = peer.on("na");
    untagged.dhcp("--dhcp-range=192.168.99.50,192.168.99.50");
    peer.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} vlan_id=100"));
    client.says("network na.100 10.0.0.50/24");
    assert!(!client.addresses("na").contains("192.168.99.50"), "the client must not ask without the tag");
}

fn of_one_link() {
    let wrong = tagged("na");
    wrong.dhcp("--dhcp-range=10.0.0.90,10.0.0.90 --dhcp-option=3,10.0.0.1");
    let right = tagged("nb");
    right.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} vlan=vlan100:nb ip=vlan100:dhcp"));
    client.says("network nb.100 10.0.0.50/24");
    client.is_ready_as("nb");
}

fn static_ipam() {
    let _peer = tagged("na");
    let mac = peers::mac("na").replace(':', "-");
    let mut client = Client::start(&format!("ipam={mac}:100:10.0.0.5:255.255.255.0:10.0.0.1:node1:10.0.0.2::"));
    client.says("network na.100 10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.2");
    client.is_ready_as("na");
    assert!(peers::answers("10.0.0.1"));
    client.has_learned("netplan.yaml", "id: 100\n      link: na\n      addresses: [\"10.0.0.5/24\"]\n");
}

fn static_ip() {
    let _peer = tagged("na");
    let mut client = Client::start("vlan_id=100 ip=10.0.0.5::10.0.0.1:24:node1::none:9000");
    client.says("network na.100 10.0.0.5/24 gateway 10.0.0.1 dns none");
    client.sees(|| peers::sh("ip link show na.100").contains("mtu 9000"));
    assert!(peers::answers("10.0.0.1"));
}

fn cable_returns() {
    let peer = tagged("na");
    peer.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} vlan_id=100"));
    client.says("network na.100 10.0.0.50/24");
    peer.ip("link set na down");
    client.sees(|| !peers::carrier("na"));
    peer.ip("link set na up");
    peer.says_times("DHCPACK(na.100) 10.0.0.50", 2);
    client.sees(|| peers::sh("ip route").contains("default via 10.0.0.1 dev na.100"));
}
