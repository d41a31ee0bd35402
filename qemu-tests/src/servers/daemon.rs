//! A network with one DHCP server, in a separate network namespace, because servers claim port 67 of every address.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::rows::{Manner, Server};
use crate::command::{Daemon, effect, wait_for};

/// An address that every server's host has in addition. It stands for the workflow server.
pub const EVERYWHERE: &str = "10.79.0.1";
/// The server's end of the cable.
const LAN: &str = "lan";
const LEASE_SECONDS: u32 = 3600;

pub struct Lan {
    bridge: String,
    network: String,
    daemon: Daemon,
}

impl Lan {
    pub fn start(machine: u8, stop: u8, server: &Server, mac: &str, folder: &Path) -> Result<Self> {
        let network = format!("10.{}.{stop}", 80 + machine);
        let (bridge, cable) = (format!("lan{machine}-{stop}"), format!("cab{machine}-{stop}"));
        let place = folder.join(&bridge);
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        ip(&format!("link add {bridge} type bridge stp_state 0 forward_delay 0"))?;
        ip(&format!("link set {bridge} up"))?;
        let words = words(server, &network, mac, &place)?;
        let ready = place.join("ready");
        let script = format!(
            "touch {}; until ip link show {LAN} >/dev/null 2>&1; do sleep 0.02; done; ip link set lo up; \
             ip address add {EVERYWHERE}/32 dev lo; ip address add {network}.1/24 dev {LAN}; ip link set {LAN} up; exec \"$@\"",
            ready.display()
        );
        let mut inside = Command::new("unshare");
        inside.args(["--net", "sh", "-c", &script, "sh"]).args(&words);
        // The folder for Kea's lock and process id.
        inside.envs([("KEA_LOCKFILE_DIR", &place), ("KEA_PIDFILE_DIR", &place)]);
        let mut daemon = Daemon::start(&mut inside, &place.join("server.log"))?;
        wait_for("the server's namespace", Duration::from_secs(20), || {
            daemon.check()?;
            Ok(ready.exists().then_some(()))
        })?;
        ip(&format!("link add {cable} type veth peer name {LAN} netns {}", daemon.id()))?;
        ip(&format!("link set {cable} master {bridge} up"))?;
        Ok(Self { bridge, network, daemon })
    }

    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The only address that the server can give.
    pub fn address(&self) -> String {
        format!("{}.50", self.network)
    }

    pub fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }
}

fn ip(line: &str) -> Result<()> {
    effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"))
}

/// The command that serves `network`. Its configuration goes into `place`.
fn words(server: &Server, network: &str, mac: &str, place: &Path) -> Result<Vec<String>> {
    let file = |name: &str, text: String| -> Result<String> {
        let path = place.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    };
    let text = match server {
        Server::Dnsmasq(manner) => {
            let authoritative = if *manner == Manner::Authoritative { "--dhcp-authoritative" } else { "--log-dhcp" };
            format!(
                "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --no-ping --port=0 \
                 --log-facility=- --bind-interfaces --interface={LAN} --pid-file= --dhcp-leasefile={} {authoritative} \
                 --dhcp-range={network}.50,{network}.50,{LEASE_SECONDS}",
                place.join("leases").display()
            )
        }
        Server::Kea(manner) => {
            format!("kea-dhcp4 -c {}", file("kea.json", kea(network, *manner))?)
        }
        Server::Dhcpd(manner) => {
            let leases = file("leases", String::new())?;
            let conf = file("dhcpd.conf", dhcpd(network, *manner))?;
            format!("dhcpd -4 -f -d -cf {conf} -lf {leases} -pf {} {LAN}", place.join("pid").display())
        }
        Server::Udhcpd => {
            let leases = file("leases", String::new())?;
            format!("udhcpd -f {}", file("udhcpd.conf", udhcpd(network, &leases, place))?)
        }
        Server::Faulty(fault) => {
            let lab = std::env::current_exe().context("cannot find the lab's own program")?;
            return Ok([&lab.display().to_string(), "dhcp-server", network, mac, fault.name].map(str::to_owned).to_vec());
        }
    };
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn kea(network: &str, manner: Manner) -> String {
    let router = json!({"name": "routers", "data": format!("{network}.1")});
    let subnet = json!({
        "subnet": format!("{network}.0/24"),
        "pools": [{"pool": format!("{network}.50 - {network}.50")}],
        "option-data": [router, {"name": "domain-search", "data": "lab.example, corp.example"}],
    });
    let log = json!({"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"});
    let server = json!({
        "interfaces-config": {"interfaces": [LAN]},
        "lease-database": {"type": "memfile", "persist": false},
        "valid-lifetime": LEASE_SECONDS,
        "authoritative": manner == Manner::Authoritative,
        "subnet4": [subnet],
        "loggers": [log],
    });
    json!({"Dhcp4": server}).to_string()
}

fn dhcpd(network: &str, manner: Manner) -> String {
    let not = if manner == Manner::Authoritative { "" } else { "not " };
    format!(
        "{not}authoritative;\ndefault-lease-time {LEASE_SECONDS};\nsubnet {network}.0 netmask 255.255.255.0 {{\n  \
         range {network}.50 {network}.50;\n  option routers {network}.1;\n  option domain-name \"lab.example\";\n}}\n"
    )
}

fn udhcpd(network: &str, leases: &str, place: &Path) -> String {
    format!(
        "interface {LAN}\nstart {network}.50\nend {network}.50\nmax_leases 1\nlease_file {leases}\npidfile {}\n\
         option subnet 255.255.255.0\noption router {network}.1\noption lease {LEASE_SECONDS}\noption domain lab.example\n",
        place.join("pid").display()
    )
}
