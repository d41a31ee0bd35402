//! A child that PID 1 keeps running: how it ended, and what that calls for.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Who ran this long was healthy; the next failure counts as the first.
const HEALTHY: Duration = Duration::from_secs(60);

/// What is remembered of a child's earlier runs.
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
    Reboot,
    PowerOff,
    Kexec,
    /// The child has nothing more to do.
    Stop,
}

/// The agent's exit code is its request; every other end is a crash, whatever the code.
pub fn after_exit(history: &History, exit: Exit, now: Instant) -> Next {
    match exit {
        Exit::Code(0) => Next::Stop,
        Exit::Code(code) if code == i32::from(agent::exit::REBOOT) => Next::Reboot,
        Exit::Code(code) if code == i32::from(agent::exit::POWER_OFF) => Next::PowerOff,
        Exit::Code(code) if code == i32::from(agent::exit::KEXEC) => Next::Kexec,
        Exit::Code(_) | Exit::Signal(_) => restart(history, now),
    }
}

/// Half a second, doubled with every failure in a row, thirty seconds at most.
pub fn restart(history: &History, now: Instant) -> Next {
    let was_healthy = now.saturating_duration_since(history.started) >= HEALTHY;
    let failures = if was_healthy { 1 } else { history.failures.saturating_add(1) };
    let doubled = FIRST_DELAY.saturating_mul(2u32.saturating_pow(failures - 1));
    Next::Restart { after: doubled.min(LONGEST_DELAY), failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ran: Duration, failures: u32, exit: Exit) -> Next {
        let started = Instant::now();
        after_exit(&History { started, failures }, exit, started + ran)
    }

    #[test]
    fn the_agents_exit_code_is_its_request() {
        let short = Duration::from_secs(1);
        let crash = Next::Restart { after: Duration::from_millis(500), failures: 1 };
        for (case, exit, next) in [
            ("0: it is done", Exit::Code(0), Next::Stop),
            ("80: reboot", Exit::Code(80), Next::Reboot),
            ("81: power off", Exit::Code(81), Next::PowerOff),
            ("82: kexec", Exit::Code(82), Next::Kexec),
            ("1: an error", Exit::Code(1), crash),
            ("101: a panic", Exit::Code(101), crash),
            ("out of memory", Exit::Signal(Signal::SIGKILL), crash),
            ("an abort", Exit::Signal(Signal::SIGABRT), crash),
        ] {
            assert_eq!(after(short, 0, exit), next, "{case}");
        }
    }

    #[test]
    fn each_failure_in_a_row_waits_twice_as_long_up_to_half_a_minute() {
        let second = Duration::from_secs(1);
        let delays = (0..9).map(|failures| match after(second, failures, Exit::Code(1)) {
            Next::Restart { after, failures } => (failures, after.as_millis()),
            _ => (0, 0),
        });
        let expected = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000];
        assert!(delays.eq((1..).zip(expected)));
        assert_eq!(after(second, u32::MAX, Exit::Code(1)), Next::Restart { after: LONGEST_DELAY, failures: u32::MAX });
    }

    #[test]
    fn a_minute_without_failure_forgets_the_earlier_ones() {
        let first = Next::Restart { after: FIRST_DELAY, failures: 1 };
        assert_eq!(after(Duration::from_secs(60), 7, Exit::Code(1)), first);
        assert_ne!(after(Duration::from_secs(59), 7, Exit::Code(1)), first);
    }

    #[test]
    fn the_log_says_how_it_ended() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(Exit::Signal(Signal::SIGKILL).to_string(), "killed by signal 9 (SIGKILL)");
    }
}
