//! Reports when the machine is short of memory, with the numbers that show what uses it.
//!
//! A trigger on `/proc/pressure/memory` wakes this service. Without swap nothing stalls until an allocation fails, so the
//! service also checks the available memory.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use machine::Chain;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::memory::{MemoryInfo, mib};
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError, cgroups};

const PRESSURE: &str = "/proc/pressure/memory";
/// In microseconds: some process waited for memory for 200 ms of the last second. The kernel cuts off the last byte.
const TRIGGER: &str = "some 200000 1000000\0";
/// How often a shortage is reported while it lasts.
const REPEAT: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_secs(2);
/// Less than this share of available memory is a shortage, too.
const SCARCE: u64 = 12;

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let trigger = arm().map_err(|error| log::warn!("stalls without memory will not be reported: {}", Chain(&error))).ok();
    let mut said: Option<Instant> = None;
    loop {
        let stalled = wait(trigger.as_ref())?;
        let silent = said.is_some_and(|at| at.elapsed() < REPEAT);
        if !silent && (stalled || MemoryInfo::read().is_ok_and(is_scarce)) {
            said = Some(Instant::now());
            log::warn!("{}", line());
        }
    }
}

fn is_scarce(info: MemoryInfo) -> bool {
    info.available < info.total / SCARCE
}

/// Whether the trigger fired before the next check was due.
fn wait(trigger: Option<&File>) -> Result<bool, Errno> {
    let mut fds: Vec<PollFd<'_>> = trigger.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect();
    match poll(&mut fds, PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX)) {
        Ok(fired) => Ok(fired > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file stays open for writing, because the trigger lives as long as the descriptor.
fn arm() -> Result<File, PathError> {
    let mut file = OpenOptions::new().read(true).write(true).open(PRESSURE).map_err(PathError::new("cannot open", PRESSURE))?;
    file.write_all(TRIGGER.as_bytes()).map_err(PathError::new("cannot set a trigger on", PRESSURE))?;
    Ok(file)
}

fn line() -> String {
    let stalled = fs::read_to_string(PRESSURE).ok().and_then(|text| some_avg10(&text).map(str::to_owned));
    let memory = MemoryInfo::read().map_or_else(
        |error| format!("{} cannot be read: {error}", MemoryInfo::PATH),
        |info| {
            let swap = (info.swap_total > 0).then(|| format!(", swap {} of {}", mib(info.swap_free), mib(info.swap_total)));
            format!("{} of {} available{}", mib(info.available), mib(info.total), swap.unwrap_or_default())
        },
    );
    let group = |group| cgroups::memory(group).map_or_else(|| "?".to_owned(), mib);
    format!(
        "memory is short: {memory}; actions use {}, agent and images {}; stalled {} % of the last 10 s",
        group(cgroups::ACTIONS),
        group(cgroups::AGENT),
        stalled.as_deref().unwrap_or("?")
    )
}

fn some_avg10(pressure: &str) -> Option<&str> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|word| word.strip_prefix("avg10="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twelfth_of_the_memory_is_not_much() {
        let info = |available| MemoryInfo { total: 120 << 20, available, swap_total: 0, swap_free: 0 };
        assert!(is_scarce(info(9 << 20)) && !is_scarce(info(11 << 20)));
    }

    #[test]
    fn the_share_of_lost_time_is_the_kernels_number() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\nfull avg10=5.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(some_avg10(text), Some("12.34"));
        assert_eq!(some_avg10(""), None);
    }
}
