//! Lines for people go to the kernel log, which shows them on every console. Each one begins with `thimble: `.
//!
//! Their level is notice. Consoles show notices, and not the kernel's informational lines. `quiet` does not change that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use machine::kernel_log::{self, WORDS};
use rustix::fs::{FileType, Mode, makedev, mknodat};

use crate::sys;

const KMSG: &str = "/dev/kmsg";
/// Messages below this number reach the console. Notice is 5, and info is 6.
const CONSOLE_LEVEL: i32 = 6;
const FACILITY_USER: u8 = 1;

static SINK: OnceLock<File> = OnceLock::new();
static LOGGER: Console = Console;

struct Console;

/// Called before anything is mounted: makes the device node if the ramdisk lacks it, and opens it for good.
pub fn open() {
    let _ = mknodat(rustix::fs::CWD, KMSG, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 11));
    open_sink();
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    set_level(CONSOLE_LEVEL);
}

/// Called again once `/dev` is mounted, in case the node could not be made before.
pub fn open_sink() {
    if SINK.get().is_none()
        && let Ok(file) = OpenOptions::new().write(true).open(KMSG)
    {
        let _ = SINK.set(file);
    }
}

/// Sets the kernel's threshold for its consoles. An operator's higher `loglevel=` stays.
pub fn set_level(level: i32) {
    if let Err(error) = sys::set_console_level(level) {
        log::warn!("cannot set the console's log level: {error}");
    }
}

/// The kernel accepts ten lines in five seconds from each writer and drops the rest. PID 1 writes few lines, and each one
/// matters. Needs `/proc`. The value must end with a newline.
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

/// Without a kernel log this writes to the kernel's console, if it exists.
fn say_directly(record: &str) {
    let text = record.split_once('>').map_or(record, |(_, text)| text);
    let line = text.replace('\n', "\r\n");
    let console = OpenOptions::new().write(true).open("/dev/console");
    let _ = match console {
        Ok(mut console) => console.write_all(line.as_bytes()),
        Err(_) => io::stderr().write_all(line.as_bytes()),
    };
}

fn records(level: Level, text: &str) -> Vec<String> {
    let [error, warning] = WORDS;
    let word = match level {
        _ if text.starts_with("FATAL: ") => "", // operators look for this word
        Level::Error => error,
        Level::Warn => warning,
        _ => "",
    };
    kernel_log::records(FACILITY_USER, level, word, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_say_what_they_are() {
        for (level, text, expected) in [
            (Level::Info, "a", "<13>thimble: a\n"),
            (Level::Warn, "a", "<12>thimble: warning: a\n"),
            (Level::Error, "a", "<11>thimble: error: a\n"),
            (Level::Error, "FATAL: a: b", "<11>thimble: FATAL: a: b\n"),
        ] {
            assert_eq!(records(level, text), [expected]);
        }
    }
}
