//! How far the boot of the machine has come, and when, in [`files::BOOT`]. A line is `NAME<tab>MILLISECONDS` since the
//! kernel started. `/init` begins the file; a host has another `/init`, and no such file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::files;

/// In the order of most boots. Each is noted once, by the program that gets there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// PID 1 began.
    Init,
    /// The devices of the boot have their drivers.
    Drivers,
    /// A link has carrier.
    Carrier,
    /// An address is configured.
    Network,
    /// A time server has answered.
    Clock,
    /// The agent has read its settings.
    Agent,
    /// The driver packs that came over the network are loaded.
    Packs,
    /// A server has answered the agent.
    Connected,
    /// The first action started.
    Action,
}

impl Milestone {
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Drivers => "drivers",
            Self::Carrier => "carrier",
            Self::Network => "network",
            Self::Clock => "clock",
            Self::Agent => "agent",
            Self::Packs => "packs",
            Self::Connected => "connected",
            Self::Action => "action",
        }
    }

    /// `true` the first time, also when another process asks again.
    pub fn reached(self) -> bool {
        self.note(Path::new(files::BOOT), now()).unwrap_or(false)
    }

    /// One write for a line, so that processes do not mix theirs.
    fn note(self, file: &Path, at: Duration) -> io::Result<bool> {
        let known = fs::read_to_string(file)?;
        if self.at(&known).is_some() {
            return Ok(false);
        }
        OpenOptions::new().append(true).open(file)?.write_all(self.line(at).as_bytes())?;
        Ok(true)
    }

    pub fn line(self, at: Duration) -> String {
        format!("{}\t{}\n", self.name(), at.as_millis())
    }

    /// When it was reached, according to the content of the file.
    pub fn at(self, boot: &str) -> Option<Duration> {
        let found = read(boot).find(|(name, _)| *name == self.name());
        found.map(|(_, milliseconds)| Duration::from_millis(milliseconds.into()))
    }
}

/// Since the kernel started.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}

/// Names and milliseconds; another release may have other names.
pub fn read(boot: &str) -> impl Iterator<Item = (&str, u32)> {
    boot.lines().filter_map(|line| {
        let (name, milliseconds) = line.split_once('\t')?;
        Some((name, milliseconds.parse().ok()?))
    })
}

/// The whole boot in one line, for the log.
pub fn summary() -> String {
    summary_of(&fs::read_to_string(files::BOOT).unwrap_or_default())
}

fn summary_of(boot: &str) -> String {
    read(boot).map(|(name, at)| format!("{name} {}.{:03} s", at / 1000, at % 1000)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milestone_counts_once_and_only_where_init_has_begun() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("boot");
        assert!(Milestone::Network.note(&file, Duration::from_secs(2)).is_err(), "no /init has begun");
        fs::write(&file, Milestone::Init.line(Duration::from_millis(931))).unwrap();
        for (milestone, at, first) in
            [(Milestone::Network, 1500, true), (Milestone::Network, 9000, false), (Milestone::Init, 9000, false)]
        {
            assert_eq!(milestone.note(&file, Duration::from_millis(at)).unwrap(), first, "{milestone:?}");
        }
        let text = fs::read_to_string(&file).unwrap() + "no number\tx\nno tab\n";
        assert_eq!(read(&text).collect::<Vec<_>>(), [("init", 931), ("network", 1500)]);
        assert_eq!((Milestone::Network.at(&text), Milestone::Clock.at(&text)), (Some(Duration::from_millis(1500)), None));
        assert_eq!(summary_of(&text), "init 0.931 s, network 1.500 s");
    }
}
