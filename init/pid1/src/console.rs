//! Lines for people: to the kernel log, which shows them on every console, each beginning with `thimble: `.
//!
//! Notice is the level that passes the console while the kernel's own information does not, whatever `quiet` says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use machine::kernel_log;
use rustix::fs::{FileType, Mode, makedev, mknodat};

use crate::sys;

const KMSG: &str = "/dev/kmsg";
/// Messages below this number reach the console: notice is 5, info 6.
const CONSOLE_LEVEL: i32 = 6;
/// The kernel refuses records of 1 KiB; a prefix and the rest of a character have to fit too.
const MAX_RECORD: usize = 900;

static SINK: OnceLock<File> = OnceLock::new();
static LOGGER: Console = Console;

struct Console;

/// Before anything is mounted: makes the device node if the ramdisk has none, and opens it for good.
pub fn open() {
    let _ = mknodat(rustix::fs::CWD, KMSG, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 11));
    open_sink();
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    set_level(CONSOLE_LEVEL);
}

/// Once `/dev` is mounted: where the node could not be made before, there is one now.
pub fn open_sink() {
    if SINK.get().is_none()
        && let Ok(file) = OpenOptions::new().write(true).open(KMSG)
    {
        let _ = SINK.set(file);
    }
}

/// The kernel's threshold for its consoles; an operator's higher `loglevel=` is respected.
pub fn set_level(level: i32) {
    if let Err(error) = sys::set_console_level(level) {
        log::warn!("cannot set the console's log level: {error}");
    }
}

/// The kernel takes ten lines in five seconds from each writer and drops the rest; ours are few and each counts.
/// Needs `/proc`. The value has to end with a newline.
pub fn lift_rate_limit() {
    const LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";
    if let Err(error) = fs::write(LIMIT, "on\n") {
        log::warn!("lines may be missing here, since {LIMIT} cannot be set: {error}");
    }
}

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            say(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn say(level: Level, text: &str) {
    for line in records(level, text) {
        let written = match SINK.get() {
            Some(kmsg) => kernel_log::write(kmsg, line.as_bytes()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if written.is_err() {
            say_directly(&line);
        }
    }
}

/// Without a kernel log: whatever the kernel made our console, which need not exist.
fn say_directly(record: &str) {
    let text = record.split_once('>').map_or(record, |(_, text)| text);
    let line = text.replace('\n', "\r\n");
    let console = OpenOptions::new().write(true).open("/dev/console");
    let _ = match console {
        Ok(mut console) => console.write_all(line.as_bytes()),
        Err(_) => io::stderr().write_all(line.as_bytes()),
    };
}

/// One kernel log record for each line of the text, with its priority (facility user) and our name in front. Without
/// the newline the kernel would wait for a continuation, and show the record only when the next one comes.
fn records(level: Level, text: &str) -> Vec<String> {
    let (priority, word) = match level {
        Level::Error => (11, "error: "),
        Level::Warn => (12, "warning: "),
        Level::Info => (13, ""),
        Level::Debug | Level::Trace => (15, ""),
    };
    // What is fatal says so itself, in the words the operators look for.
    let word = if text.starts_with("FATAL: ") { "" } else { word };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.flat_map(pieces).map(|line| format!("<{priority}>thimble: {word}{line}\n")).collect()
}

fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while rest.len() > MAX_RECORD {
        let end = rest.floor_char_boundary(MAX_RECORD);
        let Some((piece, after)) = rest.split_at_checked(end) else { break };
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_record_of_its_own_at_a_level_the_console_shows() {
        for (level, text, expected) in [
            (Level::Info, "a", vec!["<13>thimble: a\n"]),
            (Level::Warn, "a\n\nb\n", vec!["<12>thimble: warning: a\n", "<12>thimble: warning: b\n"]),
            (Level::Error, "a", vec!["<11>thimble: error: a\n"]),
            (Level::Error, "FATAL: a: b", vec!["<11>thimble: FATAL: a: b\n"]),
            (Level::Debug, "a", vec!["<15>thimble: a\n"]),
        ] {
            assert_eq!(records(level, text), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_nothing_is_lost() {
        let text = "ä".repeat(1000);
        let records = records(Level::Info, &text);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.len() < 960));
        assert_eq!(records.iter().map(|record| record.matches('ä').count()).sum::<usize>(), 1000);
    }
}
