//! DHCP with the programs of the field, each in a network namespace of its own: clients of operating systems, a relay, and
//! another DHCP server beside boots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boots::dhcp::{Mode, Modes, Network, Pool};
use boots::{BootInterface, BootState, Config, Events, Listen, Milestone, Sockets};
use dhcp::v4::{MessageType, Packet, code};
use support::namespace::{Namespace, Running, inside, installed, ip, run, show_environment};
use support::{Fixed, KNOWN, assert_logged, keep_log, machine};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// boots at a bridge, to which hosts are connected.
struct Lan {
    folder: tempfile::TempDir,
    events: Receiver<boots::Event>,
    hosts: u32,
    shutdown: CancellationToken,
}

fn pool(subnet: &str, first: [u8; 4], last: [u8; 4]) -> Network {
    let subnet = subnet.parse().unwrap();
    let pool = Pool {
        subnet,
        first: first.into(),
        last: last.into(),
        router: None,
        name_servers: vec![SERVER],
        domain: Some("lab.example".to_owned()),
        lease_time: 3600,
    };
    Network { subnet: Some(subnet), interface: None, mode: Mode::Pool(Arc::new(pool)), address: None }
}

impl Lan {
    async fn start(networks: Vec<Network>, otherwise: Mode, machines: Vec<BootInterface>) -> Self {
        Self::with(Some("lan0"), networks, otherwise, machines).await
    }

    async fn with(interface: Option<&str>, networks: Vec<Network>, otherwise: Mode, machines: Vec<BootInterface>) -> Self {
        ip("link set lo up");
        ip("link add lan0 type bridge forward_delay 0");
        ip(&format!("addr add {SERVER}/24 dev lan0"));
        ip("link set lan0 up");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let config = Config {
            interface: interface.map(str::to_owned),
            router_advertisements: true,
            modes: Modes { networks, otherwise },
            leases: Some(path.clone()),
            ..Config::new(SERVER, path.clone(), path)
        };
        let mut sockets = Sockets::bind(&config, Listen::default()).await.unwrap();
        sockets.http = Some(tokio::net::TcpListener::bind((SERVER, config.http_port)).await.unwrap());
        let (all_events, shutdown) = (Events::new(), CancellationToken::new());
        let events = all_events.subscribe();
        tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(Fixed(machines)), all_events, shutdown.clone()));
        Self { folder, events, hosts: 0, shutdown }
    }

    /// A host with the interface `peer0` on this network.
    async fn host(&mut self) -> Namespace {
        let host = Namespace::new().await;
        self.hosts += 1;
        let port = format!("port{}", self.hosts);
        ip(&format!("link add {port} type veth peer name peer0"));
        ip(&format!("link set {port} master lan0 up"));
        host.take("peer0").await;
        host
    }

    async fn milestone<T>(&mut self, mut wanted: impl FnMut(&Milestone) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = wanted(&self.events.recv().await.unwrap().milestone) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no such event in time")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn udhcpc(host: &Namespace, folder: &Path) -> String {
    let script = show_environment(folder);
    let options = ["udhcpc", "-i", "peer0", "-n", "-q", "-f", "-t", "6", "-T", "1"];
    host.run("busybox", &[&options[..], &["-s", &script]].concat()).await
}

