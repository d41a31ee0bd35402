//! Writes to the kernel log, which shows records on every console while the writer waits. A serial port that takes no
//! characters costs 10 ms for each, as when a BMC hangs. Such consoles are left out for a while.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::Level;

/// The kernel gives up on a character after 10 ms; at 9600 bit/s one takes 1 ms.
const SLOW: Duration = Duration::from_millis(6);
/// The time stamp that the kernel puts in front.
const STAMP: usize = 15;
/// A single slow record does not count: messages of the kernel may have been in front of it.
const SLOW_RECORDS: u32 = 3;
/// A console may come back.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// In front of each line of PID 1, its services and the agent.
pub const MARK: &str = "thimble: ";
/// After the mark, in front of a line that an action wrote.
pub const OUTPUT: &str = "A| ";
/// What PID 1 puts in front of an error and of a warning.
pub const WORDS: [&str; 2] = ["error: ", "warning: "];
/// The kernel refuses records of 1 KiB; a prefix and the rest of a character have to fit too.
const TEXT_MAX: usize = 900;
const LEVELS: &str = "/proc/sys/kernel/printk";
const SILENT: &str = "1";

static PACE: Mutex<Pace> = Mutex::new(Pace { slow: 0, silent: None });

/// One record for each line of `text`, with `word` in front. All are notices or worse, which every console shows. Only debug
/// lines stay in the log. Without the newline the kernel would wait for a continuation.
pub fn records(facility: u8, level: Level, word: &str, text: &str) -> Vec<String> {
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug | Level::Trace => 7,
    };
    let priority = u32::from(facility) * 8 + severity;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.flat_map(pieces).map(|piece| format!("<{priority}>{MARK}{word}{piece}\n")).collect()
}

fn pieces(line: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), line);
    while let Some((piece, after)) =
        rest.split_at_checked(rest.floor_char_boundary(TEXT_MAX)).filter(|(_, after)| !after.is_empty())
    {
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Writes one record, and silences consoles that are too slow.
///
/// # Errors
/// Those of the kernel log.
pub fn write(mut log: &File, record: &[u8]) -> io::Result<()> {
    if let Some(level) = with_pace(|pace| pace.trial(Instant::now())).flatten() {
        let _ = fs::write(LEVELS, level);
    }
    let began = Instant::now();
    log.write_all(record)?;
    let took = began.elapsed();
    if with_pace(|pace| pace.is_too_slow(record.len(), took)) == Some(true)
        && let Some(level) = current().filter(|level| level != SILENT)
        && fs::write(LEVELS, SILENT).is_ok()
    {
        with_pace(|pace| pace.silence(level, Instant::now()));
        let note = format!(
            "<12>thimble: warning: a console takes {} ms for a line: for {} s the consoles show nothing, and this log all\n",
            took.as_millis(),
            TRY_AGAIN.as_secs()
        );
        let _ = log.write_all(note.as_bytes());
    }
    Ok(())
}

/// Never waits. While another thread uses it, this one goes on without it.
fn with_pace<T>(act: impl FnOnce(&mut Pace) -> T) -> Option<T> {
    PACE.try_lock().ok().map(|mut pace| act(&mut pace))
}

fn current() -> Option<String> {
    fs::read_to_string(LEVELS).ok()?.split_whitespace().next().map(str::to_owned)
}

/// How fast the consoles have been.
struct Pace {
    /// Slow records in a row.
    slow: u32,
    /// When they were silenced, and the level they had.
    silent: Option<(Instant, String)>,
}

impl Pace {
    /// The level that the consoles get back, for one record to try them.
    fn trial(&mut self, now: Instant) -> Option<String> {
        let (_, level) = self.silent.take_if(|(since, _)| now.saturating_duration_since(*since) >= TRY_AGAIN)?;
        self.slow = SLOW_RECORDS - 1;
        Some(level)
    }

    fn is_too_slow(&mut self, bytes: usize, took: Duration) -> bool {
        let limit = SLOW.saturating_mul(u32::try_from(bytes.saturating_add(STAMP)).unwrap_or(u32::MAX));
        self.slow = if took >= limit { self.slow.saturating_add(1) } else { 0 };
        self.slow >= SLOW_RECORDS
    }

    fn silence(&mut self, level: String, now: Instant) {
        (self.slow, self.silent) = (0, Some((now, level)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_record_of_its_own_at_a_level_the_console_shows() {
        for (facility, level, word, text, expected) in [
            (1, Level::Info, "", "a", vec!["<13>thimble: a\n"]),
            (1, Level::Warn, "warning: ", "a\n\nb\n", vec!["<12>thimble: warning: a\n", "<12>thimble: warning: b\n"]),
            (1, Level::Debug, "", "a", vec!["<15>thimble: a\n"]),
            (16, Level::Error, "", "one\ntwo", vec!["<131>thimble: one\n", "<131>thimble: two\n"]),
        ] {
            assert_eq!(records(facility, level, word, text), expected);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters_and_nothing_is_lost() {
        let records = records(1, Level::Info, "", &"\u{e4}".repeat(1000));
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.len() < 960));
        assert_eq!(records.iter().map(|record| record.matches('\u{e4}').count()).sum::<usize>(), 1000);
    }

    #[test]
    fn only_a_console_that_stays_slow_is_left_out_and_it_is_tried_again() {
        let mut pace = Pace { slow: 0, silent: None };
        let (fine, dead) = (Duration::from_millis(100), Duration::from_millis(1000));
        let slow = |pace: &mut Pace, times: &[Duration]| times.iter().map(|&took| pace.is_too_slow(80, took)).collect::<Vec<_>>();
        assert_eq!(slow(&mut pace, &[fine, dead, dead, fine, dead, dead]), [false; 6], "9600 bit/s, and bursts of the kernel's");
        assert_eq!(slow(&mut pace, &[dead]), [true]);

        let now = Instant::now();
        pace.silence("6".to_owned(), now);
        assert_eq!(pace.trial(now + TRY_AGAIN / 2), None);
        assert_eq!(pace.trial(now + TRY_AGAIN).as_deref(), Some("6"));
        assert_eq!(slow(&mut pace, &[dead]), [true], "one look is enough");
        pace.silence("6".to_owned(), now);
        assert_eq!(pace.trial(now + TRY_AGAIN).as_deref(), Some("6"));
        assert_eq!(slow(&mut pace, &[fine, dead, dead]), [false; 3], "it came back");
        assert_eq!(pace.trial(now + TRY_AGAIN * 9), None);
    }

    #[test]
    fn a_long_record_may_take_longer() {
        let mut pace = Pace { slow: SLOW_RECORDS, silent: None };
        assert!(!pace.is_too_slow(900, Duration::from_secs(1)));
    }
}
