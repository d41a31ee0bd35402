//! The last lines before the machine crashed, if the firmware kept them (pstore). They are reported once and then removed,
//! because the firmware's memory is small, and when it is full it keeps nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::StepError;
use crate::modules::modprobe;
use crate::ready::Ready;
use crate::service::Facts;

const PSTORE: &str = "/sys/fs/pstore";
/// The most lines of one crash.
const LINES: usize = 40;
/// How many of them come before the line that names the crash.
const LINES_BEFORE: usize = 8;
/// The kernel keeps 10 KiB of a crash by default.
const RECORD_MAX: u64 = 256 << 10;
const CRASHES_MAX: usize = 3;
/// Words with which the kernel names the cause of a crash.
const NAMES: [&str; 4] = ["Kernel panic", "BUG:", "Oops:", "general protection fault"];

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    if !Path::new(PSTORE).exists() {
        return Ok(()); // this kernel does not have it
    }
    modprobe::ask_for("efi_pstore");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("pstore", PSTORE, "pstore", flags, None) {
        Ok(()) | Err(Errno::BUSY) => {} // mounted by an earlier run of this service
        Err(error) => {
            log::warn!("cannot mount {PSTORE}: {error}; the lines before a crash are not reported");
            return Ok(());
        }
    }
    for line in report(&records(Path::new(PSTORE))) {
        log::warn!("pstore: {line}");
    }
    for path in files(Path::new(PSTORE)) {
        if let Err(error) = fs::remove_file(&path) {
            log::warn!("cannot remove {}: {error}; the firmware's memory may fill up", path.display());
        }
    }
    Ok(())
}

/// A part of the kernel's log, as pstore's backends cut it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    /// Seconds since 1970. The parts of one crash have the same time.
    time: i64,
    /// The reason, such as `Panic#1`.
    reason: String,
    /// The number of the part. 1 is the last one.
    part: u32,
    text: String,
}

impl Record {
    /// The first line is `Panic#1 Part2`.
    fn parse(time: i64, text: &str) -> Option<Self> {
        let (head, text) = text.split_once('\n')?;
        let (reason, part) = head.trim().split_once(" Part")?;
        Some(Self { time, reason: reason.to_owned(), part: part.parse().ok()?, text: text.to_owned() })
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn records(folder: &Path) -> Vec<Record> {
    let read = |path: &Path| -> io::Result<Option<Record>> {
        let (mut bytes, file) = (Vec::new(), File::open(path)?);
        let time = file.metadata()?.mtime();
        file.take(RECORD_MAX).read_to_end(&mut bytes)?;
        Ok(Record::parse(time, &String::from_utf8_lossy(&bytes)))
    };
    let is_log = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dmesg-"));
    let mut records = Vec::new();
    for path in files(folder).iter().filter(|path| is_log(path)) {
        match read(path) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => log::warn!("pstore: {} is not readable as a kernel log", path.display()),
            Err(error) => log::warn!("cannot read {}: {error}", path.display()),
        }
    }
    records
}

/// The lines to print, the oldest crash first.
fn report(records: &[Record]) -> Vec<String> {
    let mut crashes: BTreeMap<(i64, &str), Vec<&Record>> = BTreeMap::new();
    for record in records {
        crashes.entry((record.time, &record.reason)).or_default().push(record);
    }
    let skipped = crashes.len().saturating_sub(CRASHES_MAX);
    let mut lines: Vec<String> = (skipped > 0).then(|| format!("{skipped} older crashes are left out")).into_iter().collect();
    for ((_, reason), parts) in crashes.iter_mut().skip(skipped) {
        parts.sort_by_key(|record| std::cmp::Reverse(record.part));
        let said: Vec<&str> = parts.iter().flat_map(|record| record.text.lines()).map(message).collect();
        lines.push(format!("an earlier run of this machine crashed ({reason}); its last lines:"));
        lines.extend(excerpt(&said).iter().map(|line| format!("| {line}")));
    }
    lines
}

/// The lines from a little before the one that names the crash. Without such a line, the last ones.
fn excerpt<'a, 'b>(said: &'b [&'a str]) -> &'b [&'a str] {
    let named = said.iter().position(|line| NAMES.iter().any(|name| line.contains(name)));
    let start = named.map_or(said.len().saturating_sub(LINES), |line| line.saturating_sub(LINES_BEFORE));
    let rest = said.get(start..).unwrap_or_default();
    rest.get(..LINES).unwrap_or(rest)
}

/// The line without its level, such as `<4>`.
fn message(line: &str) -> &str {
    line.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(line, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: i64, reason: &str, part: u32, text: &str) -> Record {
        Record { time, reason: reason.into(), part, text: text.into() }
    }

    #[test]
    fn the_parts_of_a_crash_are_reported_in_their_order_without_levels() {
        let parts = [
            record(9, "Panic#1", 1, "<0>[ 2.2] Kernel panic - not syncing\n<4>[ 2.3] Call Trace\n"),
            record(9, "Panic#1", 2, "<6>[ 2.0] eth0: up\n[ 2.1] no level\n"),
            record(5, "Oops#1", 1, "<4>[ 1.0] Oops: 0002\n"),
        ];
        let expected = [
            "an earlier run of this machine crashed (Oops#1); its last lines:",
            "| [ 1.0] Oops: 0002",
            "an earlier run of this machine crashed (Panic#1); its last lines:",
            "| [ 2.0] eth0: up",
            "| [ 2.1] no level",
            "| [ 2.2] Kernel panic - not syncing",
            "| [ 2.3] Call Trace",
        ];
        assert_eq!(report(&parts), expected);
    }

    #[test]
    fn a_long_log_is_cut_to_the_lines_around_the_crash() {
        let mut said = vec!["before"; 100];
        assert_eq!(excerpt(&said).len(), LINES);
        said.push("Kernel panic - not syncing: x");
        said.extend(vec!["after"; 100]);
        let lines = excerpt(&said);
        assert_eq!((lines.len(), lines.get(LINES_BEFORE)), (LINES, Some(&"Kernel panic - not syncing: x")));
        assert!(excerpt(&[]).is_empty());
    }

    #[test]
    fn many_crashes_are_not_all_reported() {
        let records: Vec<Record> = (0..5).map(|time| record(time, "Panic#1", 1, "Kernel panic\n")).collect();
        let lines = report(&records);
        assert_eq!((lines.len(), lines[0].as_str()), (1 + 2 * CRASHES_MAX, "2 older crashes are left out"));
    }

    #[test]
    fn only_logs_with_a_heading_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("dmesg-efi_pstore-1", &b"Panic#1 Part1\n<0>Kernel panic\n"[..]),
            ("dmesg-efi_pstore-2.enc.z", b"\x78\x9c\x00"),
            ("console-ramoops-0", b"Panic#1 Part1\nx\n"),
            ("dmesg-efi_pstore-3", b"Panic#1 PartX\nx\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = records(folder.path());
        assert_eq!(found.iter().map(|record| record.text.as_str()).collect::<Vec<_>>(), ["<0>Kernel panic\n"]);
        assert!(records(Path::new("/nowhere")).is_empty());
    }
}
