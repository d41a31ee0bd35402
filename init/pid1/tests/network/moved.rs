//! A port that is plugged in again, in the same network or in another one.

use super::peers::{self, Client, Peer};
use super::{Scenario, TCP_DNS};

pub const SCENARIOS: &[Scenario] = &[
    ("a port that moves to a network whose server refuses the address", moved_and_refused),
    ("a port that moves to a network whose server does not know the address", moved_and_offered),
    ("a port that moves within a moment", moved_at_once),
    ("a port that returns where no server answers keeps its address", nobody_answers),
];

/// Two networks behind one switch. The client's port is in the first one.
fn networks() -> [Peer; 2] {
    let hosts = Peer::segment("na", [("here", "10.0.0.1/24"), ("there", "192.168.7.1/24")]);
    peers::sh("ip -n sw link add other type bridge && ip -n sw link set other up && ip -n sw link set there master other");
    hosts
}

const HERE: &str = "--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1";
const THERE: &str = "--dhcp-range=192.168.7.50,192.168.7.50 --dhcp-option=3,192.168.7.1";

fn start(here: &Peer) -> Client {
    here.dhcp(HERE);
    let mut client = Client::start(""); // without a server, which would have to be reached from both
    client.says("network na 10.0.0.50/24");
    client.is_ready_as("na");
    client
}

fn unplug() {
    peers::sh("ip -n sw link set na down");
}

fn plug(into: &str) {
    peers::sh(&format!("ip -n sw link set na master {into} && ip -n sw link set na up"));
}

/// The new address is set, and the old one is removed.
fn has_moved(client: &mut Client, since: f64) {
    client.says("network na 192.168.7.50/24 gateway 192.168.7.1");
    let took = client.seconds() - since;
    assert!(took < 6.0, "{took} s");
    assert!(!client.addresses("na").contains("10.0.0.50"));
    client.sees(|| peers::sh("ip route").contains("default via 192.168.7.1"));
    client.file_has("/etc/resolv.conf", "nameserver 192.168.7.1");
}

fn moved_and_refused() {
    let [here, there] = networks();
    there.dhcp(THERE);
    let mut client = start(&here);
    unplug();
    client.sees(|| !peers::carrier("na"));
    plug("other");
    let since = client.seconds();
    client.says("the DHCP server at 192.168.7.1 refuses 10.0.0.50");
    client.says("na (02:00:00:00:00:61) has lost its address 10.0.0.50");
    has_moved(&mut client, since);
}

fn moved_and_offered() {
    let [here, there] = networks();
    // It does not refuse the request, because another server may know more.
    there.serves(&["dhcp-server", there.link(), "of another network"], 67);
    let mut client = start(&here);
    unplug();
    client.sees(|| !peers::carrier("na"));
    plug("other");
    let since = client.seconds();
    client.says("DHCP server 192.168.7.1 of another network offers 192.168.7.50, so 10.0.0.50 is dropped");
    has_moved(&mut client, since);
}

fn moved_at_once() {
    let [here, there] = networks();
    there.dhcp(THERE);
    let mut client = start(&here);
    peers::sh("ip -n sw link set na down; ip -n sw link set na master other; ip -n sw link set na up");
    let since = client.seconds();
    has_moved(&mut client, since);
}

fn nobody_answers() {
    let here = Peer::new("na", "10.0.0.1/24");
    let mut server = here.dhcp(HERE);
    let mut client = Client::start(TCP_DNS);
    client.says("network na 10.0.0.50/24");
    client.is_ready_as("na");
    server.kill().unwrap();
    server.wait().unwrap();
    here.ip("link set na down");
    client.sees(|| !peers::carrier("na"));
    here.ip("link set na up");
    client.says("no DHCP server has answered since the carrier returned; keeping 10.0.0.50, leased for");
    assert!(client.addresses("na").contains("10.0.0.50"));
    client.sees(|| peers::sh("ip route").contains("default via 10.0.0.1"));
}