/// Clients of operating systems, none of which boots knows.
#[tokio::test]
async fn clients_of_operating_systems_get_an_address_of_the_pool() {
    if !inside("clients_of_operating_systems_get_an_address_of_the_pool") {
        return;
    }
    let networks = vec![pool("10.77.0.0/24", [10, 77, 0, 100], [10, 77, 0, 120])];
    let mut lan = Lan::start(networks, Mode::Off, Vec::new()).await;
    let (script, leases, pid) = (show_environment(lan.folder.path()), lan.path("dhclient.leases"), lan.path("dhclient.pid"));
    let dhclient = ["-4", "-1", "-v", "-cf", "/dev/null", "-sf", &script, "-lf", &leases, "-pf", &pid, "peer0"];
    let dhcpcd = ["-4", "-1", "-B", "-d", "--noarp", "-t", "10", "-f", "/dev/null", "-c", &script, "peer0"];
    if installed("busybox") {
        let host = lan.host().await;
        let output = udhcpc(&host, lan.folder.path()).await;
        for line in ["mask=24", "dns=10.77.0.1", "domain=lab.example", "lease=3600"] {
            assert!(output.lines().any(|found| found == line), "{line} in\n{output}");
        }
        lan.acknowledged("udhcpc").await;
    }
    if installed("dhclient") {
        let host = lan.host().await;
        let output = host.run("dhclient", &dhclient).await;
        assert!(output.contains("bound to 10.77.0.1"), "{output}");
        lan.acknowledged("dhclient").await;
        let output = host.run("dhclient", &[&["-r"], &dhclient[2..]].concat()).await;
        assert!(output.contains("DHCPRELEASE"), "{output}");
    }
    if installed("dhcpcd") {
        let host = lan.host().await;
        let output = host.run("dhcpcd", &dhcpcd).await;
        assert!(output.contains("leased 10.77.0.1"), "{output}");
        lan.acknowledged("dhcpcd").await;
    }
    let networkd = "/lib/systemd/systemd-networkd";
    if installed(networkd) {
        lan.networkd(networkd).await;
    }
}

impl Lan {
    async fn acknowledged(&mut self, client: &str) {
        let address = self
            .milestone(|milestone| match milestone {
                Milestone::Acknowledged { address, .. } => Some(*address),
                _ => None,
            })
            .await;
        let (first, last) = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 120));
        assert!((IpAddr::from(first)..=last.into()).contains(&address), "{client}: {address}");
    }

    async fn networkd(&mut self, program: &str) {
        let host = self.host().await;
        // It waits for udev, unless /sys is read-only. It reads its files below /run, and keeps its state there.
        host.run("mount", &["-t", "sysfs", "-o", "ro", "none", "/sys"]).await;
        for mount in [["-t", "tmpfs", "none", "/run"], ["-t", "tmpfs", "none", "/etc/systemd/network"]] {
            run("mount", &mount).await;
        }
        std::fs::create_dir_all("/run/systemd/network").unwrap();
        std::fs::write(
            "/run/systemd/network/peer.network",
            "[Match]\nName=peer0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
        )
        .unwrap();
        let log = self.folder.path().join("networkd");
        let running = host.start(program, &[], &log);
        let answered = tokio::time::timeout(Duration::from_secs(15), self.acknowledged("systemd-networkd")).await;
        drop(running);
        let log = std::fs::read_to_string(log).unwrap();
        let cannot_run = ["Failed to connect to bus", "Could not", "Failed to"].iter().any(|text| log.contains(text));
        assert!(answered.is_ok() || cannot_run, "{log}");
        if answered.is_err() {
            eprintln!("skipped: systemd-networkd does not run alone: {}", log.lines().last().unwrap_or_default());
        }
    }
}

/// A host that drops pings is seen by ARP.
/// Waits for a host that has just been plugged in. The kernel asks for it by ARP, and what it has learned is forgotten again.
fn wait_for_host(address: &str) {
    let is_there = || {
        let ping = Command::new("busybox").args(["ping", "-c", "1", "-W", "1", address]).output().unwrap();
        let known = Command::new("ip").args(["neigh", "show", address]).output().unwrap();
        ping.status.success() || String::from_utf8_lossy(&known.stdout).contains("lladdr")
    };
    assert!((0..20).any(|_| is_there()), "no host has {address}");
    ip(&format!("neigh flush to {address}"));
}

