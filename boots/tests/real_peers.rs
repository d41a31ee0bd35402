//! Real clients in a network namespace of their own: busybox's DHCP client and QEMU's iPXE ROM.
//!
//! Each test runs itself again inside `unshare --net`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boots::{BootInterface, BootState, Config, Events, Listen, Milestone, Sockets};
use support::namespace::{Namespace, inside, installed, ip, run, show_environment};
use support::{Fixed, KNOWN, STRANGER, machine};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

/// boots on the interface `lan0`, with the machine KNOWN in the given state.
struct Segment {
    folder: tempfile::TempDir,
    events: Receiver<boots::Event>,
    shutdown: CancellationToken,
}

impl Segment {
    /// `lan0` and `peer0` are two ends of a cable.
    async fn cable() -> Self {
        ip("link add lan0 type veth peer name peer0");
        ip(&format!("link set peer0 address {KNOWN} up"));
        Self::on_lan0(BootState::Install { workflow: None }, false).await
    }

    async fn on_lan0(boot: BootState, router_advertisements: bool) -> Self {
        ip("link set lo up");
        ip(&format!("addr add {SERVER}/24 dev lan0"));
        ip("link set lan0 up");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let config =
            Config { interface: Some("lan0".to_owned()), router_advertisements, ..Config::new(SERVER, path.clone(), path) };
        let mut machine = BootInterface { boot, ..machine(KNOWN) };
        machine.reservation.as_mut().unwrap().address = CLIENT;
        let mut sockets = Sockets::bind(&config, Listen::default()).await.unwrap();
        sockets.http = Some(tokio::net::TcpListener::bind((SERVER, config.http_port)).await.unwrap());
        let (all_events, shutdown) = (Events::new(), CancellationToken::new());
        let events = all_events.subscribe();
        tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(Fixed(vec![machine])), all_events, shutdown.clone()));
        Self { folder, events, shutdown }
    }

    async fn event<T>(&mut self, mut wanted: impl FnMut(&Milestone) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if let Some(found) = wanted(&event.milestone) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(80), wait).await.expect("no such event in time")
    }
}

#[tokio::test]
async fn udhcpc_gets_its_lease() {
    if !installed("busybox") || !inside("udhcpc_gets_its_lease") {
        return;
    }
    let mut segment = Segment::cable().await;
    let script = show_environment(segment.folder.path());
    let output = run(
        "busybox",
        &["udhcpc", "-i", "peer0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-O", "search", "-O", "staticroutes", "-s", &script],
    )
    .await;
    for line in [
        "ip=10.77.0.9",
        "mask=24",
        "router=10.0.0.254",
        "dns=10.0.0.53",
        "hostname=m1",
        "lease=7200",
        "serverid=10.77.0.1",
        "search=example.org",
        "staticroutes=10.9.0.0/16 10.0.0.2 0.0.0.0/0 10.0.0.254",
    ] {
        assert!(output.lines().any(|found| found == line), "{line} in\n{output}");
    }
    segment
        .event(|milestone| matches!(milestone, Milestone::Acknowledged { address, .. } if *address == CLIENT).then_some(()))
        .await;
    ip(&format!("link set peer0 address {STRANGER}"));
    let output = run("busybox", &["udhcpc", "-i", "peer0", "-n", "-q", "-f", "-t", "2", "-T", "1", "-s", &script]).await;
    assert!(output.contains("no lease"), "{output}");
    segment.event(|milestone| (*milestone == Milestone::Unknown).then_some(())).await;
    segment.shutdown.cancel();
}

/// At 10.77.0.9. It has an end of the cable of its own, so packets do not take the loopback interface.
async fn peer() -> Namespace {
    let peer = Namespace::new().await;
    peer.take("peer0").await;
    peer.run("ip", &["addr", "add", "10.77.0.9/24", "dev", "peer0"]).await;
    peer
}

/// A counter of IPv4 in this namespace.
fn counted(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Ip: ")).map(|line| line.split(' '));
    let mut pairs = lines.next().unwrap().zip(lines.next().unwrap());
    pairs.find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
}

