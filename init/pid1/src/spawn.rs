//! Starts PID 1's children. They all begin as forks, which is safe with a single thread. A service that does not execute
//! another program shares PID 1's memory.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use machine::Chain;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

use crate::agent_env::agent_env;
use crate::ready::{self, Readiness};
use crate::service::{Facts, Service, Start};
use crate::{cgroups, sys};

/// When memory runs out, actions are killed long before services. Actions must not inherit this, so `container` sets
/// theirs.
const OOM_SCORE: &str = "-900";
const FAILED: i32 = 1;
/// The exit code that shells use for a command that cannot be executed.
const NOT_EXECUTED: i32 = 127;

/// Starts a service. Also returns the pipe on which the child reports that it is ready.
pub fn start(service: &Service, facts: &Facts) -> io::Result<(Pid, Readiness)> {
    let (readiness, ready) = ready::pair()?;
    if let Some(pid) = sys::fork()? {
        return Ok((pid, readiness));
    }
    drop(readiness);
    become_child(service);
    let code = match service.start {
        Start::Forked(run) => match run(facts, ready) {
            Ok(()) => 0,
            Err(error) => {
                log::error!("{}: {}", service.name, Chain(error.as_ref()));
                FAILED
            }
        },
        Start::Executed(command) => {
            let Err(error) = execute(command(facts));
            log::error!("{} cannot be executed: {error}", service.name);
            NOT_EXECUTED
        }
    };
    std::process::exit(code)
}

/// The agent is the same program.
pub fn agent(facts: &Facts) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("run").env_clear().envs(agent_env(&facts.arguments, facts.mac));
    command
}

fn execute(mut command: Command) -> Result<Infallible, io::Error> {
    // The agent logs to /dev/kmsg itself. This is for the output of a library or a panic.
    let output = || OpenOptions::new().write(true).open("/dev/kmsg").map_or_else(|_| Stdio::null(), Stdio::from);
    Err(command.stdin(Stdio::null()).stdout(output()).stderr(output()).exec())
}

fn become_child(service: &Service) {
    let _ = SigSet::empty().thread_set_mask();
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(service.process);
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        log::warn!("cannot protect a child from running out of memory: {error}");
    }
    if let Some(group) = service.cgroup
        && let Err(error) = cgroups::enter(group)
    {
        log::warn!("{} cannot enter the cgroup {group}: {error}", service.name);
    }
}
