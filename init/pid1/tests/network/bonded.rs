//! Links that are bonded, and the other end's view of them.

use super::peers::{self, Client, Peer};
use super::{Scenario, TCP_DNS};

pub const SCENARIOS: &[Scenario] = &[
    ("bond: LACP with a partner", lacp),
    ("bond: LACP without a partner", no_partner),
    ("bond: active-backup survives a cable", active_backup),
    ("bond: one without a network is taken apart", taken_apart),
    ("bond: a VLAN and a static address on it", vlan_above),
    ("a kernel that cannot make bonds", impossible),
];

const DHCP: &str = "--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1";
const LACP: &str = "bond=bond0:na,nb:mode=802.3ad,miimon=50,lacp_rate=fast";

/// A switch with one link to the client's `na` and one to its `nb`.
fn switch() -> Peer {
    let switch = Peer::new("na", "192.168.99.1/24");
    peers::sh(&format!("ip link add name nb address {} type veth peer name nb netns na", peers::mac("nb")));
    switch
}

/// The two ports as one link, with 10.0.0.1 on it.
fn team(mode: &str) -> Peer {
    let switch = switch();
    switch.ip(&format!("link add name team type bond mode {mode} miimon 50"));
    for port in ["na", "nb"] {
        switch.ip(&format!("link set {port} down"));
        switch.ip(&format!("link set {port} master team"));
    }
    switch.ip("link set team up");
    switch.ip("address add 10.0.0.1/24 dev team");
    switch.on("team")
}

/// The two ports bridged, as in a switch without the bond.
fn bridged() -> Peer {
    let switch = switch();
    switch.ip("link add name team type bridge");
    for port in ["na", "nb"] {
        switch.ip(&format!("link set {port} master team"));
        switch.ip(&format!("link set {port} up"));
    }
    switch.ip("link set team up");
    switch.ip("address add 10.0.0.1/24 dev team");
    switch.on("team")
}

fn lacp() {
    let team = team("802.3ad lacp_rate fast");
    team.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} {LACP} hw_addr={}", peers::mac("nb")));
    client.says("network bond0 10.0.0.50/24 gateway 10.0.0.1");
    client.says("bond0 with 2 links, LACP partner ");
    client.is_ready_as("nb"); // the NIC that booted, whichever joined first
    client.sees(|| peers::sh("cat /sys/class/net/bond0/bonding/ad_num_ports").trim() == "2");
    assert!(peers::answers("10.0.0.1"));
    // The bond has the second link's address. Each NIC is recorded with its permanent address.
    client.has_learned("learned.env", &format!("MACS=\"{} {}\"", peers::mac("na"), peers::mac("nb")));
    client.has_learned("networkd/10-bond0.netdev", &format!("MACAddress={}\n\n[Bond]\nMode=802.3ad\n", peers::mac("nb")));
}

fn no_partner() {
    let switch = bridged();
    switch.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} {LACP}"));
    client.says("network bond0 10.0.0.50/24 gateway 10.0.0.1");
    client.says("bond0 with 2 links, no LACP partner");
    assert!(peers::answers("10.0.0.1"));
}

fn active_backup() {
    let switch = bridged();
    switch.dhcp(DHCP);
    let mut client = Client::start(&format!("{TCP_DNS} bond=bond0:na,nb:mode=active-backup,miimon=50:1400"));
    client.says("network bond0 10.0.0.50/24");
    assert!(peers::sh("ip link show nb").contains("mtu 1400"));
    let active = peers::sh("cat /sys/class/net/bond0/bonding/active_slave");
    switch.ip(&format!("link set {} down", active.trim()));
    client.sees(|| peers::sh("cat /sys/class/net/bond0/bonding/active_slave") != active);
    client.sees(|| peers::answers("10.0.0.1"));
    assert!(!client.has_said("has had no carrier"));
}

/// Only one of the two ports that the bond needs works, and without LACP.
fn taken_apart() {
    let first = Peer::new("na", "10.0.0.1/24");
    first.dhcp(DHCP);
    let second = Peer::new("nb", "10.0.9.1/24");
    second.ip("link set nb down");
    let mut client = Client::start(&format!("{TCP_DNS} {LACP},min_links=2 ip=bond0:dhcp"));
    client.says("bond0: no network, no LACP partner; trying each of its links alone");
    client.says("network na 10.0.0.50/24");
    client.is_ready_as("na");
}

fn vlan_above() {
    let team = team("802.3ad lacp_rate fast");
    team.ip("link add link team name team.100 type vlan id 100");
    team.ip("address add 10.1.0.1/24 dev team.100");
    team.ip("link set team.100 up");
    let mut client = Client::start(&format!("{LACP} vlan=vlan100:bond0 ip=10.1.0.5::10.1.0.1:24::vlan100:none"));
    client.says("network bond0.100 10.1.0.5/24 gateway 10.1.0.1");
    client.sees(|| peers::answers("10.1.0.1"));
}

fn impossible() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp(DHCP);
    // The driver refuses the name, and a kernel without the driver refuses every name.
    peers::sh("ip link add name bond0 type dummy || ip link add name bond0 type veth peer name other");
    let mut client = Client::start(&format!("{TCP_DNS} bond=bond0:na:mode=802.3ad"));
    client.says("each link is tried alone. Is the module bonding in the ramdisk?");
    client.says("network na 10.0.0.50/24");
}
