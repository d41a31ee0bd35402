//! DHCP on more than one network, and replies that only their client sees: real clients, each in a network namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boots::{BootInterface, Config, Events, Listen, Sockets};
use cmdline::Arguments;
use model::Mac;
use support::namespace::{Namespace, inside, installed, ip, show_environment};
use support::{Fixed, KNOWN, machine};
use tokio_util::sync::CancellationToken;

/// boots with two networks: the bridges `lan0` and `lan1`.
struct Site {
    folder: tempfile::TempDir,
    hosts: u32,
    shutdown: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

fn reserved(mac: Mac, address: [u8; 4]) -> BootInterface {
    let mut machine = BootInterface { mac, ..machine(KNOWN) };
    machine.reservation.as_mut().unwrap().address = address.into();
    machine
}

impl Site {
    async fn start(machines: Vec<BootInterface>) -> Self {
        ip("link set lo up");
        for (name, address) in [("lan0", FIRST), ("lan1", SECOND)] {
            ip(&format!("link add {name} type bridge forward_delay 0"));
            ip(&format!("addr add {address}/24 dev {name}"));
            ip(&format!("link set {name} up"));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let arguments = Arguments { grpc_authority: Some(format!("{FIRST}:42113")), ..Arguments::default() };
        let config = Config { address_by_network: true, arguments, ..Config::new(FIRST, path.clone(), path) };
        let mut sockets = Sockets::bind(&config, Listen { syslog: None, ..Listen::default() }).await.unwrap();
        sockets.http = Some(tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, config.http_port)).await.unwrap());
        let shutdown = CancellationToken::new();
        tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(Fixed(machines)), Events::new(), shutdown.clone()));
        Self { folder, hosts: 0, shutdown }
    }

    /// A host with the interface `peer0` on this bridge.
    async fn host(&mut self, bridge: &str) -> Namespace {
        let host = Namespace::new().await;
        self.hosts += 1;
        let port = format!("port{}", self.hosts);
        ip(&format!("link add {port} type veth peer name peer0"));
        ip(&format!("link set {port} master {bridge} up"));
        host.take("peer0").await;
        host
    }

    async fn machine(&mut self, bridge: &str, mac: Mac) -> Namespace {
        let host = self.host(bridge).await;
        host.run("ip", &["link", "set", "peer0", "address", &mac.to_string()]).await;
        host
    }

    async fn udhcpc(&self, host: &Namespace, options: &[&str]) -> String {
        let script = show_environment(self.folder.path());
        let always = ["udhcpc", "-i", "peer0", "-n", "-q", "-f", "-t", "6", "-T", "1", "-s", &script];
        host.run("busybox", &[&always[..], options].concat()).await
    }
}

async fn comes_to_say(log: &Path, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if said.contains(text) {
            return said;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no {text:?} in {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// RFC 2131 section 4.1: the bridge brings a unicast to its client only.
#[tokio::test]
async fn a_client_that_allows_it_gets_its_lease_by_unicast() {
    if !installed("busybox") || !installed("tcpdump") || !inside("a_client_that_allows_it_gets_its_lease_by_unicast") {
        return;
    }
    let mut site = Site::start(vec![reserved(KNOWN, [10, 77, 0, 9])]).await;
    let client = site.machine("lan0", KNOWN).await;
    let other = site.host("lan0").await;
    let log = site.folder.path().join("heard");
    let listening = ["-i", "peer0", "-n", "-e", "-l", "--immediate-mode", "udp and src port 67"];
    let _tcpdump = other.start("tcpdump", &listening, &log);
    comes_to_say(&log, "listening on peer0").await;

    let output = site.udhcpc(&client, &[]).await;
    assert!(output.lines().any(|line| line == "ip=10.77.0.9"), "{output}");
    let output = site.udhcpc(&client, &["-B"]).await; // it asks for broadcasts
    assert!(output.lines().any(|line| line == "ip=10.77.0.9"), "{output}");
    let heard = comes_to_say(&log, "ff:ff:ff:ff:ff:ff").await;
    let replies: Vec<&str> = heard.lines().filter(|line| line.contains(".67 > ")).collect();
    assert!(replies.iter().all(|line| line.contains("> ff:ff:ff:ff:ff:ff") && line.contains("> 255.255.255.255.68")), "{heard}");

    if installed("dhclient") {
        let path = |name: &str| site.folder.path().join(name).to_str().unwrap().to_owned();
        let (script, leases, pid) = (show_environment(site.folder.path()), path("leases"), path("pid"));
        let dhclient = ["-4", "-1", "-v", "-cf", "/dev/null", "-sf", &script, "-lf", &leases, "-pf", &pid, "peer0"];
        let output = client.run("dhclient", &dhclient).await;
        assert!(output.contains("bound to 10.77.0.9"), "it checks the checksums itself: {output}");
    }
}

/// Server, next server, URLs and kernel arguments: all name the address of the machine's own network.
#[tokio::test]
async fn machines_of_two_networks_are_told_the_address_of_their_own() {
    let name = "machines_of_two_networks_are_told_the_address_of_their_own";
    if !installed("busybox") || !installed("curl") || !inside(name) {
        return;
    }
    let other = Mac::new([2, 0, 0, 0, 0, 7]);
    let mut site = Site::start(vec![reserved(KNOWN, [10, 77, 0, 9]), reserved(other, [10, 78, 0, 9])]).await;
    std::fs::write(site.folder.path().join("ipxe.efi"), "a program").unwrap();
    for (bridge, mac, own, address) in [("lan0", KNOWN, FIRST, "10.77.0.9"), ("lan1", other, SECOND, "10.78.0.9")] {
        let client = site.machine(bridge, mac).await;
        let output = site.udhcpc(&client, &["-V", "PXEClient:Arch:00007:UNDI:003010", "-x", "0x5d:0007"]).await;
        for expected in [format!("ip={address}"), format!("serverid={own}"), format!("siaddr={own}")] {
            assert!(output.lines().any(|line| line == expected), "{expected} in {output}");
        }
        client.run("ip", &["addr", "add", &format!("{address}/24"), "dev", "peer0"]).await;
        let url = format!("http://{own}:7080/ipxe/script/{mac}/auto.ipxe");
        let script = client.run("curl", &["--silent", "--max-time", "10", &url]).await;
        for expected in [format!("kernel http://{own}:7080/files/"), format!("grpc_authority={own}:42113")] {
            assert!(script.contains(&expected), "{expected} in {script}");
        }
        let url = format!("tftp://{own}/ipxe.efi");
        assert_eq!(client.run("curl", &["--silent", "--max-time", "10", &url]).await, "a program");
    }
}
