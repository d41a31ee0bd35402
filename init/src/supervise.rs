//! PID 1's life after the boot: reap everything, keep the network client and the agent running, obey signals.
//!
//! Signals arrive through a signalfd, so no code of ours runs in a signal handler. One place calls waitpid.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cmdline::{Arguments, HwAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::system::{RebootCommand, reboot};

use crate::boot::Boot;
use crate::power::{self, Ending};
use crate::service::{Exit, History, Next, restart};
use crate::{StepError, network, spawn};

pub use crate::service::after_exit;

/// `SIGINT` is ctrl-alt-del; the others are what BusyBox's init and its `reboot` and `poweroff` agree on.
const SIGNALS: [Signal; 6] = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGPWR];

pub struct Supervisor {
    arguments: Arguments,
    signals: SignalFd,
    network: Service,
    agent: Service,
    /// Where the running network client says that it has an address.
    ready: Option<std::io::PipeReader>,
    /// The NIC that has one.
    connected: Option<HwAddr>,
}

struct Service {
    name: &'static str,
    pid: Option<Pid>,
    history: History,
    /// When to start it, if it shall run and does not.
    due: Option<Instant>,
}

impl Service {
    fn new(name: &'static str) -> Self {
        Self { name, pid: None, history: History { started: Instant::now(), failures: 0 }, due: None }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    fn started(&mut self, pid: Pid) {
        (self.pid, self.due, self.history.started) = (Some(pid), None, Instant::now());
    }

    fn retry(&mut self, after: Duration, failures: u32, why: &str) {
        log::warn!("{} {why}; starting it again in {} s", self.name, after.as_secs_f32());
        (self.pid, self.history.failures, self.due) = (None, failures, Some(Instant::now() + after));
    }

    /// A start that did not happen, for want of memory for instance.
    fn not_started(&mut self, error: &std::io::Error) {
        self.history.started = Instant::now();
        if let Next::Restart { after, failures } = restart(&self.history, Instant::now()) {
            self.retry(after, failures, &format!("cannot be started: {error}"));
        }
    }
}

/// Blocks the signals for good; from here on they are read from a file descriptor.
pub fn begin(boot: &mut Boot) -> Result<(), StepError> {
    let mask: SigSet = SIGNALS.into_iter().collect();
    mask.thread_block().map_err(|error| format!("cannot block signals: {error}"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|error| format!("cannot open a signalfd: {error}"))?;
    if let Err(error) = reboot(RebootCommand::CadOff) {
        log::warn!("ctrl-alt-del will restart the machine without an orderly end: {error}");
    }
    boot.supervisor = Some(Supervisor {
        arguments: boot.arguments.clone(),
        signals,
        network: Service::new("network client"),
        agent: Service::new("agent"),
        ready: None,
        connected: None,
    });
    Ok(())
}

pub fn start_network(boot: &mut Boot) -> Result<(), StepError> {
    let supervisor = boot.supervisor()?;
    supervisor.network.due = Some(Instant::now());
    supervisor.start_due();
    Ok(())
}

/// The wait has no limit, since there is nothing else to do; the network client says what it is waiting for.
pub fn wait_for_network(boot: &mut Boot) -> Result<(), StepError> {
    let supervisor = boot.supervisor()?;
    while supervisor.connected.is_none() {
        supervisor.turn();
    }
    Ok(())
}

pub fn start_agent(boot: &mut Boot) -> Result<(), StepError> {
    let supervisor = boot.supervisor()?;
    supervisor.agent.due = Some(Instant::now());
    supervisor.start_due();
    Ok(())
}

pub fn forever(mut supervisor: Supervisor) -> ! {
    loop {
        supervisor.turn();
    }
}

impl Supervisor {
    /// Starts what is due, waits until something happens, deals with it.
    fn turn(&mut self) {
        self.start_due();
        self.wait();
        self.read_ready();
        self.obey_signals();
        self.reap();
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        if self.network.is_due(now) {
            match spawn::network(&self.arguments) {
                Ok((pid, ready)) => {
                    self.ready = Some(ready);
                    self.network.started(pid);
                }
                Err(error) => self.network.not_started(&error),
            }
        }
        if self.agent.is_due(now) {
            match spawn::agent(&self.arguments, self.connected) {
                Ok(pid) => self.agent.started(pid),
                Err(error) => self.agent.not_started(&error),
            }
        }
    }

    fn wait(&self) {
        let due = [self.network.due, self.agent.due].into_iter().flatten().min();
        let timeout = match due {
            // One millisecond more than the rounded-down rest, so as not to wake up just before it.
            Some(due) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.ready.as_ref().map(|ready| PollFd::new(ready.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                log::error!("cannot wait for signals: {error}");
                std::thread::sleep(Duration::from_secs(1)); // no memory for poll(2): do not spin
            }
        }
        drop(fds);
    }

    /// The network client writes once, when the address is there. End of file: it has ended, and is reaped in a moment.
    fn read_ready(&mut self) {
        let Some(ready) = &mut self.ready else { return };
        let pending = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
        if !pending.is_ok_and(|count| count > 0) {
            return;
        }
        let mut message = [0; network::READY_LEN];
        let count = ready.read(&mut message).unwrap_or(0);
        if let Some(mac) = message.get(..count).and_then(network::read_ready) {
            self.connected = Some(mac);
        }
        self.ready = None;
    }

    fn obey_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            let ending = match signal {
                Some(Signal::SIGINT | Signal::SIGTERM) => Ending::Reboot,
                Some(Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGPWR) => Ending::PowerOff,
                _ => continue,
            };
            log::info!("asked to end by {} from process {}", signal.map_or("?", Signal::as_str), info.ssi_pid);
            power::end(ending)
        }
    }

    /// All of them, since one SIGCHLD may stand for many children, most of them orphans nobody else waits for.
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
        let now = Instant::now();
        if self.network.pid == Some(pid) {
            if let Next::Restart { after, failures } = restart(&self.network.history, now) {
                self.network.retry(after, failures, &format!("ended ({exit})"));
            }
        } else if self.agent.pid == Some(pid) {
            self.agent.pid = None;
            self.follow(after_exit(&self.agent.history, exit, now), exit);
        }
    }

    fn follow(&mut self, next: Next, exit: Exit) {
        match next {
            Next::Restart { after, failures } => self.agent.retry(after, failures, &format!("ended ({exit})")),
            Next::Reboot => power::end(Ending::Reboot),
            Next::PowerOff => power::end(Ending::PowerOff),
            Next::Kexec => {
                log::warn!("the agent asks for kexec, which this version does not do: rebooting instead");
                power::end(Ending::Reboot)
            }
            Next::Stop => log::warn!("the agent has stopped for good; ctrl-alt-del or a power cycle restarts the machine"),
        }
    }
}
