//! The output of an action as lines that fit a console: bounded, printable, and not faster than a serial port.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longer lines are cut here. The rest becomes the next line.
const LINE_MAX: usize = 800;
/// How many last lines are kept for the report.
const TAIL_LINES: usize = 20;

/// Splits a stream into lines. A carriage return also ends a line, because progress bars use it.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                self.flush(&mut line);
            } else {
                self.pending.push(*byte);
                if self.pending.len() >= LINE_MAX && !self.ends_inside_a_character() {
                    self.flush(&mut line);
                }
            }
        }
    }

    /// Emits the rest when the stream ends without a line break.
    pub fn flush(&mut self, mut line: impl FnMut(String)) {
        if !self.pending.is_empty() {
            line(printable(&String::from_utf8_lossy(&self.pending)));
            self.pending.clear();
        }
    }

    /// A valid character has at most four bytes. Longer runs are not text.
    fn ends_inside_a_character(&self) -> bool {
        let broken = std::str::from_utf8(&self.pending).err();
        broken.is_some_and(|e| e.error_len().is_none()) && self.pending.len() < LINE_MAX + 4
    }
}

/// Replaces escape sequences, which would act on every console that shows the line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            '\t' => out.push(' '),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Allows a burst and then a steady rate. Counts what it holds back.
pub struct Rate {
    tokens: f64,
    last: Instant,
    held_back: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    Yes,
    /// The line may pass. The number says how many lines were held back before it.
    After(u64),
    No,
}

const BURST: f64 = 200.0;
const PER_SECOND: f64 = 50.0;

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self { tokens: BURST, last: now, held_back: 0 }
    }

    pub fn pass(&mut self, now: Instant) -> Pass {
        let elapsed = now.duration_since(self.last);
        self.last = now;
        self.tokens = (self.tokens + elapsed.as_secs_f64() * PER_SECOND).min(BURST);
        if self.tokens < 1.0 {
            self.held_back += 1;
            return Pass::No;
        }
        self.tokens -= 1.0;
        match std::mem::take(&mut self.held_back) {
            0 => Pass::Yes,
            count => Pass::After(count),
        }
    }

    pub fn held_back(&self) -> u64 {
        self.held_back
    }
}

/// The last lines of both streams, for the report.
#[derive(Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    pub fn push(&mut self, line: &str) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).into()
    }
}

/// How long to wait for output after the action has ended. A process that escaped would keep the pipe open for ever.
pub const DRAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |l| found.push(l));
        }
        splitter.flush(|l| found.push(l));
        found
    }

    #[test]
    fn lines_do_not_depend_on_the_sizes_of_reads() {
        for (chunks, want) in [
            (vec![&b"one\ntw"[..], b"o\nthree"], vec!["one", "two", "three"]),
            (vec![b" 5%\r 10%\r\n"], vec![" 5%", " 10%"]),
            (vec![b"\xff\xfe\n"], vec!["\u{fffd}\u{fffd}"]),
            (vec![b"\xc3", b"\xbc\n"], vec!["ü"]),
            (vec![b"\x1b[31mred\x1b[0m\x07\n"], vec!["red?"]),
        ] {
            assert_eq!(lines(&chunks), want);
        }
    }

    #[test]
    fn an_endless_line_is_cut_between_characters() {
        let text = "ü".repeat(1000);
        let found = lines(&[text.as_bytes()]);
        assert!(found.len() > 1 && found.iter().all(|l| l.len() <= LINE_MAX + 4));
        assert_eq!(found.concat(), text);
        assert!(lines(&[&[0x80; 5000]]).len() >= 5, "bytes that are not text are cut, too");
    }

    #[test]
    fn a_flood_is_thinned_and_counted() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let passed = (0..1000).filter(|_| rate.pass(start) == Pass::Yes).count();
        assert_eq!((passed, rate.held_back()), (200, 800));
        assert_eq!(rate.pass(start + Duration::from_secs(1)), Pass::After(800));
        assert_eq!(rate.pass(start + Duration::from_secs(1)), Pass::Yes);
    }

    proptest::proptest! {
        #[test]
        fn chunks_never_change_the_lines(bytes: Vec<u8>, cut in 0usize..64) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            assert_eq!(lines(&[head, tail]), lines(&[&bytes]));
        }
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        (0..50).for_each(|n| tail.push(&n.to_string()));
        assert_eq!(tail.take().first().map(String::as_str), Some("30"));
    }
}
