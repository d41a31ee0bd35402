//! PID 1 after the boot: it reaps all children, keeps the services of the table running, and handles signals.
//!
//! Signals arrive through a signalfd, so PID 1 has no signal handler. Only one place calls waitpid.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

use cmdline::{Arguments, OnFailure};
use machine::{Power, files};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::system::{RebootCommand, reboot};

use crate::power;
use crate::ready::{Heard, Readiness};
use crate::service::{Exit, Facts, History, Next, Service, after_exit, is_held, restart};
use crate::services::{self, TABLE};
use crate::stuck::HangCheck;
use crate::{PathError, spawn};

/// `SIGINT` is ctrl-alt-del. The others are those of BusyBox's init and its `reboot` and `poweroff`.
const SIGNALS: [Signal; 6] = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPWR];
/// The signals and one pipe for each service. The number is fixed, so that waiting takes no memory.
const WATCHED: usize = TABLE.len() + 1;
/// The default of `thimble.countdown=`, long enough to read the line.
const COUNTDOWN: Duration = Duration::from_secs(3);

pub struct Supervisor {
    facts: Facts,
    signals: SignalFd,
    children: Vec<Child>,
}

/// A service of the table, and the process that runs it.
struct Child {
    service: &'static Service,
    pid: Option<Pid>,
    history: History,
    /// When to start it, if it should run and does not.
    due: Option<Instant>,
    /// The pipe on which the running child reports that it is ready.
    readiness: Option<Readiness>,
    /// Stays true over a restart, so that services which wait for this one continue.
    ready: bool,
}

impl Child {
    fn new(service: &'static Service) -> Self {
        let history = History { started: Instant::now(), failures: 0 };
        Self { service, pid: None, history, due: Some(history.started), readiness: None, ready: false }
    }

    fn start_if_due(&mut self, facts: &Facts) {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.history.started = Instant::now();
        match spawn::start(self.service, facts) {
            Ok((pid, readiness)) => {
                (self.pid, self.due) = (Some(pid), None);
                self.hold_watchdog(false);
                self.readiness = self.service.ready.is_some().then_some(readiness);
                self.ready |= self.service.ready.is_none();
            }
            // for example, no memory
            Err(error) => {
                if let Next::Restart { after, failures } = restart(&self.history, Instant::now()) {
                    self.retry(facts, after, failures, &format!("cannot be started: {error}"));
                }
            }
        }
    }

    fn retry(&mut self, facts: &Facts, after: Duration, failures: u32, why: &str) {
        if let Some(power) = given_up(self.service.name, failures, facts.arguments.on_failure.unwrap_or_default()) {
            log::error!("{} {why} and has failed {failures} times in a row: thimble.on_failure ends this", self.service.name);
            power::end(power, countdown(facts))
        }
        let again = format!("{} {why}; it starts again in {} s", self.service.name, after.as_secs_f32());
        if is_held(failures) {
            log::error!("{again}, since it has failed {failures} times in a row; ctrl-alt-del restarts the machine");
            self.hold_watchdog(true);
        } else {
            log::warn!("{again}");
        }
        (self.pid, self.history.failures, self.due) = (None, failures, Some(Instant::now() + after));
    }

    /// The watchdog must not restart a machine that is held for an operator.
    fn hold_watchdog(&self, held: bool) {
        if self.service.name != services::AGENT {
            return;
        }
        let result = if held { fs::write(files::HELD, "") } else { fs::remove_file(files::HELD) };
        if let Err(error) = result
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("the watchdog cannot see whether the agent is held ({}): {error}", files::HELD);
        }
    }

    /// Reads a message of the child, which may send more than one.
    fn hear(&mut self, facts: &mut Facts) {
        let (Some(readiness), Some(read)) = (&mut self.readiness, self.service.ready) else { return };
        match readiness.hear() {
            Heard::NothingYet => {}
            Heard::Message(bytes, count) => self.ready |= bytes.get(..count).is_some_and(|message| read(facts, message)),
            Heard::Closed => self.readiness = None,
        }
    }

    /// The server identifies a machine by the worker id that its agent was started with.
    fn restart_renamed(&self, old: &str, new: &str) {
        let Some(pid) = self.pid else { return };
        log::info!("{}: the machine was {old} and is now {new}, so it is restarted", self.service.name);
        if let Err(error) = kill(pid, Signal::SIGKILL) {
            log::error!("cannot end {} (process {pid}): {error}", self.service.name);
        }
    }
}

fn countdown(facts: &Facts) -> Duration {
    facts.arguments.countdown.map_or(COUNTDOWN, |seconds| Duration::from_secs(seconds.into()))
}

/// How the machine ends after this many failures of the service, if at all.
fn given_up(service: &str, failures: u32, policy: OnFailure) -> Option<Power> {
    let held = service == services::AGENT && is_held(failures);
    match policy {
        OnFailure::Reboot if held => Some(Power::Reboot),
        OnFailure::PowerOff if held => Some(Power::Off),
        _ => None,
    }
}