#[tokio::test]
async fn an_address_that_another_host_uses_is_not_offered() {
    if !installed("busybox") || !inside("an_address_that_another_host_uses_is_not_offered") {
        return;
    }
    keep_log();
    let networks = vec![pool("10.77.0.0/24", [10, 77, 0, 100], [10, 77, 0, 102])];
    let mut lan = Lan::start(networks, Mode::Off, Vec::new()).await;
    let squatter = lan.host().await;
    squatter.run("ip", &["addr", "add", "10.77.0.100/24", "dev", "peer0"]).await;
    let silent = lan.host().await;
    silent.run("ip", &["addr", "add", "10.77.0.101/24", "dev", "peer0"]).await;
    silent.run("sysctl", &["-q", "net.ipv4.icmp_echo_ignore_all=1"]).await;
    wait_for_host("10.77.0.100");
    wait_for_host("10.77.0.101");
    let client = lan.host().await;
    let output = udhcpc(&client, lan.folder.path()).await;
    assert!(output.contains("ip=10.77.0.102"), "{output}");
    let second = lan.host().await;
    let output = udhcpc(&second, lan.folder.path()).await;
    assert!(output.contains("no lease"), "the others are in use: {output}");
    for address in ["10.77.0.100", "10.77.0.101"] {
        assert_logged(&["another host with the MAC ", &format!(" uses {address} of the pool; it is not offered for 10 minutes")]);
    }
}

/// The relay is at 10.78.0.1. Its clients have a pool and a reservation; one reservation is of another network.
#[tokio::test]
async fn a_relay_brings_the_requests_of_another_network() {
    if !installed("dhcrelay") || !installed("busybox") || !inside("a_relay_brings_the_requests_of_another_network") {
        return;
    }
    keep_log();
    let mut reserved = machine(KNOWN);
    reserved.reservation.as_mut().unwrap().address = [10, 78, 0, 9].into();
    let networks = vec![pool("10.78.0.0/24", [10, 78, 0, 100], [10, 78, 0, 110])];
    let mut lan = Lan::start(networks, Mode::Reservation, vec![reserved]).await;
    let relay = lan.host().await;
    relay.run("ip", &["addr", "add", "10.77.0.2/24", "dev", "peer0"]).await;
    ip("route add 10.78.0.0/24 via 10.77.0.2");
    ip("link add client0 type veth peer name relay0");
    relay.take("relay0").await;
    relay.run("ip", &["addr", "add", "10.78.0.1/24", "dev", "relay0"]).await;
    relay.run("sysctl", &["-q", "net.ipv4.ip_forward=1"]).await;
    let client = Namespace::new().await;
    client.take("client0").await;
    client.run("ip", &["link", "set", "client0", "name", "peer0", "up"]).await;
    let log = lan.folder.path().join("relay");
    let pid = lan.path("relay.pid");
    let relayed = ["-4", "-d", "-a", "-pf", &pid, "-id", "relay0", "-iu", "peer0", "10.77.0.1"];
    let _relay = relay.start("dhcrelay", &relayed, &log);
    let output = udhcpc(&client, lan.folder.path()).await;
    assert!(output.contains("ip=10.78.0.1"), "{output}\n{}", std::fs::read_to_string(&log).unwrap());
    assert!(output.lines().any(|line| line == "serverid=10.77.0.1"), "{output}");
    client.run("ip", &["link", "set", "peer0", "address", &KNOWN.to_string()]).await;
    let output = udhcpc(&client, lan.folder.path()).await;
    assert!(output.contains("ip=10.78.0.9"), "{output}");
}

