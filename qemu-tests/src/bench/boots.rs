//! `cargo lab bench boots`: boots beside nginx, atftpd and Kea from Debian, in one run.
//!
//! The server has one core and the load another. boots and its peer take turns, so that other work on the host slows both.
//! Their traffic stays between two namespaces. Processor time is what the kernel counts for the server's process.

mod dhcp;
mod http;
mod server;
mod tftp;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};

use super::median;
use crate::board::Board;
use crate::cargo;
use crate::command::{self, effect, output};
use crate::prepare::{self, Purpose};
use crate::segment;
use crate::setup::workspace;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const LIMIT: Duration = Duration::from_secs(120);

pub fn outside(runs: usize) -> Result<ExitCode> {
    let (root, board) = (workspace()?, Board::new("== "));
    let lab = root.join("target/lab");
    std::fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    board.during(|| board.job("Debian packages", |job| prepare::run(&[Purpose::Peers], &lab, job)))?;
    cargo::run(&root, &["build", "--release", "--package", "boots", "--examples"], &[])?;
    let words = ["--", "bench", "boots", "--inside", "--runs", &runs.to_string()];
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn inside(runs: usize) -> Result<()> {
    segment::bring_up()?;
    let bench = Bench::start(&workspace()?.join("target"))?;
    let mut table = Table::default();
    for run in 1..=runs {
        println!("== run {run} of {runs}");
        http::measure(&bench, &mut table)?;
        tftp::measure(&bench, &mut table)?;
        for machines in [10_000, 100_000] {
            dhcp::measure(&bench, machines, &mut table)?;
        }
    }
    table.print(runs);
    Ok(())
}

/// The folder that is served, and the namespace of the clients.
struct Bench {
    programs: PathBuf,
    folder: PathBuf,
    clients: Child,
}

impl Bench {
    fn start(target: &Path) -> Result<Self> {
        let folder = target.join("lab/bench-boots");
        let served = folder.join("served");
        std::fs::create_dir_all(&served).with_context(|| format!("cannot make {}", served.display()))?;
        for (name, bytes) in [("large", 100_000_000), ("nbp", 64_000_000), ("small", 1024)] {
            std::fs::write(served.join(name), vec![7; bytes]).with_context(|| format!("cannot write {name}"))?;
        }
        let clients = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().context("cannot start unshare")?;
        let bench = Self { programs: target.join("release/examples"), folder, clients };
        let own = std::fs::read_link("/proc/self/ns/net").context("cannot read this namespace")?;
        command::wait_for("the namespace of the clients", LIMIT, || {
            Ok(std::fs::read_link(bench.namespace()).is_ok_and(|namespace| namespace != own).then_some(()))
        })?;
        let ip = |line: &str| effect(Command::new("ip").args(line.split(' '))).with_context(|| format!("ip {line}"));
        ip("link add bench0 type veth peer name clients0")?;
        ip(&format!("link set clients0 netns {}", bench.clients.id()))?;
        ip(&format!("addr add {SERVER}/8 dev bench0"))?;
        ip("link set bench0 up")?;
        for line in ["addr add 10.0.0.2/8 dev clients0", "link set clients0 up", "link set lo up"] {
            bench.client("ip", line)?;
        }
        Ok(bench)
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.clients.id())
    }

    fn served(&self) -> PathBuf {
        self.folder.join("served")
    }

    /// Runs a program at the clients' end, and returns what it printed. Some report a loss by their exit code.
    fn client(&self, program: &str, words: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={}", self.namespace()), "taskset", "--cpu-list", "1", program]);
        output(command.args(words.split(' ')))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _already_gone = self.clients.kill();
        let _reaped = self.clients.wait();
    }
}

/// What issue and README promise of a row: our figure divided by the peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    AtLeast(f64),
    AtMost(f64),
    /// A figure without a promise.
    None,
}

impl Promise {
    fn is_kept(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::None => true,
        }
    }
}

struct Row {
    name: String,
    promise: Promise,
    ours: Vec<f64>,
    peer: Vec<f64>,
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, name: &str, promise: Promise, is_ours: bool, value: f64) {
        if !self.0.iter().any(|row| row.name == name) {
            self.0.push(Row { name: name.to_owned(), promise, ours: Vec::new(), peer: Vec::new() });
        }
        let Some(row) = self.0.iter_mut().find(|row| row.name == name) else { return };
        if is_ours { row.ours.push(value) } else { row.peer.push(value) }
    }

    fn print(&self, runs: usize) {
        println!("\n{:<48}{:>12}{:>12}{:>8}  wanted   median of {runs}", "", "boots", "peer", "ratio");
        for Row { name, promise, ours, peer } in &self.0 {
            let (ours, peer) = (median(ours).unwrap_or(f64::NAN), median(peer).unwrap_or(f64::NAN));
            let ratio = ours / peer;
            let wanted = match promise {
                Promise::AtLeast(least) => format!("≥ {least}"),
                Promise::AtMost(most) => format!("≤ {most}"),
                Promise::None => String::new(),
            };
            let verdict = if promise.is_kept(ratio) { "" } else { " MISSED" };
            println!("{name:<48}{ours:>12.3}{peer:>12.3}{ratio:>8.2}  {wanted}{verdict}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_about_the_ratio() {
        for (promise, ratio, is_kept) in [
            (Promise::AtLeast(1.5), 1.5, true),
            (Promise::AtLeast(1.5), 1.4, false),
            (Promise::AtMost(1.0), 0.9, true),
            (Promise::AtMost(1.0), 1.1, false),
            (Promise::AtMost(1.0), f64::NAN, false),
            (Promise::None, 0.1, true),
        ] {
            assert_eq!(promise.is_kept(ratio), is_kept, "{promise:?} {ratio}");
        }
    }
}