impl Supervisor {
    /// Blocks the signals for good. From here on they are read from a file descriptor.
    pub fn begin(arguments: Arguments, is_unplaced: bool) -> Result<Self, PathError> {
        let mask: SigSet = SIGNALS.into_iter().collect();
        mask.thread_block().map_err(PathError::new("cannot block", "signals"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(PathError::new("cannot open", "a signalfd"))?;
        if let Err(error) = reboot(RebootCommand::CadOff) {
            log::warn!("ctrl-alt-del will restart the machine without an orderly end: {error}");
        }
        let facts = Facts { arguments, is_unplaced, mac: None };
        Ok(Self { facts, signals, children: TABLE.iter().map(Child::new).collect() })
    }

    pub fn forever(mut self) -> ! {
        loop {
            self.turn(None);
        }
    }

    /// Starts the services that are due, waits for an event, and handles it.
    fn turn(&mut self, limit: Option<Instant>) {
        self.start_due();
        self.wait(limit);
        self.hear();
        self.obey_signals();
        self.reap();
    }

    fn hear(&mut self) {
        let before = self.facts.mac;
        self.children.iter_mut().for_each(|child| child.hear(&mut self.facts));
        if before.is_none() || before == self.facts.mac {
            return;
        }
        let id = |mac| self.facts.arguments.machine_id(mac);
        if let (Some(old), Some(new)) = (id(before), id(self.facts.mac))
            && old != new
            && let Some(agent) = self.children.iter().find(|child| child.service.name == services::AGENT)
        {
            agent.restart_renamed(&old, &new);
        }
    }

    /// Supervises while waiting. The wait has no limit, because the service itself reports what it waits for.
    pub fn wait_for(&mut self, name: &'static str) {
        let mut watch = HangCheck::new(name, Instant::now());
        while !self.is_ready(name) {
            self.turn(Some(watch.due));
            let now = Instant::now();
            if now >= watch.due {
                let child = self.children.iter().find(|child| child.service.name == name);
                watch.look(child.and_then(|child| child.pid), now);
            }
        }
    }

    fn is_ready(&self, name: &str) -> bool {
        self.children.iter().any(|child| child.service.name == name && child.ready)
    }

    /// Starts services in the order of the table, where each one follows the service that it waits for.
    pub fn start_due(&mut self) {
        for index in 0..self.children.len() {
            let may_start = self.children.get(index).is_some_and(|child| self.may_start(child));
            if let (true, Some(child)) = (may_start, self.children.get_mut(index)) {
                child.start_if_due(&self.facts);
            }
        }
    }

    fn may_start(&self, child: &Child) -> bool {
        child.service.after.is_none_or(|name| self.is_ready(name))
    }

    fn wait(&self, limit: Option<Instant>) {
        let dues = self.children.iter().filter(|child| self.may_start(child)).filter_map(|child| child.due);
        let timeout = match dues.chain(limit).min() {
            // One millisecond is added to the rounded-down rest, so that it does not wake up too early.
            Some(due) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds: [PollFd<'_>; WATCHED] = std::array::from_fn(|index| PollFd::new(self.watched(index), PollFlags::POLLIN));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                log::error!("cannot wait for signals: {error}");
                std::thread::sleep(Duration::from_secs(1)); // without memory poll(2) fails, and this must not spin
            }
        }
    }

    /// A service without a pipe uses the descriptor of the signals, which then occurs twice.
    fn watched(&self, index: usize) -> BorrowedFd<'_> {
        let readiness = self.children.get(index).and_then(|child| child.readiness.as_ref());
        readiness.map_or_else(|| self.signals.as_fd(), |readiness| readiness.0.as_fd())
    }

    fn obey_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            let power = match signal {
                Some(Signal::SIGINT | Signal::SIGTERM) => Power::Reboot,
                Some(Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGPWR) => Power::Off,
                _ => continue,
            };
            log::info!("ending because of {} from process {}", signal.map_or("?", Signal::as_str), info.ssi_pid);
            power::end(power, Duration::ZERO) // the operator who sent it needs no warning
        }
    }

    /// Reaps all children, because one SIGCHLD may stand for several. Most are orphans, for which only PID 1 waits.
    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => self.ended(status),
                Err(Errno::EINTR) => {}
                Err(error) => return log::error!("cannot reap: {error}"),
            }
        }
    }

    fn ended(&mut self, status: WaitStatus) {
        let (Some(pid), Some(exit)) = (status.pid(), Exit::from_wait(status)) else { return };
        let Some(child) = self.children.iter_mut().find(|child| child.pid == Some(pid)) else { return };
        child.pid = None;
        match after_exit(child.service.restart, &child.history, exit, Instant::now()) {
            Next::Restart { after, failures } => child.retry(&self.facts, after, failures, &format!("ended ({exit})")),
            Next::End(power) => power::end(power, countdown(&self.facts)),
            Next::Stop if child.service.name == services::AGENT => {
                log::warn!("the agent has stopped for good; ctrl-alt-del or a power cycle restarts the machine");
            }
            Next::Stop => log::debug!("{} has ended as planned", child.service.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agent_ends_the_machine_and_only_where_the_policy_says_so() {
        for (case, service, failures, policy, expected) in [
            ("by default the machine is held", services::AGENT, 100, OnFailure::Hold, None),
            ("a few failures may pass", services::AGENT, 9, OnFailure::Reboot, None),
            ("ten do not", services::AGENT, 10, OnFailure::Reboot, Some(Power::Reboot)),
            ("power-off", services::AGENT, 10, OnFailure::PowerOff, Some(Power::Off)),
            ("another service", services::NETWORK, 100, OnFailure::Reboot, None),
        ] {
            assert_eq!(given_up(service, failures, policy), expected, "{case}");
        }
    }
}
