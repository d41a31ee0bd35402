//! `thimble boots doctor` and the watch for other DHCP servers, with dnsmasq as the other server, in namespaces of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::StepKind;
use boots::doctor::{self, Level, Question};
use boots::{Config, Events, Listen, LogSink, Milestone, Sockets};
use support::namespace::{Namespace, Running, inside, installed, ip};
use support::{Fixed, KNOWN, Kept, machine};
use tokio_util::sync::CancellationToken;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the peer, whose dnsmasq is the other server.
const OTHER: &str = "10.77.0.9";

fn cable() {
    ip("link set lo up");
    ip("link add lan0 type veth peer name peer0");
    ip(&format!("addr add {SERVER}/24 dev lan0"));
    ip("link set lan0 up");
}

fn question() -> Question {
    Question {
        address: Some(SERVER),
        interface: Some("lan0".to_owned()),
        has_dhcp6: false,
        is_proxy: false,
        http: 7080,
        grpc: 42113,
        api: 6443,
        metadata: vec![([0, 0, 0, 0], 50061).into()],
        files: vec!["/nonexistent/vmlinuz".into()],
        nbp: "/nonexistent".into(),
    }
}

/// The other host, with its end of the cable.
async fn other_host() -> Namespace {
    let other = Namespace::new().await;
    other.take("peer0").await;
    other.run("ip", &["addr", "add", &format!("{OTHER}/24"), "dev", "peer0"]).await;
    other
}

