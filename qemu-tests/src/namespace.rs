//! A network namespace with cables to bridges of the segment: another host.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{Daemon, effect, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

/// It ends when this is dropped.
pub struct Namespace {
    name: String,
    holder: Daemon,
}

pub fn ip(line: &str) -> Result<()> {
    effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"))
}

impl Namespace {
    /// One without a cable. Loopback is up.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        let mut sleep = Command::new("unshare");
        sleep.args(["--net", "sleep", "infinity"]);
        let holder = Daemon::start(&mut sleep, &folder.join(format!("{name}.log")))?;
        let namespace = Self { name: name.to_owned(), holder };
        let own = std::fs::read_link("/proc/self/ns/net").context("cannot read this namespace")?;
        wait_for("the namespace of a host", LIMIT, || {
            Ok(std::fs::read_link(namespace.path()).is_ok_and(|other| other != own).then_some(()))
        })?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// The bridge's end of a card's cable.
    pub fn port(&self, card: &str) -> String {
        format!("{}-{card}", self.name)
    }

    /// A card with its cable in a bridge.
    pub fn plug(&self, card: &str, bridge: &str) -> Result<()> {
        let port = self.port(card);
        ip(&format!("link add {port} type veth peer name {card} netns {}", self.holder.id()))?;
        ip(&format!("link set {port} master {bridge} up"))?;
        self.ip(&format!("link set {card} up"))
    }

    /// A program that will run there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    pub fn ip(&self, line: &str) -> Result<()> {
        effect(self.command("ip").args(line.split(' '))).with_context(|| format!("ip {line}, in the namespace {}", self.name))
    }
}
