//! The devices service: it listens to the kernel, scans all devices, and loads their drivers, for as long as the machine
//! runs.
//!
//! One thread makes the decisions. Work that may block (a driver's probing, a disk that does not answer) runs in other
//! threads.

mod coldplug;
mod disks;
mod drivers;
mod identify;
mod jobs;
mod kernel_log;
mod orphans;
pub(crate) mod socket;

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use devices::uevent::{Action, Uevent};
use machine::Chain;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::entropy;
use crate::modules::modprobe;
use crate::ready::Ready;
use crate::service::Facts;
use crate::{StepError, sys};
use disks::Disks;
use drivers::Drivers;
use jobs::{Done, Jobs};
use kernel_log::KernelLog;
use socket::{Received, Uevents};

const SYSFS: &str = "/sys";

/// Runs in the child until the machine ends.
pub fn run(facts: &Facts, _: Ready) -> Result<(), StepError> {
    sys::keep_little_memory();
    let mut service = Devices::open(facts)?;
    entropy::tend();
    loop {
        service.turn()?;
    }
}

struct Devices {
    events: Uevents,
    log: Option<KernelLog>,
    jobs: Jobs,
    drivers: Drivers,
    disks: Disks,
    /// Whether it has worked since memory was last returned to the kernel.
    has_worked: bool,
}

impl Devices {
    fn open(facts: &Facts) -> Result<Self, StepError> {
        let events = Uevents::open()?; // opened before the first scan, so that no message is missed
        if let Err(error) = modprobe::install() {
            log::warn!("the kernel cannot ask for modules by itself: {}", Chain(&error));
        }
        let log = KernelLog::open().inspect_err(|error| log::warn!("missing firmware will not be reported: {error}")).ok();
        let mut service = Self {
            events,
            log,
            jobs: Jobs::new()?,
            drivers: Drivers::new(&facts.arguments),
            disks: Disks::new(),
            has_worked: false,
        };
        service.look();
        Ok(service)
    }

    /// Scans every device that exists now.
    fn look(&mut self) {
        self.drivers.want(coldplug::modaliases(Path::new(SYSFS)));
        self.disks.look_at_all(Path::new(SYSFS));
    }

    fn turn(&mut self) -> Result<(), StepError> {
        self.drivers.start(&self.jobs);
        self.disks.start(&self.jobs);
        self.wait()?;
        self.hear();
        self.disks.closed();
        for done in self.jobs.done() {
            self.has_worked = true;
            match done {
                Done::Loaded { name, result, took } => self.drivers.loaded(&name, result, took),
                Done::Looked { name, links } => self.disks.looked(&name, &links),
            }
        }
        if let Some(log) = &mut self.log {
            log.report();
        }
        self.drivers.report(Instant::now());
        if self.drivers.is_idle() && self.disks.is_idle() && std::mem::take(&mut self.has_worked) {
            sys::give_memory_back();
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), StepError> {
        let timeout = match self.drivers.due() {
            Some(due) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds =
            vec![PollFd::new(self.events.as_fd(), PollFlags::POLLIN), PollFd::new(self.jobs.as_fd(), PollFlags::POLLIN)];
        let more = [self.log.as_ref().map(KernelLog::as_fd), self.disks.watch()];
        fds.extend(more.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; socket::MESSAGE_MAX];
        loop {
            match self.events.receive(&mut buffer) {
                Received::Message(length) => {
                    if let Some(event) = buffer.get(..length).and_then(Uevent::parse) {
                        self.heard(&event);
                    }
                }
                Received::Overrun => {
                    log::warn!("more device messages came than the buffer can hold; all devices are scanned again");
                    self.look();
                }
                Received::Nothing => return,
            }
        }
    }

    fn heard(&mut self, event: &Uevent<'_>) {
        if let (Action::Add | Action::Bind | Action::Change, Some(modalias)) = (event.action, event.modalias) {
            self.drivers.want([modalias.to_owned()]);
        }
        if let ("block", Some(name)) = (event.subsystem, event.devname) {
            match event.action {
                Action::Add | Action::Bind | Action::Change => self.disks.came(name),
                Action::Remove => self.disks.gone(name),
                Action::Unbind => {}
            }
        }
    }
}
