//! A child service of PID 1: how it is started, how it ended, and what follows. The table is in `services`.

use std::ffi::CStr;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cmdline::{Arguments, HwAddr, Parsed};
use machine::{Chain, Power};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::ready::Ready;
use crate::{StepError, settings, site};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// After this many failures in a row the service is started only at long intervals. So the console stays readable, and an
/// operator finds the machine unchanged.
const HOLD_AFTER: u32 = 10;
const HELD_DELAY: Duration = Duration::from_secs(300);
/// A service that ran this long was healthy, so its next failure counts as the first.
const HEALTHY: Duration = Duration::from_secs(60);

/// One row of the table.
pub struct Service {
    /// The name in log lines, and in the `after` of other services.
    pub name: &'static str,
    /// The name that `ps` shows, at most 15 bytes.
    pub process: &'static CStr,
    pub start: Start,
    pub restart: Restart,
    /// The cgroup of the service. Most share that of PID 1.
    pub cgroup: Option<&'static str>,
    /// The service whose readiness it waits for. Without one it starts as soon as PID 1 handles signals.
    pub after: Option<&'static str>,
    /// Takes the child's message through [`Ready`]. Without it a service is ready once it is started.
    pub ready: Option<fn(&mut Facts, &[u8]) -> bool>,
}

/// Both kinds begin as a fork, which is safe because PID 1 has a single thread.
#[derive(Clone, Copy)]
pub enum Start {
    /// Continues in the fork, sharing PID 1's memory. `Ok` becomes exit code 0. An error is logged and becomes exit code 1.
    Forked(fn(&Facts, Ready) -> Result<(), StepError>),
    /// Executes this program. Its standard output and error go to the kernel log.
    Executed(fn(&Facts) -> Command),
}

/// The meaning of a child's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It runs as long as the machine.
    Always,
    /// Exit code 0 means that there is nothing more to do.
    UntilDone,
    /// The agent, whose exit code is its request to PID 1.
    ByExitCode,
}

/// The facts that services are started with. Each service gets those that are known at its start.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub arguments: Arguments,
    /// Whether a MAC address may still find the machine in the table of its site.
    pub is_unplaced: bool,
    /// The address of the NIC with the network.
    pub mac: Option<HwAddr>,
}

impl Facts {
    /// The network client has found the machine in the table of its site. Services that start later get these arguments.
    pub fn place(&mut self, by: HwAddr) {
        if !self.is_unplaced {
            return;
        }
        let root = Path::new("/");
        let Some(words) = site::words_by_mac(root, by) else {
            return log::error!("the network client has found {by} in the table of machines, and it is not there");
        };
        match settings::parse(&words) {
            Ok(Parsed { arguments, notes }) => {
                notes.iter().for_each(|note| log::warn!("{note}; it is ignored"));
                (self.arguments, self.is_unplaced) = (arguments, false);
                site::forget(root);
            }
            Err(error) => log::error!("the arguments of this machine's row are not used: {}", Chain(&error)),
        }
    }
}

/// The record of a child's earlier runs.
#[derive(Debug, Clone, Copy)]
pub struct History {
    pub started: Instant,
    /// Failures in a row.
    pub failures: u32,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(Signal),
}

impl Exit {
    pub fn from_wait(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::Code(code)),
            WaitStatus::Signaled(_, signal, _) => Some(Self::Signal(signal)),
            _ => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {} ({signal})", *signal as i32),
        }
    }
}

/// What PID 1 does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Restart {
        after: Duration,
        failures: u32,
    },
    /// The machine ends.
    End(Power),
    /// The child is not started again.
    Stop,
}

/// Every other end is a crash, whatever the code.
pub fn after_exit(policy: Restart, history: &History, exit: Exit, now: Instant) -> Next {
    match (policy, exit) {
        (Restart::UntilDone | Restart::ByExitCode, Exit::Code(0)) => Next::Stop,
        (Restart::ByExitCode, Exit::Code(code)) => Power::of_exit_code(code).map_or_else(|| restart(history, now), Next::End),
        _ => restart(history, now),
    }
}

/// The pause is half a second, doubled with every failure in a row up to thirty seconds, until the service is held.
pub fn restart(history: &History, now: Instant) -> Next {
    let was_healthy = now.saturating_duration_since(history.started) >= HEALTHY;
    let failures = if was_healthy { 1 } else { history.failures.saturating_add(1) };
    let doubled = FIRST_DELAY.saturating_mul(2u32.saturating_pow(failures - 1));
    let after = if is_held(failures) { HELD_DELAY } else { doubled.min(LONGEST_DELAY) };
    Next::Restart { after, failures }
}

pub fn is_held(failures: u32) -> bool {
    failures >= HOLD_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ran: Duration, failures: u32, exit: Exit) -> Next {
        let started = Instant::now();
        after_exit(Restart::ByExitCode, &History { started, failures }, exit, started + ran)
    }

    #[test]
    fn the_agents_exit_code_is_its_request() {
        let short = Duration::from_secs(1);
        let crash = Next::Restart { after: Duration::from_millis(500), failures: 1 };
        for (case, exit, next) in [
            ("0: nothing more to do", Exit::Code(0), Next::Stop),
            ("80: reboot", Exit::Code(80), Next::End(Power::Reboot)),
            ("81: power off", Exit::Code(81), Next::End(Power::Off)),
            ("82: kexec", Exit::Code(82), Next::End(Power::Kexec)),
            ("1: an error", Exit::Code(1), crash),
            ("101: a panic", Exit::Code(101), crash),
            ("out of memory", Exit::Signal(Signal::SIGKILL), crash),
            ("an abort", Exit::Signal(Signal::SIGABRT), crash),
        ] {
            assert_eq!(after(short, 0, exit), next, "{case}");
        }
    }

    #[test]
    fn only_services_that_may_end_are_not_started_again() {
        let started = Instant::now();
        let crash = Next::Restart { after: Duration::from_millis(500), failures: 1 };
        for (policy, code, next) in [
            (Restart::Always, 0, crash),
            (Restart::Always, 80, crash),
            (Restart::UntilDone, 0, Next::Stop),
            (Restart::UntilDone, 1, crash),
            (Restart::UntilDone, 80, crash),
        ] {
            let history = History { started, failures: 0 };
            assert_eq!(after_exit(policy, &history, Exit::Code(code), started), next, "{policy:?} and exit code {code}");
        }
    }

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long_up_to_half_a_minute_and_then_is_held() {
        let second = Duration::from_secs(1);
        let delays = (0..11).map(|failures| match after(second, failures, Exit::Code(1)) {
            Next::Restart { after, failures } => (failures, after.as_millis()),
            _ => (0, 0),
        });
        let expected = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 300_000, 300_000];
        assert!(delays.eq((1..).zip(expected)));
        assert_eq!(after(second, u32::MAX, Exit::Code(1)), Next::Restart { after: HELD_DELAY, failures: u32::MAX });
    }

    #[test]
    fn a_minute_without_failure_forgets_the_earlier_ones() {
        let first = Next::Restart { after: FIRST_DELAY, failures: 1 };
        assert_eq!(after(Duration::from_secs(60), 7, Exit::Code(1)), first);
        assert_ne!(after(Duration::from_secs(59), 7, Exit::Code(1)), first);
    }

    #[test]
    fn the_log_shows_how_a_child_ended() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(Exit::Signal(Signal::SIGKILL).to_string(), "killed by signal 9 (SIGKILL)");
    }
}