/// dnsmasq on another host or on this one, until it is dropped.
async fn dnsmasq(folder: &Path, host: Option<&Namespace>, more: &[&str]) -> Running {
    let (leases, pid, log) = (folder.join("leases"), folder.join("pid"), folder.join("log"));
    let _ = std::fs::remove_file(&leases);
    let own = [format!("--dhcp-leasefile={}", leases.display()), format!("--pid-file={}", pid.display())];
    let fixed = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--no-ping",
        "--log-facility=-",
        "--log-dhcp",
    ];
    let args: Vec<&str> = fixed.into_iter().chain(own.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    let running = match host {
        Some(host) => host.start("dnsmasq", &args, &log),
        None => {
            let log = std::fs::File::create(&log).unwrap();
            Running(Command::new("dnsmasq").args(args).stdin(Stdio::null()).stderr(log).spawn().unwrap())
        }
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !pid.exists() {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::remove_file(pid).unwrap();
    running
}

async fn found(check: &str, words: &[&str]) {
    let question = question();
    let all = doctor::check(&question, &doctor::examine(&question).await);
    let has = |one: &doctor::Finding| {
        one.check == check && one.level >= Level::Warning && words.iter().all(|word| one.found.contains(word))
    };
    assert!(all.iter().any(has), "{check} {words:?} in {all:#?}");
}

#[tokio::test]
async fn other_servers_on_the_wire_are_found_and_keep_no_lease_for_it() {
    let name = "other_servers_on_the_wire_are_found_and_keep_no_lease_for_it";
    if ["dnsmasq", "nsenter"].iter().any(|command| !installed(command)) || !inside(name) {
        return;
    }
    cable();
    let (host, folder) = (other_host().await, tempfile::tempdir().unwrap());
    let range = "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0";
    for (more, check, words) in [
        (&[range][..], "dhcp", &["DHCP server 10.77.0.9 on lan0 offers 10.77.0."][..]),
        (&[range, "--dhcp-boot=evil.efi"], "pxe", &["DHCP server 10.77.0.9 on lan0", "boot file evil.efi of 10.77.0.9"]),
        (
            &["--dhcp-range=10.77.0.0,proxy,255.255.255.0", "--pxe-service=x86-64_EFI,boot,evil"],
            "pxe",
            &["PXE server 10.77.0.9 on lan0"],
        ),
    ] {
        let other = dnsmasq(folder.path(), Some(&host), more).await;
        let began = Instant::now();
        found(check, words).await;
        assert!(began.elapsed() < Duration::from_secs(8), "bounded: {:?}", began.elapsed());
        let leases = std::fs::read_to_string(folder.path().join("leases")).unwrap_or_default();
        assert!(
            !leases.contains("10.77.0.") && !std::fs::read_to_string(folder.path().join("log")).unwrap().contains("DHCPREQUEST")
        );
        drop(other);
    }
}

#[tokio::test]
async fn what_this_host_lacks_and_has_too_much_is_found() {
    if !installed("dnsmasq") || !inside("what_this_host_lacks_and_has_too_much_is_found") {
        return;
    }
    cable();
    ip("link set peer0 up");
    let folder = tempfile::tempdir().unwrap();
    found("files", &["/nonexistent/vmlinuz"]).await;
    found("programs", &["undionly.kpxe"]).await;
    let range = "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0";
    let beside = dnsmasq(folder.path(), None, &[range, "--enable-tftp", "--tftp-root=/tmp", "--interface=lan0"]).await;
    found("ports", &["dnsmasq (process", "UDP port 67", "DHCP server"]).await;
    found("ports", &["dnsmasq (process", "UDP port 69"]).await;
    let names: Vec<(String, u16)> = doctor::other_servers().into_iter().map(|one| (one.program, one.port)).collect();
    assert!(names.contains(&("dnsmasq".to_owned(), 67)), "{names:?}");
    drop(beside);
    // The files of /sys are those of the namespace in which it was mounted.
    assert!(Command::new("mount").args(["-t", "sysfs", "none", "/sys"]).status().unwrap().success());
    ip("link set lan0 mtu 9000");
    found("mtu", &["9000 bytes"]).await;
    if installed("iptables")
        && Command::new("iptables").args("-A INPUT -p udp --dport 69 -j DROP".split(' ')).status().unwrap().success()
    {
        found("firewall", &["closes UDP port 69"]).await;
    } else {
        eprintln!("skipped: this kernel has no iptables");
    }
    ip("addr del 10.77.0.1/24 dev lan0");
    found("address", &["no interface of this host has 10.77.0.1"]).await;
}

/// Which server is first is the client's choice. Both show up.
#[tokio::test]
async fn the_answers_of_another_server_to_a_known_machine_are_noticed() {
    let name = "the_answers_of_another_server_to_a_known_machine_are_noticed";
    if ["dnsmasq", "nsenter", "busybox"].iter().any(|command| !installed(command)) || !inside(name) {
        return;
    }
    ip("link set lo up");
    ip("link add lan0 type bridge");
    ip("link add peer0 type veth peer name port0");
    ip("link add client0 type veth peer name port1");
    ip(&format!("link set client0 address {KNOWN} up"));
    for port in ["port0", "port1"] {
        ip(&format!("link set {port} master lan0"));
        ip(&format!("link set {port} up"));
    }
    ip(&format!("addr add {SERVER}/24 dev lan0"));
    ip("link set lan0 up");
    let (host, folder) = (other_host().await, tempfile::tempdir().unwrap());
    let path = folder.path().to_owned();
    let config = Config { interface: Some("lan0".to_owned()), ..Config::new(SERVER, path.clone(), path) };
    let sockets = Sockets::bind(&config, Listen::default()).await.unwrap();
    let (steps, shutdown) = (Arc::new(Kept::default()), CancellationToken::new());
    let events = Events::new().with_sink(Arc::clone(&steps) as Arc<dyn LogSink>);
    let mut seen = events.subscribe();
    tokio::spawn(boots::run(sockets, Arc::new(config), Arc::new(Fixed(vec![machine(KNOWN)])), events, shutdown.clone()));
    let range = "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0";
    let _other = dnsmasq(folder.path(), Some(&host), &[range, "--dhcp-broadcast"]).await;
    let client = ["20", "busybox", "udhcpc", "-i", "client0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-B", "-s", "/bin/true"];
    let mut client = Command::new("timeout").args(client).stdin(Stdio::null()).spawn().unwrap();
    let step = steps.until(KNOWN, StepKind::ForeignAnswer).await;
    let other: IpAddr = OTHER.parse().unwrap();
    assert_eq!(step.server, Some(other));
    let shown = step.to_string();
    assert!(shown.starts_with("DHCP: heard on lan0 -> OFFER 10.77.0.5"), "{shown}");
    let event = async {
        loop {
            let event = seen.recv().await.unwrap();
            if let Milestone::OtherServer { server, .. } = event.milestone {
                return (event.mac, server);
            }
        }
    };
    assert_eq!(tokio::time::timeout(support::LIMIT, event).await.unwrap(), (Some(KNOWN), other));
    client.wait().unwrap();
    shutdown.cancel();
}
