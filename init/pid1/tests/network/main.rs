//! The network client against real DHCP servers, routers and time servers, in network namespaces.
//!
//! `cargo test -p pid1 --test network [NAME]`. Each scenario is a child of this program below `unshare`, and the client is
//! a child of the scenario. Needs root, `ip`, `unshare`, `setpriv` and `dnsmasq`. Without them it reports that and passes.
//! Scenarios that this host's kernel does not support are skipped. `machine.sh` runs them below another kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::zombie_processes)] // each scenario is a PID namespace: its processes end with it

mod answers;
mod bonded;
mod moved;
mod named;
mod peers;
mod tagged;

use std::process::{Command, ExitCode};

use peers::{Client, Peer};

type Scenario = (&'static str, fn());

const SCENARIOS: &[&[Scenario]] =
    &[PLAIN, answers::SCENARIOS, moved::SCENARIOS, named::SCENARIOS, tagged::SCENARIOS, bonded::SCENARIOS];

const PLAIN: &[Scenario] = &[
    ("one link", one_link),
    ("only one of three links reaches the server", only_one_reaches),
    ("the NIC that booted is preferred", boot_nic_preferred),
    ("a wrong server on the segment does not win", wrong_server),
    ("a server that is not up yet", server_not_up),
    ("the first server of the site is away", another_of_the_site),
    ("a link without the server is left when another one comes", left_for_another),
    ("a network whose server's host comes last", server_host_comes_last),
    ("a static address", static_address),
    ("the winner loses its cable", winner_dies),
    ("time from the server that DHCP names", time_from_ntp),
    ("an IPv6-only segment", ipv6_only),
    ("an IPv6 router without the server leaves no route", ipv6_dead_router),
    ("an IPv6 router names the name server", ipv6_names),
    ("DHCPv6 adds names to an address of the kernel's", dhcpv6_stateless),
    ("DHCPv6 assigns the address", dhcpv6_stateful),
    ("an address that another host has is declined", taken_address),
    ("renewal keeps address and routes", renewal),
    ("the switch announces its name by LLDP", neighbour),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["client", line] => peers::client(line),
        ["time-server", ahead] => peers::time_server(ahead.parse().unwrap()),
        ["dhcp-server", link, manner] => answers::serve(link, manner),
        ["name-server"] => named::serve(),
        ["scenario", name] => {
            peers::prepare();
            match peers::unable(name) {
                Some(reason) => {
                    println!("{reason}");
                    return ExitCode::from(SKIPPED);
                }
                None => SCENARIOS.concat().into_iter().find(|(known, _)| *known == name).unwrap().1(),
            }
            ExitCode::SUCCESS
        }
        ref others => run(others.iter().find(|word| !word.starts_with('-')).copied().unwrap_or("")),
    }
}

