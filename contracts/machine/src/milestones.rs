//! How far the boot of the machine has come, and when: a line a milestone, `NAME<tab>MILLISECONDS` since the kernel started.
//! `/init` begins the file; on a host that has no such `/init` there is none, and nobody writes one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub const FILE: &str = "/run/thimble/boot";

/// Since the kernel started.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}

/// `true` the first time, also when another process was there before.
pub fn reached(name: &str) -> bool {
    note(Path::new(FILE), name, now()).unwrap_or(false)
}

/// One write a line, so that processes do not mix theirs.
fn note(file: &Path, name: &str, at: Duration) -> io::Result<bool> {
    let known = fs::read_to_string(file)?;
    if read(&known).any(|(old, _)| old == name) {
        return Ok(false);
    }
    OpenOptions::new().append(true).open(file)?.write_all(line(name, at).as_bytes())?;
    Ok(true)
}

pub fn line(name: &str, at: Duration) -> String {
    format!("{name}\t{}\n", at.as_millis())
}

pub fn read(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let (name, milliseconds) = line.split_once('\t')?;
        Some((name, milliseconds.parse().ok()?))
    })
}

/// The whole boot in one line, for the log.
pub fn summary() -> String {
    summary_of(&fs::read_to_string(FILE).unwrap_or_default())
}

fn summary_of(text: &str) -> String {
    read(text).map(|(name, at)| format!("{name} {}.{:03} s", at / 1000, at % 1000)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milestone_counts_once_and_only_where_init_has_begun() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("boot");
        assert!(note(&file, "network", Duration::from_secs(2)).is_err(), "nobody began");
        fs::write(&file, line("init", Duration::from_millis(931))).unwrap();
        for (name, at, first) in [("network", 1500, true), ("network", 9000, false), ("init", 9000, false)] {
            assert_eq!(note(&file, name, Duration::from_millis(at)).unwrap(), first, "{name}");
        }
        let text = fs::read_to_string(&file).unwrap() + "no number\tx\nno tab\n";
        assert_eq!(read(&text).collect::<Vec<_>>(), [("init", 931), ("network", 1500)]);
        assert_eq!(summary_of(&text), "init 0.931 s, network 1.500 s");
    }
}
