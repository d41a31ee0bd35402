//! Runs workflow actions as OCI containers, one at a time: ask, report RUNNING, execute, report until accepted.
//!
//! The same program plays two roles. `run` is the agent itself. `container` is hidden: a single-threaded child
//! that owns one container, because libcontainer clones, and cloning out of a threaded process is not safe.

mod action;
mod attributes;
mod backoff;
mod bundle;
mod container;
mod docker_socket;
mod execute;
pub mod exit;
mod heartbeat;
mod image;
mod journal;
mod leftovers;
mod memory;
mod outcome;
mod policy;
mod power;
mod report;
mod role;
mod rootfs;
mod settings;
mod sink;
mod sys;
mod tls;
mod worker;

pub use heartbeat::FILE as HEARTBEAT;
pub use report::chain;
/// How syslog lines look, for PID 1, which sends what is not the agent's.
pub mod syslog {
    pub use crate::sink::rfc5424::{FACILITY_LOCAL0 as FACILITY, Message, render};
}

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use execute::{Folders, Runner};
use image::{Client, Puller, retry::Patience, store::Store};
use journal::Journal;
use role::Role;
use settings::Settings;
use worker::{Connection, Worker};

const STATE: &str = "/run/thimble";
const WORKER: &str = "/worker";
/// One unpacks, one resolves names, one waits for a cgroup to empty.
const BLOCKING_THREADS: usize = 4;

/// The agent's `main`; `args` come without the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    match role::choose(&args) {
        Ok(Role::Run(flags)) => ExitCode::from(run(&flags)),
        Ok(Role::Container { bundle, id }) => container::child::main(&bundle, &id),
        Ok(Role::Version) => {
            println!("thimble agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Err(unknown) => {
            complain(&unknown);
            ExitCode::from(exit::USAGE)
        }
    }
}

/// Before there is a log. In one piece, because stderr may be the kernel log, where each write is a record of its own.
fn complain(what: &dyn std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("thimble: agent: {what}\n").as_bytes());
}

fn run(flags: &[OsString]) -> u8 {
    let settings = match Settings::read(flags, |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            complain(&mistakes);
            return exit::USAGE;
        }
    };
    sys::be_frugal_with_memory();
    let _ = std::fs::write("/proc/self/oom_score_adj", "-500"); // only root may; when memory runs out the action goes first
    sink::install(&settings);
    match serve(&settings) {
        Ok(code) => code,
        Err(error) => {
            log::error!("the agent cannot work: {error:#}");
            exit::FAILED
        }
    }
}

fn serve(settings: &Settings) -> anyhow::Result<u8> {
    let policy = policy::Policy::read(Path::new(policy::FILE))?;
    let folders = Folders { state: PathBuf::from(STATE) };
    std::fs::create_dir_all(folders.containers()).with_context(|| format!("cannot create {STATE}"))?;
    leftovers::remove(&folders.containers());
    let store = Store::open(&folders.images())?;
    let client = Client::new(settings, image::pace::Limits::default()).context("cannot set up the registry client")?;
    let puller = Puller::new(client, store, Patience::default(), image::space::free);
    let worker = Worker {
        agent: settings.id.clone(),
        connection: Connection::new(settings).with_context(|| format!("cannot use the server {}", settings.authority))?,
        journal: Journal::open(&folders.state.join("journal.json")),
        power: power::Requests::below(Path::new(WORKER)),
        attributes: settings.detect_attributes.then(|| attributes::detect(Path::new("/"))),
        backoff_max: settings.backoff_max,
        execute: Runner { puller, folders, program: PathBuf::from("/proc/self/exe"), policy },
    };
    // One thread runs everything but unpacking: the machine may have one processor, and each thread costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
    Ok(runtime
        .block_on(async {
            tokio::spawn(heartbeat::beat());
            worker.run().await
        })
        .exit_code())
}

#[cfg(test)]
#[path = "../tests/support/registry.rs"]
mod fake_registry;
#[cfg(test)]
#[path = "../tests/support/server.rs"]
mod fake_server;