fn run(wanted: &str) -> ExitCode {
    if let Some(missing) = peers::missing() {
        println!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in SCENARIOS.concat().into_iter().filter(|(name, _)| name.contains(wanted)) {
        let mut command = Command::new("timeout");
        command.args(["90", "unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let output = command.arg(std::env::current_exe().unwrap()).args(["scenario", name]).output().unwrap();
        let (good, skipped) = (output.status.success(), output.status.code() == Some(SKIPPED.into()));
        if skipped {
            println!("skip   {name}: {}", String::from_utf8_lossy(&output.stdout).trim());
            continue;
        }
        println!("{} {name}", if good { "ok    " } else { "FAILED" });
        if !good || std::env::var_os("SHOW").is_some() {
            println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        failed += u8::from(!good);
    }
    ExitCode::from(failed)
}

const SKIPPED: u8 = 77;
pub const TCP_DNS: &str = "grpc_authority=10.0.0.1:53"; // dnsmasq itself listens there

fn one_link() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1 --dhcp-option=15,lab.test");
    let mut client = Client::start(TCP_DNS);
    client.says("network na 10.0.0.50/24 gateway 10.0.0.1 dns 10.0.0.1");
    client.is_ready_as("na");
    assert!(client.seconds() < 1.8, "the client had to wait for nothing, but took {} s", client.seconds());
    client.file_has("/etc/resolv.conf", "search lab.test\nnameserver 10.0.0.1");
    client.has_learned("networkd/10-na.network", "[Network]\nDHCP=ipv4\n");
    client.has_learned("learned.env", "ADDRESS=\"10.0.0.50\"");
}

fn only_one_reaches() {
    let lost = Peer::new("na", "192.168.1.1/24");
    lost.dhcp("--dhcp-range=192.168.1.50,192.168.1.50 --dhcp-option=3,192.168.1.1");
    let _dumb = Peer::new("nb", "192.168.2.1/24");
    let right = Peer::new("nc", "10.0.0.1/24");
    right.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start(TCP_DNS);
    client.says("network nc 10.0.0.50/24");
    client.is_ready_as("nc");
    assert!(!client.addresses("na").contains("192.168.1.50"), "the link that was not chosen must release its address");
}

fn boot_nic_preferred() {
    for name in ["na", "nb"] {
        Peer::new(name, "10.0.0.1/24").dhcp("--dhcp-range=10.0.0.50,10.0.0.60 --dhcp-option=3,10.0.0.1");
    }
    let mut client = Client::start(&format!("{TCP_DNS} hw_addr={}", peers::mac("nb")));
    client.says("network nb 10.0.0.");
    assert!(client.seconds() < 1.8);
}

fn wrong_server() {
    let [right, wrong] = Peer::segment("na", [("right", "192.168.7.1/24"), ("wrong", "10.0.0.66/24")]);
    wrong.dhcp("--dhcp-range=10.0.0.150,10.0.0.150 --dhcp-option=3,10.0.0.66");
    let mut client = Client::start("grpc_authority=192.168.7.1:53");
    wrong.says("DHCPDISCOVER");
    right.dhcp("--dhcp-range=192.168.7.50,192.168.7.50 --dhcp-option=3,192.168.7.1");
    client.says("the address 10.0.0.150 from DHCP server 10.0.0.66 does not lead to 192.168.7.1");
    client.says("network na 192.168.7.50/24 gateway 192.168.7.1");
    assert!(!client.addresses("na").contains("10.0.0.150"));
}

fn server_not_up() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start("grpc_authority=10.0.0.1:42113");
    client.says("network na 10.0.0.50/24");
    assert!(client.seconds() < 1.8, "a refusal is an answer");
}

fn another_of_the_site() {
    let lost = Peer::new("na", "192.168.1.1/24");
    lost.dhcp("--dhcp-range=192.168.1.50,192.168.1.50 --dhcp-option=3,192.168.1.1");
    let right = Peer::new("nb", "10.0.0.1/24");
    right.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start("grpc_authority=10.0.0.9:42113 thimble.servers=10.0.0.1:53");
    client.says("network nb 10.0.0.50/24");
    client.is_ready_as("nb");
    assert!(!client.has_said("no link reaches"), "the second server answers");
}

const NOBODY_YET: &str = "no link reaches the server 10.0.0.1:53; using na (02:00:00:00:00:61), the best one";

fn left_for_another() {
    let lost = Peer::new("na", "192.168.1.1/24");
    lost.dhcp("--dhcp-range=192.168.1.50,192.168.1.50 --dhcp-option=3,192.168.1.1 --dhcp-option=6,192.168.1.1");
    let right = Peer::new("nb", "10.0.0.1/24");
    right.ip("link set nb down");
    right.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start(TCP_DNS);
    client.says(NOBODY_YET);
    client.is_ready_as("na");
    client.sees(|| peers::sh("ip route").contains("default via 192.168.1.1"));
    right.ip("link set nb up");
    client.says("nb (02:00:00:00:00:62) leads to 10.0.0.1:53 and is used from now on");
    client.says("network nb 10.0.0.50/24 gateway 10.0.0.1");
    client.is_ready_as("nb");
    client.sees(|| peers::sh("ip route").contains("default via 10.0.0.1"));
    assert!(!client.addresses("na").contains("192.168.1.50"), "the link that is no longer used must release its address");
    assert!(!peers::sh("ip route").contains("192.168.1.1"));
    client.file_has("/etc/resolv.conf", "nameserver 10.0.0.1");
}

fn server_host_comes_last() {
    let [right, dhcp] = Peer::segment("na", [("right", "10.0.0.1/24"), ("dhcp", "10.0.0.2/24")]);
    right.ip("link set right down");
    dhcp.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.2");
    let _other = Peer::new("nb", "192.168.1.1/24");
    let mut client = Client::start(TCP_DNS);
    client.says(NOBODY_YET);
    right.ip("link set right up");
    // Another link is considered only until the used one is found to lead there.
    client.sees(|| client.has_said("na (02:00:00:00:00:61) leads to 10.0.0.1:53"));
    assert!(client.addresses("na").contains("10.0.0.50"));
}

fn static_address() {
    let _peer = Peer::new("na", "10.0.0.1/24");
    let mac = peers::mac("na").replace(':', "-");
    for line in [
        format!("ipam={mac}::10.0.0.5:255.255.255.0:10.0.0.1:node1:10.0.0.2::"),
        "ip=10.0.0.5::10.0.0.1:24:node1:na:none:10.0.0.2".to_owned(),
    ] {
        let mut client = Client::start(&line);
        client.says("network na 10.0.0.5/24 gateway 10.0.0.1 dns 10.0.0.2");
        client.is_ready_as("na");
    }
}

fn winner_dies() {
    let first = Peer::new("na", "10.0.0.1/24");
    first.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start(TCP_DNS);
    client.says("network na 10.0.0.50/24");
    let second = Peer::new("nb", "10.0.0.1/24");
    second.dhcp("--dhcp-range=10.0.0.70,10.0.0.70 --dhcp-option=3,10.0.0.1");
    first.ip("link set na down");
    client.says("has had no carrier for too long");
    client.says("network nb 10.0.0.70/24");
    client.has_learned("interfaces", &format!("auto mac/{}/1=nic0\niface nic0 inet dhcp\n", peers::mac("nb")));
}

fn time_from_ntp() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=42,10.0.0.1");
    peer.time(40_000_000);
    let mut client = Client::start(TCP_DNS);
    // The client must not set this host's clock.
    client.says("clock: cannot be set from ntp 10.0.0.1");
    client.is_ready_as("na");
    assert!(client.seconds() < 1.5, "ready after the answer, without waiting for the limit");
}

fn ipv6_only() {
    let peer = Peer::new("na", "fd00::1/64");
    peer.dhcp("--dhcp-range=fd00::,ra-only --enable-ra --listen-address=fd00::1");
    let mut client = Client::start("grpc_authority=[fd00::1]:53");
    client.says("network na fd00::ff:fe00:61/64 gateway fe80::");
    client.is_ready_as("na");
}

fn ipv6_dead_router() {
    let lost = Peer::new("na", "fd01::1/64");
    lost.dhcp("--dhcp-range=fd01::,ra-only --enable-ra --listen-address=fd01::1");
    let mut client = Client::start(ON_IPV6);
    client.says("no link reaches the server [fd00::1]:53; using na");
    assert!(peers::sh("ip -6 route").contains("dev na"));
    let right = Peer::new("nb", "fd00::1/64");
    right.dhcp("--dhcp-range=fd00::,ra-only --enable-ra --listen-address=fd00::1");
    client.says("network nb fd00::ff:fe00:62/64 gateway fe80::");
    client.is_ready_as("nb");
    client.sees(|| !peers::sh("ip -6 route").contains("dev na"));
    // The same in reverse, when the cable is unplugged.
    right.ip("link set nb down");
    client.says("nb (02:00:00:00:00:62) has had no carrier for too long");
    client.sees(|| peers::sh("ip -6 route").contains("fd01::/64 dev na"));
    client.sees(|| peers::sh("ip -6 route").contains("default via fe80::"));
}

const ON_IPV6: &str = "grpc_authority=[fd00::1]:53";

fn ipv6_names() {
    let peer = Peer::new("na", "fd00::1/64");
    peer.dhcp("--dhcp-range=fd00::,ra-only --enable-ra --listen-address=fd00::1 --dhcp-option=option6:dns-server,[fd00::1] --dhcp-option=option6:domain-search,lab.test");
    let mut client = Client::start(ON_IPV6);
    client.says("network na fd00::ff:fe00:61/64 gateway fe80::");
    client.file_has("/etc/resolv.conf", "search lab.test\nnameserver fd00::1");
}

fn dhcpv6_stateless() {
    let peer = Peer::new("na", "fd00::1/64");
    peer.dhcp("--dhcp-range=fd00::,ra-stateless --enable-ra --listen-address=fd00::1 --dhcp-option=option6:dns-server,[fd00::1] --dhcp-option=option6:ntp-server,[fd00::9]");
    let mut client = Client::start(ON_IPV6);
    client.says("network na fd00::ff:fe00:61/64 gateway fe80::");
    peer.says("DHCPINFORMATION-REQUEST(na)");
    client.file_has("/etc/resolv.conf", "nameserver fd00::1");
}

fn dhcpv6_stateful() {
    let peer = Peer::new("na", "fd00::1/64");
    peer.dhcp(
        "--dhcp-range=fd00::50,fd00::50,64,2m --enable-ra --listen-address=fd00::1 --dhcp-option=option6:dns-server,[fd00::1]",
    );
    let mut client = Client::start(ON_IPV6);
    client.says("network na fd00::50/128 gateway fe80::");
    client.is_ready_as("na");
    client.file_has("/etc/resolv.conf", "nameserver fd00::1");
    peer.says("DHCPREPLY(na) fd00::50");
    assert!(client.seconds() < 8.0, "link-local address, answer and assigned address took: {} s", client.seconds());
}

fn taken_address() {
    let [right, _squatter] = Peer::segment("na", [("right", "10.0.0.1/24"), ("squatter", "10.0.0.50/24")]);
    right.dhcp("--dhcp-range=10.0.0.50,10.0.0.51 --dhcp-option=3,10.0.0.1 --dhcp-sequential-ip");
    let mut client = Client::start(TCP_DNS);
    client.says("already has the address that DHCP gave");
    right.says("DHCPDECLINE(right) 10.0.0.50");
    client.says("network na 10.0.0.51/24 gateway 10.0.0.1");
    assert!(!client.addresses("na").contains("10.0.0.50"));
}

fn renewal() {
    let peer = Peer::new("na", "10.0.0.1/24");
    peer.dhcp("--dhcp-range=10.0.0.50,10.0.0.50 --dhcp-option=3,10.0.0.1");
    let mut client = Client::start(TCP_DNS);
    client.says("network na 10.0.0.50/24");
    peer.ip("link set na down");
    client.sees(|| !peers::carrier("na"));
    peer.ip("link set na up");
    peer.says_times("DHCPACK(na) 10.0.0.50", 2); // a returned carrier leads to a question at once
    peer.says_times("DHCPDISCOVER(na)", 1);
    assert!(client.addresses("na").contains("10.0.0.50"));
    client.sees(|| peers::sh("ip route").contains("default via 10.0.0.1"));
}

fn neighbour() {
    let peer = Peer::new("na", "10.0.0.1/24");
    let mut client = Client::start(TCP_DNS);
    client.says("na (02:00:00:00:00:61) has carrier");
    let mut frame = [&[0x01, 0x80, 0xc2, 0, 0, 0x0e], &[2, 0, 0, 0, 0, 7][..], &[0x88, 0xcc]].concat();
    frame.extend(b"\x02\x07\x04\x02\0\0\0\0\x07\x04\x05\x05Et/7\x06\x02\0\x78\x0a\x03sw1\0\0");
    peer.sends(&frame);
    client.says("lldp: Et/7 of 02:00:00:00:00:07 (sw1) on na");
    client.file_has("/run/thimble/lldp", "na\tEt/7\t02:00:00:00:00:07\tsw1\t-\n");
    assert!(peers::sh("ip maddress show na").contains("01:80:c2:00:00:0e"), "without the group the NIC's filter drops the frame");
}
