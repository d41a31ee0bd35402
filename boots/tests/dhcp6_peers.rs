//! DHCPv6 and router advertisements with the programs of the field, each in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use boots::dhcp6::{Advertised, Mode, Network, Networks};
use boots::{BootInterface, Config, Events, Listen, Milestone, Reservation6, Sockets};
use dhcp::v6::eui64;
use support::namespace::{Namespace, inside, installed, ip, run, show_environment};
use support::{Fixed, KNOWN, STRANGER, assert_logged, keep_log, machine};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

const SERVER: &str = "fd00:77::1";
const RESERVED: &str = "fd00:77::20";

fn six(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn network(subnet: &str, mode: Mode, advertised: Option<Advertised>) -> Network {
    Network {
        subnet: subnet.parse().unwrap(),
        mode,
        name_servers: vec![six(SERVER)],
        time_servers: vec![six("fd00:77::123")],
        domain: Some("lab.example".to_owned()),
        lease_time: 3600,
        advertised,
    }
}

fn reserved(address: &str) -> BootInterface {
    let reservation6 = Reservation6 {
        address: six(address),
        lease_time: None,
        domain_name: None,
        name_servers: Vec::new(),
        time_servers: Vec::new(),
    };
    BootInterface { reservation: None, reservation6: Some(reservation6), ..machine(KNOWN) }
}

/// boots with IPv6 only at a bridge, to which hosts are connected.
struct Lan {
    folder: tempfile::TempDir,
    events: Receiver<boots::Event>,
    hosts: u32,
    shutdown: CancellationToken,
}

impl Lan {
    async fn start(listed: Vec<Network>, machines: Vec<BootInterface>) -> Self {
        ip("link set lo up");
        ip("link add lan0 type bridge forward_delay 0 mcast_snooping 0");
        ip(&format!("addr add {SERVER}/64 dev lan0 nodad"));
        ip("link set lan0 up");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let networks6 = Networks { listed, only_listed: false };
        let address6 = Some(six(SERVER));
        let leases = Some(path.clone());
        let config = Config { networks6, address6, leases, ..Config::new(Ipv4Addr::UNSPECIFIED, path.clone(), path) };
        let sockets = Sockets::bind(&config, Listen { dhcp: None, pxe: None, ..Listen::default() }).await.unwrap();
        assert!(sockets.dhcp6.is_some() && sockets.six.tftp.is_some() && sockets.six.syslog.is_some());
        let (all_events, shutdown) = (Events::new(), CancellationToken::new());
        let events = all_events.subscribe();
        tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(Fixed(machines)), all_events, shutdown.clone()));
        Self { folder, events, hosts: 0, shutdown }
    }

    /// A host with the interface `peer0` on this network.
    async fn host(&mut self, mac: &str) -> Namespace {
        let host = Namespace::new().await;
        self.hosts += 1;
        let port = format!("port{}", self.hosts);
        ip(&format!("link add {port} type veth peer name peer0 address {mac}"));
        ip(&format!("link set {port} master lan0 up"));
        host.take("peer0").await;
        has_link_local(&host, "peer0").await;
        host
    }

    async fn acknowledged(&mut self) -> IpAddr {
        let wait = async {
            loop {
                if let Milestone::Acknowledged { address, .. } = self.events.recv().await.unwrap().milestone {
                    return address;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no such event in time")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What `dhclient` learned.
    async fn dhclient(&self, host: &Namespace, words: &[&str]) -> String {
        let (script, leases, pid) =
            (show_environment(self.folder.path()), self.path("dhclient.leases"), self.path("dhclient.pid"));
        let files = ["-1", "-v", "-cf", "/dev/null", "-sf", &script, "-lf", &leases, "-pf", &pid, "peer0"];
        host.run("dhclient", &[&["-6"], words, &files].concat()).await
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Its check whether another host has the address is over.
async fn has_link_local(host: &Namespace, interface: &str) {
    let usable = async {
        while !host.run("ip", &["-6", "addr", "show", "dev", interface, "scope", "link", "-tentative"]).await.contains("fe80") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), usable).await.expect("no link-local address in time");
}

#[tokio::test]
async fn a_machine_gets_the_ipv6_address_of_its_hardware_and_a_stranger_nothing() {
    const NAME: &str = "a_machine_gets_the_ipv6_address_of_its_hardware_and_a_stranger_nothing";
    if !installed("dhclient") || !inside(NAME) {
        return;
    }
    keep_log();
    let mut lan = Lan::start(vec![network("fd00:77::/64", Mode::Reservation, None)], vec![reserved(RESERVED)]).await;
    let host = lan.host(&KNOWN.to_string()).await;
    let output = lan.dhclient(&host, &["-N"]).await;
    for line in
        [&format!("new_ip6_address={RESERVED}"), "new_dhcp6_name_servers=fd00:77::1", "new_dhcp6_domain_search=lab.example."]
    {
        assert!(output.lines().any(|found| found == line), "{line} in\n{output}");
    }
    assert_eq!(lan.acknowledged().await, IpAddr::from(six(RESERVED)));
    let output = lan.dhclient(&host, &["-r"]).await;
    assert!(output.contains("XMT: Release on peer0"), "{output}");
    let stranger = lan.host(&STRANGER.to_string()).await;
    let _waits =
        stranger.start("dhclient", &["-6", "-1", "-d", "-cf", "/dev/null", "peer0"], &lan.folder.path().join("stranger"));
    let seen = async { while lan.events.recv().await.unwrap().milestone != Milestone::Unknown {} };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("no line about the stranger");
    assert_logged(&[&format!("DHCPv6 {STRANGER}: unknown machine (SOLICIT of DHCP client on lan0)")]);
}

#[tokio::test]
async fn an_advertised_pool_gives_addresses_to_clients_of_operating_systems() {
    if !inside("an_advertised_pool_gives_addresses_to_clients_of_operating_systems") {
        return;
    }
    let pool = network("fd00:77::/64", Mode::Pool, Some(Advertised::default()));
    let mut lan = Lan::start(vec![pool], Vec::new()).await;
    let made = |last: u8| IpAddr::from(eui64(six("fd00:77::"), [2, 0, 0, 0, 0x10, last]));
    if installed("dhclient") {
        let host = lan.host("02:00:00:00:10:01").await;
        let output = lan.dhclient(&host, &["-N"]).await;
        assert!(output.contains(&format!("new_ip6_address={}", made(1))), "{output}");
        assert_eq!(lan.acknowledged().await, made(1));
    }
    if installed("dhcpcd") {
        let host = lan.host("02:00:00:00:10:02").await;
        let script = show_environment(lan.folder.path());
        // It would only confirm a lease of an earlier run. It asks because the advertisement says so.
        run("mount", &["-t", "tmpfs", "none", "/var/lib/dhcpcd"]).await;
        let words = ["-6", "-1", "-B", "-d", "-t", "20", "-f", "/dev/null", "-c", &script, "peer0"];
        let output = host.run("dhcpcd", &words).await;
        assert!(output.contains(&made(2).to_string()), "{output}");
        assert_eq!(lan.acknowledged().await, made(2));
    }
}

/// The host makes itself an address, and asks for the rest.
#[tokio::test]
async fn a_stateless_network_is_announced_and_answers_for_the_rest() {
    if !installed("dhclient") || !inside("a_stateless_network_is_announced_and_answers_for_the_rest") {
        return;
    }
    let advertised = Some(Advertised { router_lifetime: 1800 });
    let mut lan = Lan::start(vec![network("fd00:77::/64", Mode::Stateless, advertised)], Vec::new()).await;
    let host = lan.host("02:00:00:00:10:01").await;
    let made = eui64(six("fd00:77::"), [2, 0, 0, 0, 0x10, 1]).to_string();
    let configured = async {
        while !host.run("ip", &["-6", "addr", "show", "dev", "peer0"]).await.contains(&made) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), configured).await.expect("the host makes itself no address");
    let routes = host.run("ip", &["-6", "route", "show", "default"]).await;
    assert!(routes.contains("dev peer0"), "the router's lifetime makes it a router: {routes}");
    let output = lan.dhclient(&host, &["-S"]).await;
    assert!(output.contains("new_dhcp6_name_servers=fd00:77::1"), "{output}");

    lan.shutdown.cancel();
    let left = async {
        while host.run("ip", &["-6", "route", "show", "default"]).await.contains("dev peer0") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), left).await.expect("a router that has ended is still used");
    assert!(host.run("ip", &["-6", "addr", "show", "dev", "peer0"]).await.contains(&made), "its address stays");
}

/// The relay's network is fd00:78::/64.
#[tokio::test]
async fn a_relay_brings_requests_of_another_ipv6_network() {
    if !installed("dhcrelay") || !installed("dhclient") || !inside("a_relay_brings_requests_of_another_ipv6_network") {
        return;
    }
    keep_log();
    let listed = vec![network("fd00:78::/64", Mode::Pool, None)];
    let mut lan = Lan::start(listed, vec![reserved("fd00:78::20")]).await;
    let relay = lan.host("02:00:00:00:10:01").await;
    relay.run("ip", &["addr", "add", "fd00:77::2/64", "dev", "peer0", "nodad"]).await;
    ip("route add fd00:78::/64 via fd00:77::2");
    ip("link add client0 address 02:00:00:00:10:02 type veth peer name relay0");
    relay.take("relay0").await;
    relay.run("ip", &["addr", "add", "fd00:78::1/64", "dev", "relay0", "nodad"]).await;
    let client = Namespace::new().await;
    client.take("client0").await;
    client.run("ip", &["link", "set", "client0", "name", "peer0"]).await;
    has_link_local(&client, "peer0").await;
    has_link_local(&relay, "relay0").await;
    let (log, pid) = (lan.folder.path().join("relay"), lan.path("relay.pid"));
    let upper = format!("{SERVER}%peer0");
    let _relay = relay.start("dhcrelay", &["-6", "-d", "-pf", &pid, "-l", "relay0", "-u", &upper], &log);
    let output = lan.dhclient(&client, &["-N"]).await;
    let made = eui64(six("fd00:78::"), [2, 0, 0, 0, 0x10, 2]);
    assert!(output.contains(&format!("new_ip6_address={made}")), "{output}\n{}", std::fs::read_to_string(&log).unwrap());
    assert_eq!(lan.acknowledged().await, IpAddr::from(made));
    assert_logged(&["DHCPv6 02:00:00:00:10:02", "via relay fd00:78::1"]);
}
