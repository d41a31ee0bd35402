//! Reads a disk from its start, again and again, and if wanted writes patterns first. A disk that stops answering ends the test.

use super::{Found, megabytes_per_second, pattern, too_slow};
use crate::device::{self, DeviceError};
use crate::image2disk::Buffer;
use crate::json::Object;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const PIECE: usize = 1 << 20;
/// How much longer than wanted a test may take: the kernel itself gives up a command after 30 s and tries it again.
const PATIENCE: Duration = Duration::from_secs(180);
const ERRORS_MAX: u64 = 10;

#[derive(Debug, Default)]
struct Outcome {
    bytes: u64,
    took: Duration,
    slowest: Duration,
    errors: u64,
    /// What was wrong first, and where.
    first: Option<(u64, String)>,
}

pub fn read(disk: &Path, duration: Duration, limit: Option<u64>) -> Result<Found, DeviceError> {
    let source = device::open_to_read(disk)?;
    direct(&source.file);
    let (file, size) = (source.file, source.size);
    let outcome = watched(duration, move || work(size, duration, |at, data| file.read_exact_at(data, at)));
    Ok(judge("disk_read", "reading", outcome, limit))
}

/// Writes, and compares what was written.
pub fn write(disk: &Path, duration: Duration, limit: Option<u64>) -> Result<Found, DeviceError> {
    let opened = device::open(disk)?;
    direct(&opened.file);
    let (file, size) = (opened.file, opened.size);
    let outcome = watched(duration, move || {
        let mut end = 0;
        let mut outcome = work(size, duration, |at, data| {
            end = end.max(at + data.len() as u64);
            fill(data, at);
            file.write_all_at(data, at)
        });
        note(&mut outcome, 0, file.sync_all());
        let mut wanted = vec![0; PIECE];
        let compared = work(end, Duration::MAX, |at, data| {
            file.read_exact_at(data, at)?;
            let wanted = wanted.get_mut(..data.len()).unwrap_or_default();
            fill(wanted, at);
            if data == wanted { Ok(()) } else { Err(io::Error::other("reads as something else than was written")) }
        });
        outcome.errors += compared.errors;
        outcome.first = outcome.first.or(compared.first);
        outcome
    });
    Ok(judge("disk_write", "writing", outcome, limit))
}

/// The page cache must not answer for the disk. Some file systems have no direct access.
fn direct(file: &File) {
    if let Ok(flags) = rustix::fs::fcntl_getfl(file) {
        let _ = rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT);
    }
}

fn fill(data: &mut [u8], at: u64) {
    for (index, word) in data.chunks_mut(8).enumerate() {
        let value = pattern(at, index as u64).to_le_bytes();
        word.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    }
}

/// From the start to the end, and from the start again until the time is over. Without an end of time, once.
fn work(size: u64, duration: Duration, mut step: impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    let mut buffer = Buffer::new(PIECE);
    let mut at = 0;
    // Direct access is to whole blocks.
    let size = if size > 4096 { size - size % 4096 } else { size };
    while size > 0 && start.elapsed() < duration && outcome.errors < ERRORS_MAX {
        let length = (size - at).min(PIECE as u64);
        let begun = Instant::now();
        let done = step(at, buffer.space().get_mut(..length as usize).unwrap_or_default());
        outcome.slowest = outcome.slowest.max(begun.elapsed());
        if note(&mut outcome, at, done) {
            outcome.bytes += length;
        }
        at += length;
        if at >= size {
            if duration == Duration::MAX {
                break;
            }
            at = 0;
        }
    }
    outcome.took = start.elapsed();
    outcome
}

fn note(outcome: &mut Outcome, at: u64, done: io::Result<()>) -> bool {
    if let Err(error) = &done {
        outcome.errors += 1;
        outcome.first.get_or_insert_with(|| (at, error.to_string()));
    }
    done.is_ok()
}

/// In a thread, because a disk that does not answer cannot be interrupted.
fn watched(duration: Duration, test: impl FnOnce() -> Outcome + Send + 'static) -> Option<Outcome> {
    let (done, outcome) = channel();
    let limit = duration.saturating_mul(3).saturating_add(PATIENCE);
    thread::spawn(move || {
        let _ = done.send(test()); // the receiver may have given up
    });
    outcome.recv_timeout(limit).ok()
}

fn judge(name: &'static str, what: &str, outcome: Option<Outcome>, limit: Option<u64>) -> Found {
    let Some(outcome) = outcome else {
        return Found { name, json: "{}".to_owned(), failures: vec![format!("{what} did not end: the disk does not answer")] };
    };
    let speed = megabytes_per_second(outcome.bytes, outcome.took);
    let json = Object::default()
        .plain("bytes", outcome.bytes)
        .plain("errors", outcome.errors)
        .plain("megabytes_per_second", speed)
        .plain("slowest_milliseconds", outcome.slowest.as_millis())
        .render();
    let mut failures: Vec<String> = too_slow(what, speed, limit).into_iter().collect();
    if let Some((at, error)) = outcome.first {
        failures.push(format!("{what} failed {} times, first at byte {at}: {error}", outcome.errors));
    }
    Found { name, json, failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_and_the_first_one_is_named() {
        let outcome =
            work(3 << 20, Duration::MAX, |at, _| if at == 1 << 20 { Err(io::Error::other("a bad sector")) } else { Ok(()) });
        assert_eq!((outcome.bytes, outcome.errors), (2 << 20, 1));
        let found = judge("disk_read", "reading", Some(outcome), None);
        assert_eq!(found.failures, ["reading failed 1 times, first at byte 1048576: a bad sector"]);
        let dead = work(100 << 20, Duration::MAX, |_, _| Err(io::Error::other("gone")));
        assert_eq!(dead.errors, ERRORS_MAX, "a dead disk is not asked for ever");
        assert!(judge("disk_read", "reading", None, None).failures[0].contains("does not answer"));
    }
}