/// The ROM has its address from another server and its script from boots.
#[tokio::test]
async fn an_ipxe_rom_boots_beside_another_dhcp_server() {
    if !installed("qemu-system-x86_64") || !inside("an_ipxe_rom_boots_beside_another_dhcp_server") {
        return;
    }
    let local = BootInterface { boot: BootState::Local { reason: "installed before".to_owned() }, ..machine(KNOWN) };
    let mut lan = Lan::start(Vec::new(), Mode::Proxy, vec![local]).await;
    ip("tuntap add tap0 mode tap");
    ip("link set tap0 master lan0 up");
    let other = lan.host().await;
    other.run("ip", &["addr", "add", "10.77.0.3/24", "dev", "peer0"]).await;
    for server in ["dnsmasq", "kea-dhcp4"] {
        if !installed(server) {
            continue;
        }
        let log = lan.folder.path().join(server);
        let _server = lan.other_server(&other, server, &log);
        // SeaBIOS and iPXE need no screen.
        let _machine = qemu("", &["-m", "64", "-boot", "n", "-machine", "graphics=off", "-serial", "null"]);
        let started = Instant::now();
        let scripted = lan.milestone(|milestone| match milestone {
            Milestone::ScriptSent { boot, .. } => Some((*boot).to_owned()),
            _ => None,
        });
        let scripted = tokio::time::timeout(Duration::from_secs(40), scripted).await;
        assert_eq!(scripted.as_deref(), Ok("local"), "{server}: {}", std::fs::read_to_string(&log).unwrap());
        eprintln!("beside {server}: script after {:?}", started.elapsed());
    }
}

impl Lan {
    fn other_server(&self, host: &Namespace, server: &str, log: &Path) -> Running {
        if server == "dnsmasq" {
            let lease = format!("--dhcp-leasefile={}", self.path("dnsmasq.leases"));
            let options = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--log-dhcp", "--log-facility=-"];
            let network = ["--interface=peer0", "--dhcp-range=10.77.0.50,10.77.0.60,1h", "--no-ping", "--user=root", &lease];
            return host.start(server, &[&options[..], &network].concat(), log);
        }
        let config = serde_json::json!({"Dhcp4": {
            "interfaces-config": {"interfaces": ["peer0"]},
            "lease-database": {"type": "memfile", "persist": false},
            "subnet4": [{"subnet": "10.77.0.0/24", "pools": [{"pool": "10.77.0.70 - 10.77.0.80"}]}],
            "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
        }});
        let path = self.path("kea.json");
        std::fs::write(&path, config.to_string()).unwrap();
        host.start(
            "env",
            &["KEA_LOCKFILE_DIR=none", &format!("KEA_PIDFILE_DIR={}", self.folder.path().display()), server, "-c", &path],
            log,
        )
    }
}

fn qemu(rom: &str, args: &[&str]) -> Running {
    let nic = format!("virtio-net-pci,netdev=lan,mac={KNOWN},bootindex=0{rom}");
    let net = ["-netdev", "tap,id=lan,ifname=tap0,script=no,downscript=no", "-device", &nic];
    let quiet = ["-display", "none", "-no-reboot", "-monitor", "none"];
    Running(Command::new("qemu-system-x86_64").args(quiet).args(net).args(args).stdin(Stdio::null()).spawn().unwrap())
}