/// Firmware and tftp-hpa drop data from another address than the one they asked. What they drop looks like a firewall.
#[tokio::test]
async fn each_address_of_the_host_answers_by_tftp_in_whole_packets() {
    if ["tftp", "curl", "nsenter"].iter().any(|command| !installed(command))
        || !inside("each_address_of_the_host_answers_by_tftp_in_whole_packets")
    {
        return;
    }
    let segment = Segment::cable().await;
    ip("addr add 10.77.0.2/24 dev lan0");
    ip("link set lan0 mtu 1450");
    let peer = peer().await;
    let (content, target) = (support::pattern(300_000), segment.folder.path().join("got"));
    std::fs::write(segment.folder.path().join("ipxe.efi"), &content).unwrap();
    let to = target.to_str().unwrap();
    for address in ["10.77.0.1", "10.77.0.2"] {
        let url = format!("tftp://{address}/ipxe.efi");
        for (program, args) in [
            ("tftp", &[address, "-m", "binary", "-c", "get", "ipxe.efi", to][..]),
            ("curl", &["--silent", "--show-error", "--tftp-blksize", "1468", "--output", to, &url]),
        ] {
            let _ = std::fs::remove_file(&target);
            let output = peer.run(program, args).await;
            assert!(std::fs::read(&target).is_ok_and(|got| got == content), "{program} from {address}: {output}");
        }
        let missing = peer.run("tftp", &[address, "-m", "binary", "-c", "get", "nothing", to]).await;
        assert!(missing.contains("does not exist"), "an error from {address}: {missing}");
    }
    assert_eq!(counted("FragCreates"), 0, "packets that left in fragments");
    segment.shutdown.cancel();
}

/// A virtual machine's bridge or a driver that is loaded again: the interface has its old name and another index.
#[tokio::test]
async fn an_interface_that_is_made_again_is_served_again() {
    if !installed("busybox") || !inside("an_interface_that_is_made_again_is_served_again") {
        return;
    }
    let segment = Segment::cable().await;
    std::fs::write(segment.folder.path().join("ipxe.efi"), support::pattern(70_000)).unwrap();
    let script = show_environment(segment.folder.path());
    ip("link del lan0");
    ip("link add lan0 type veth peer name peer0");
    ip(&format!("link set peer0 address {KNOWN} up"));
    ip(&format!("addr add {SERVER}/24 dev lan0"));
    ip("link set lan0 up");
    let output = run("busybox", &["udhcpc", "-i", "peer0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", &script]).await;
    assert!(output.contains("ip=10.77.0.9"), "{output}");
    let (peer, target) = (peer().await, segment.folder.path().join("got"));
    let to = target.to_str().unwrap();
    let output = peer.run("busybox", &["tftp", "-g", "-r", "ipxe.efi", "-l", to, "10.77.0.1"]).await;
    assert!(std::fs::read(&target).is_ok_and(|got| got.len() == 70_000), "{output}");
    segment.shutdown.cancel();
}

/// The ROM gets its script at once, which sends it to the disk. With router advertisements it does not
/// wait 16 seconds for IPv6 first.
#[tokio::test]
async fn an_ipxe_rom_follows_its_script() {
    if !installed("qemu-system-x86_64") || !inside("an_ipxe_rom_follows_its_script") {
        return;
    }
    ip("tuntap add lan0 mode tap");
    let mut segment = Segment::on_lan0(BootState::Local { reason: "installed before".to_owned() }, true).await;
    let started = Instant::now();
    let log = segment.folder.path().join("serial");
    let nic = format!("virtio-net-pci,netdev=lan,mac={KNOWN}");
    let serial = format!("file:{}", log.display());
    let args = ["-m", "64", "-display", "none", "-no-reboot", "-boot", "n", "-monitor", "none", "-serial", &serial];
    let net = ["-netdev", "tap,id=lan,ifname=lan0,script=no,downscript=no", "-device", &nic];
    let firmware = ["-machine", "graphics=off"]; // SeaBIOS and iPXE speak on the serial line
    let mut machine =
        Command::new("qemu-system-x86_64").args(args).args(net).args(firmware).stdin(Stdio::null()).spawn().unwrap();
    let (mut discovered, mut scripted) = (None, None);
    while scripted.is_none() {
        let at = started.elapsed();
        let seen = segment.event(|milestone| match milestone {
            Milestone::Discover { client } => Some(client.clone()),
            Milestone::ScriptSent { boot, .. } => Some((*boot).to_owned()),
            _ => None,
        });
        match seen.await.as_str() {
            "local" => scripted = Some(started.elapsed()),
            client => {
                assert!(client.starts_with("iPXE arch"), "{client}");
                discovered = discovered.or(Some(at.max(started.elapsed())));
            }
        }
    }
    let (discovered, scripted) = (discovered.unwrap(), scripted.unwrap());
    eprintln!("iPXE: DISCOVER after {discovered:?}, script after {scripted:?}");
    let output = wait_for(&log, "booting from the local disk: installed before").await;
    let left = output && wait_for(&log, "Booting from Hard Disk...").await;
    machine.kill().unwrap();
    machine.wait().unwrap();
    assert!(left, "{}", without_escapes(&String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default())));
    assert!(scripted - discovered < Duration::from_secs(12), "it waited for IPv6");
    segment.shutdown.cancel();
}

/// Waits for `text` on the serial line, which comes between cursor movements.
async fn wait_for(log: &Path, text: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let serial = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
        if without_escapes(&serial).contains(text) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

fn without_escapes(serial: &str) -> String {
    let mut pieces = serial.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| piece.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, text)| text));
    rest.fold(first, |text, piece| text + piece)
}
