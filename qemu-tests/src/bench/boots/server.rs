//! One server of a comparison, on its core, with what the kernel counts of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::LIMIT;
use crate::command::{Daemon, wait_for};

pub(super) struct Server {
    daemon: Daemon,
}

/// Processor time, and what it was for.
pub(super) struct Spent {
    before: f64,
}

impl Server {
    /// Starts it, and waits until it has this port of UDP or TCP.
    pub fn start(command: &[&str], environment: &[(&str, &str)], port: u16, log: &Path) -> Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", "0"]).args(command).envs(environment.iter().copied());
        let mut server = Self { daemon: Daemon::start(&mut pinned, log)? };
        let wanted = format!(":{port:04X} ");
        let what = format!("{} to open port {port}", command.first().unwrap_or(&""));
        wait_for(&what, LIMIT, || {
            server.daemon.check()?;
            let tables =
                ["udp", "tcp"].map(|table| std::fs::read_to_string(format!("/proc/self/net/{table}")).unwrap_or_default());
            let is_open = tables
                .iter()
                .flat_map(|table| table.lines())
                .any(|line| line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&wanted)));
            Ok(is_open.then_some(()))
        })?;
        Ok(server)
    }

    pub fn begin(&self) -> Result<Spent> {
        Ok(Spent { before: self.cpu_seconds()? })
    }

    /// Seconds of processor time since then.
    pub fn spent(&self, since: &Spent) -> Result<f64> {
        Ok(self.cpu_seconds()? - since.before)
    }

    /// Peak of its resident memory, in MiB.
    pub fn peak_mib(&self) -> Result<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kilobytes: f64 = line.trim_end_matches("kB").trim().parse().context("VmHWM")?;
        Ok(kilobytes / 1024.0)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        let ticks: f64 = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0) // USER_HZ
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.daemon.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}
