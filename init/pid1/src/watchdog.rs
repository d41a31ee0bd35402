//! Ends an agent that hangs, and feeds the hardware watchdog while the agent lives. A machine whose agent hangs and cannot
//! be ended restarts by itself.
//!
//! The agent touches a file. Before the first time there is nothing to judge, because a machine may wait for its network
//! for days. At an orderly end the watchdog is closed with the letter that stops it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use machine::files;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError, cgroups};

const DEVICE: &str = "/dev/watchdog";
/// Every watchdog allows at least twice as long.
const FEED: Duration = Duration::from_secs(5);
/// An agent that is silent for this long hangs, because it touches its file every few seconds. PID 1 starts another one.
const HANGS: Duration = Duration::from_secs(90);
/// After this time the watchdog is no longer fed: the agent could not be ended, or its successor hangs, too.
const SILENCE: Duration = Duration::from_secs(120);
const STOP: &[u8] = b"V";

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let end = end_signal()?;
    let (mut device, mut pulse) = (None, Pulse::new(Instant::now()));
    while !is_over(&end)? {
        if device.is_none() {
            device = open()?;
        }
        pulse.look(fs::metadata(files::HEARTBEAT).and_then(|file| file.modified()).ok(), Instant::now());
        match pulse.judge(Instant::now()) {
            _ if Path::new(files::HELD).exists() => feed(device.as_mut())?,
            Verdict::Alive => feed(device.as_mut())?,
            Verdict::Hangs => {
                log::error!("the agent has been silent for {} s, so it is ended", HANGS.as_secs());
                if let Err(error) = end_all(Path::new(cgroups::AGENT)) {
                    log::error!("cannot end the agent: {error}");
                }
                feed(device.as_mut())?;
            }
            Verdict::JustFellSilent => log::error!(
                "the agent has been silent for {} s{}",
                SILENCE.as_secs(),
                if device.is_some() { "; the watchdog will restart the machine" } else { "" }
            ),
            Verdict::Silent => {}
        }
    }
    if let Some(mut device) = device {
        device.write_all(STOP).map_err(PathError::new("cannot stop", DEVICE))?;
    }
    Ok(())
}

fn end_signal() -> Result<SignalFd, StepError> {
    let mask: SigSet = [Signal::SIGTERM].into_iter().collect();
    mask.thread_block().map_err(PathError::new("cannot block", "signals"))?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).map_err(PathError::new("cannot open", "a signalfd"))?)
}

fn is_over(end: &SignalFd) -> Result<bool, StepError> {
    let timeout = PollTimeout::try_from(FEED).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(PathError::new("cannot wait for", "signals")(error).into()),
    }
}

/// Opens the watchdog, which starts it. The driver may load late, or never.
fn open() -> Result<Option<File>, PathError> {
    match OpenOptions::new().write(true).open(DEVICE) {
        Ok(device) => {
            let about = |name: &str| {
                let path = Path::new("/sys/class/watchdog/watchdog0").join(name);
                fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
            };
            let own = about("timeout").parse().unwrap_or_default();
            let after = SILENCE.as_secs().saturating_add(own);
            log::info!("watchdog: {} restarts the machine after {after} s without a sign of the agent", about("identity"));
            Ok(Some(device))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => Ok(None),
        Err(error) => Err(PathError::new("cannot open", DEVICE)(error)),
    }
}

fn feed(device: Option<&mut File>) -> Result<(), PathError> {
    device.map_or(Ok(()), |device| device.write_all(b"\0").map_err(PathError::new("cannot feed", DEVICE)))
}

/// Ends the agent and the programs that it has started. Its actions are in other groups.
fn end_all(group: &Path) -> std::io::Result<()> {
    fs::write(group.join("cgroup.kill"), "1")
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Alive,
    /// The agent hangs. This is reported once.
    Hangs,
    JustFellSilent,
    Silent,
}

/// The agent's heartbeat. A change of the file's time counts, and not the time itself, because clocks are set.
struct Pulse {
    last: Option<SystemTime>,
    changed: Instant,
    before: Silence,
}

/// How long the agent has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Silence {
    Short,
    Long,
    TooLong,
}

impl Pulse {
    fn new(now: Instant) -> Self {
        Self { last: None, changed: now, before: Silence::Short }
    }

    fn look(&mut self, touched: Option<SystemTime>, now: Instant) {
        if touched != self.last {
            (self.last, self.changed) = (touched, now);
        }
    }

    fn judge(&mut self, now: Instant) -> Verdict {
        let silence = match now.saturating_duration_since(self.changed) {
            _ if self.last.is_none() => Silence::Short,
            silent if silent >= SILENCE => Silence::TooLong,
            silent if silent >= HANGS => Silence::Long,
            _ => Silence::Short,
        };
        let before = std::mem::replace(&mut self.before, silence);
        match silence {
            Silence::Long if before < Silence::Long => Verdict::Hangs,
            Silence::TooLong if before < Silence::TooLong => Verdict::JustFellSilent,
            Silence::TooLong => Verdict::Silent,
            Silence::Short | Silence::Long => Verdict::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_ended_only_after_its_first_heartbeat() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let touched = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let mut pulse = Pulse::new(start);
        for (case, now, file, verdict) in [
            ("no network for an hour", 3600, None, Verdict::Alive),
            ("the agent's first touch", 3605, touched(50), Verdict::Alive),
            ("a stepped clock", 3610, touched(1), Verdict::Alive),
            ("not long enough", 3699, touched(1), Verdict::Alive),
            ("it hangs and is ended", 3700, touched(1), Verdict::Hangs),
            ("once", 3705, touched(1), Verdict::Alive),
            ("its successor has a chance", 3729, touched(1), Verdict::Alive),
            ("too long", 3730, touched(1), Verdict::JustFellSilent),
            ("said once", 3735, touched(1), Verdict::Silent),
            ("back again", 3740, touched(2), Verdict::Alive),
            ("it hangs again", 3830, touched(2), Verdict::Hangs),
            ("and its successor works", 3835, touched(3), Verdict::Alive),
        ] {
            pulse.look(file, at(now));
            assert_eq!(pulse.judge(at(now)), verdict, "{case}");
        }
    }

    #[test]
    fn an_agent_is_ended_with_the_programs_it_started() {
        let group = tempfile::tempdir().unwrap();
        end_all(group.path()).unwrap();
        assert_eq!(fs::read_to_string(group.path().join("cgroup.kill")).unwrap(), "1");
    }
}
