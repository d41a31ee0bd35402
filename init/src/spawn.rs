//! Starts PID 1's two children. Both begin as forks: with a single thread that is safe, and the network client, which
//! needs no other program, shares all of PID 1's memory.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cmdline::{Arguments, HwAddr};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

use crate::agent_env::agent_env;
use crate::{network, sys};

/// Both go long after any action when memory runs out. Actions must not inherit it: `container` sets its own.
const OOM_SCORE: &str = "-900";
/// What a shell uses for a command that cannot be executed.
const NOT_EXECUTED: i32 = 127;

/// Also returns where it will say that the network is there.
pub fn network(arguments: &Arguments) -> io::Result<(Pid, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    match sys::fork()? {
        Some(pid) => Ok((pid, reader)),
        None => {
            drop(reader);
            become_child(c"network");
            network::run(arguments, writer)
        }
    }
}

pub fn agent(arguments: &Arguments, mac: Option<HwAddr>) -> io::Result<Pid> {
    match sys::fork()? {
        Some(pid) => Ok(pid),
        None => {
            become_child(c"agent");
            let Err(error) = execute(arguments, mac);
            log::error!("the agent cannot be executed: {error}");
            std::process::exit(NOT_EXECUTED)
        }
    }
}

fn execute(arguments: &Arguments, mac: Option<HwAddr>) -> Result<Infallible, io::Error> {
    // The agent logs to /dev/kmsg by itself; this is for what a library or a panic prints.
    let output = || OpenOptions::new().write(true).open("/dev/kmsg").map_or_else(|_| Stdio::null(), Stdio::from);
    let mut command = Command::new("/proc/self/exe");
    command.arg("run").env_clear().envs(agent_env(arguments, mac));
    Err(command.stdin(Stdio::null()).stdout(output()).stderr(output()).exec())
}

fn become_child(name: &std::ffi::CStr) {
    let _ = SigSet::empty().thread_set_mask();
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(name);
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        log::warn!("cannot protect a child from running out of memory: {error}");
    }
}
