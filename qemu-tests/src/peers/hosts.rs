//! Other hosts of the segment: network namespaces with a cable to the bridge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::rows::Server;
use crate::command::{Daemon, wait_for};
use crate::namespace::Namespace;
use crate::segment::{BRIDGE, HOST};

/// Where the other DHCP server is.
pub const OTHER: &str = "10.77.0.3";
/// The card of each host.
pub const CARD: &str = "lan";
const LIMIT: Duration = Duration::from_secs(20);

pub struct Host {
    name: String,
    folder: PathBuf,
    namespace: Namespace,
    running: Vec<Daemon>,
}

impl Host {
    /// A host without an address, if that is empty.
    pub fn start(folder: &Path, name: &str, address: &str) -> Result<Self> {
        let namespace = Namespace::start(folder, name)?;
        let host = Self { name: name.to_owned(), folder: folder.to_owned(), namespace, running: Vec::new() };
        host.plug(CARD, BRIDGE)?;
        if !address.is_empty() {
            host.run("ip", &format!("address add {address}/24 dev {CARD}"))?;
        }
        Ok(host)
    }

    /// A card with its cable in a bridge.
    pub fn plug(&self, card: &str, bridge: &str) -> Result<()> {
        self.namespace.plug(card, bridge)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command("timeout");
        command.args(["60", program]);
        command.env("KEA_LOCKFILE_DIR", &self.folder).env("KEA_PIDFILE_DIR", &self.folder);
        command
    }

    /// Runs a program there, and returns what it printed on both outputs, whatever its exit code.
    pub fn run(&self, program: &str, words: &str) -> Result<String> {
        let output =
            self.command(program).args(words.split_whitespace()).output().with_context(|| format!("cannot start {program}"))?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts a program there, which ends with the host.
    pub fn start_program(&mut self, program: &str, words: &str) -> Result<()> {
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let log = self.folder.join(format!("{}-{name}.log", self.name));
        let daemon = Daemon::start(self.command(program).args(words.split_whitespace()), &log)?;
        self.running.push(daemon);
        Ok(())
    }

    /// The same host with a DHCP server that knows nothing of boots, except that it may name this host as the next server.
    pub fn serving(mut self, server: Server, names_boots: bool) -> Result<Self> {
        let (first, last) = server.range().into_inner();
        let folder = self.folder.display().to_string();
        match server {
            Server::Dnsmasq => {
                let range = format!("--dhcp-range=10.77.0.{first},10.77.0.{last},1h --dhcp-leasefile={folder}/dnsmasq.leases");
                let fixed = "--keep-in-foreground --conf-file=/dev/null --port=0 --user=root --no-ping --pid-file= --log-dhcp \
                             --log-facility=-";
                let next = if names_boots { format!("--dhcp-boot=,,{HOST}") } else { String::new() };
                self.start_program("dnsmasq", &format!("{fixed} --interface={CARD} {range} {next}"))?;
            }
            Server::Kea => {
                let config = json!({"Dhcp4": {
                    "interfaces-config": {"interfaces": [CARD]},
                    "lease-database": {"type": "memfile", "persist": false},
                    "next-server": if names_boots { HOST.to_string() } else { "0.0.0.0".to_owned() },
                    "subnet4": [{"subnet": "10.77.0.0/24", "pools": [{"pool": format!("10.77.0.{first} - 10.77.0.{last}")}]}],
                    "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
                }});
                let path = self.folder.join("kea.json");
                std::fs::write(&path, config.to_string()).context("cannot write Kea's configuration")?;
                self.start_program("kea-dhcp4", &format!("-c {}", path.display()))?;
            }
        }
        let sockets = || self.run("ss", "-lnu").map(|listed| (listed.contains(":67")).then_some(()));
        wait_for("the other DHCP server", LIMIT, sockets)?;
        Ok(self)
    }
}