/// UEFI firmware collects offers for four seconds, takes the address from the other server and the program from boots.
#[tokio::test]
async fn uefi_firmware_boots_beside_another_dhcp_server() {
    let firmware = "/usr/share/ovmf/OVMF.fd"; // with its variables
    let program = ["/usr/lib/ipxe/snponly.efi", "/usr/lib/ipxe/ipxe.efi"].into_iter().find(|path| Path::new(path).exists());
    let (true, Some(program)) = (Path::new(firmware).exists(), program) else {
        eprintln!("skipped: no {firmware}, or no snponly.efi in /usr/lib/ipxe");
        return;
    };
    if !installed("qemu-system-x86_64") || !installed("dnsmasq") || !inside("uefi_firmware_boots_beside_another_dhcp_server") {
        return;
    }
    keep_log();
    let mut lan = Lan::start(Vec::new(), Mode::Proxy, vec![machine(KNOWN)]).await;
    std::fs::copy(program, lan.folder.path().join("ipxe.efi")).unwrap();
    ip("tuntap add tap0 mode tap");
    ip("link set tap0 master lan0 up");
    let other = lan.host().await;
    other.run("ip", &["addr", "add", "10.77.0.3/24", "dev", "peer0"]).await;
    let log = lan.folder.path().join("dnsmasq");
    let _server = lan.other_server(&other, "dnsmasq", &log);
    let started = Instant::now();
    let _machine = qemu(",romfile=", &["-m", "256", "-bios", firmware, "-serial", "null"]);
    let mut firmware = None;
    let boot = loop {
        let (client, boot) = lan
            .milestone(|milestone| match milestone {
                Milestone::Discover { client } => Some((Some(client.clone()), None)),
                Milestone::ScriptSent { boot, .. } => Some((None, Some((*boot).to_owned()))),
                _ => None,
            })
            .await;
        firmware = firmware.or(client);
        if let Some(boot) = boot {
            break boot;
        }
    };
    assert_eq!((firmware.as_deref(), boot.as_str()), (Some("UEFI PXE firmware arch 7"), "install"));
    eprintln!("beside dnsmasq: UEFI firmware has its script after {:?}", started.elapsed());
    assert_logged(&["DHCP 02:00:00:00:00:01 (m1): OFFER without an address to UEFI PXE firmware"]);
    assert_logged(&["TFTP 10.77.0.", ": sent ipxe.efi"]);
}

/// The lease of a machine that boots knows, of one that it does not, and of none.
#[tokio::test]
async fn a_relay_asks_who_has_an_address() {
    if !inside("a_relay_asks_who_has_an_address") {
        return;
    }
    let mut reserved = machine(KNOWN);
    reserved.reservation.as_mut().unwrap().address = [10, 78, 0, 9].into();
    let networks = vec![pool("10.78.0.0/24", [10, 78, 0, 100], [10, 78, 0, 110])];
    let _lan = Lan::with(None, networks, Mode::Reservation, vec![reserved]).await;
    ip("addr add 10.78.0.1/32 dev lo");
    let address: std::net::SocketAddr = ([10, 78, 0, 1], 67).into();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let relay = tokio::net::UdpSocket::from_std(socket.into()).unwrap();
    let ask = async |mut packet: Packet| {
        packet.giaddr = [10, 78, 0, 1].into();
        relay.send_to(&packet.encode(), (SERVER, 67)).await.unwrap();
        let mut buffer = [0; 1500];
        let length = tokio::time::timeout(Duration::from_secs(20), relay.recv(&mut buffer)).await.unwrap().unwrap();
        Packet::decode(&buffer[..length]).unwrap()
    };
    let who_has = |address: [u8; 4]| {
        let mut query = Packet { htype: 0, hlen: 0, ciaddr: address.into(), ..Packet::default() };
        query.options.set_u8(code::MESSAGE_TYPE, MessageType::LeaseQuery.byte());
        query
    };
    let stranger = [2, 0, 0, 0, 0, 0x77];
    for (kind, answer) in [(MessageType::Discover, MessageType::Offer), (MessageType::Request, MessageType::Ack)] {
        let mut request = Packet::request(kind, 1, stranger);
        request.options.set_ip(code::REQUESTED_IP, [10, 78, 0, 105].into());
        if kind == MessageType::Request {
            request.options.set_ip(code::SERVER_ID, SERVER);
        }
        assert_eq!(ask(request).await.message_type(), Some(answer));
    }
    for (address, kind, mac) in [
        ([10, 78, 0, 105], MessageType::LeaseActive, Some(stranger)),
        ([10, 78, 0, 9], MessageType::LeaseActive, Some(KNOWN.bytes())),
        ([10, 78, 0, 106], MessageType::LeaseUnassigned, None),
        ([10, 79, 0, 1], MessageType::LeaseUnknown, None),
    ] {
        let reply = ask(who_has(address)).await;
        assert_eq!((reply.message_type(), reply.mac()), (Some(kind), mac), "{address:?}");
        assert_eq!(reply.lease_time().is_some(), kind == MessageType::LeaseActive);
    }
}
