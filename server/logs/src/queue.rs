//! Lines on their way to the disk. Each source has a share of memory and of the disk's time. What exceeds it is dropped, and
//! a line of the log says how many lines were.

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use api::{LogLine, LogStream};
use jiff::Timestamp;

use crate::source::Source;

/// The bytes a second that a source may write, and what it may write at once.
pub const RATE: usize = 1 << 20;
pub const BURST: usize = 4 << 20;
/// The most bytes that wait, of all sources.
const MOST: usize = 64 << 20;
/// What a line costs besides its texts.
const OVERHEAD: usize = 128;
/// How long lines are counted before the log says how many were dropped.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Queue {
    sources: HashMap<Source, Waiting>,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    lines: Vec<LogLine>,
    /// What it may still write, and when that was so.
    allowance: usize,
    at: Instant,
    dropped: Option<Dropped>,
}

#[derive(Debug, Clone, Copy)]
struct Dropped {
    lines: u64,
    first: Instant,
}

/// Lines of one source, in their order.
#[derive(Debug, PartialEq)]
pub struct Batch {
    pub source: Source,
    pub lines: Vec<LogLine>,
}

impl Queue {
    /// Takes the line, or drops it and counts it.
    pub fn push(&mut self, source: &Source, line: LogLine, now: Instant) {
        let Self { sources, bytes, .. } = self;
        match sources.get_mut(source) {
            Some(waiting) => waiting.push(line, bytes, now),
            None => {
                let mut waiting = Waiting::new(now);
                waiting.push(line, bytes, now);
                sources.insert(source.clone(), waiting);
            }
        }
    }

    /// Counts lines that were lost before they came here.
    pub fn lost(&mut self, source: &Source, lines: u64, now: Instant) {
        if lines > 0 {
            self.sources.entry(source.clone()).or_insert_with(|| Waiting::new(now)).count_dropped(lines, now);
        }
    }

    /// Everything that waits. Sources that have been quiet are forgotten.
    pub fn take(&mut self, now: Instant, time: Timestamp) -> Vec<Batch> {
        let (mut batches, closed) = (Vec::new(), self.closed);
        self.sources.retain(|source, waiting| {
            let mut lines = mem::take(&mut waiting.lines);
            if let Some(dropped) = waiting.dropped.take_if(|dropped| closed || now.duration_since(dropped.first) >= SILENCE) {
                lines.push(note(dropped.lines, time));
            }
            if !lines.is_empty() {
                batches.push(Batch { source: source.clone(), lines });
                return true;
            }
            waiting.refill(now);
            waiting.allowance < BURST || waiting.dropped.is_some()
        });
        self.bytes = 0;
        batches
    }

    /// Whether a line waits.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.bytes > 0
    }

    #[must_use]
    pub fn has(&self, source: &Source) -> bool {
        self.sources.get(source).is_some_and(|waiting| !waiting.lines.is_empty())
    }

    /// Nothing more comes.
    pub fn close(&mut self) {
        self.closed = true;
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a source is remembered, so `take` must be called again.
    #[must_use]
    pub fn remembers(&self) -> bool {
        !self.sources.is_empty()
    }
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self { lines: Vec::new(), allowance: BURST, at: now, dropped: None }
    }

    fn push(&mut self, line: LogLine, bytes: &mut usize, now: Instant) {
        let cost = cost(&line);
        self.refill(now);
        if *bytes + cost > MOST || self.allowance < cost {
            return self.count_dropped(1, now);
        }
        self.allowance -= cost;
        *bytes += cost;
        self.lines.push(line);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let earned = usize::try_from(passed).unwrap_or(BURST).saturating_mul(RATE) / 1000;
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(earned).min(BURST);
            self.at = now;
        }
    }

    fn count_dropped(&mut self, lines: u64, now: Instant) {
        let dropped = self.dropped.get_or_insert(Dropped { lines: 0, first: now });
        dropped.lines = dropped.lines.saturating_add(lines);
    }
}

fn cost(line: &LogLine) -> usize {
    OVERHEAD + line.text.len() + line.from.len() + line.action.len()
}

fn note(lines: u64, time: Timestamp) -> LogLine {
    let lines = if lines == 1 { "1 line was".to_owned() } else { format!("{lines} lines were") };
    let text = format!("({lines} dropped before this, because they came too fast)");
    LogLine { time, from: "thimble".to_owned(), action: String::new(), stream: LogStream::Note, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

    fn source(name: &str) -> Source {
        Source::Machine(name.to_owned())
    }

    fn line(length: usize) -> LogLine {
        LogLine { time: EPOCH, from: String::new(), action: String::new(), stream: LogStream::Stdout, text: "x".repeat(length) }
    }

    /// Bytes and notes of a source's batch.
    fn taken(batches: &[Batch], name: &str) -> (usize, Vec<String>) {
        let lines = batches.iter().filter(|batch| batch.source == source(name)).flat_map(|batch| &batch.lines);
        let (notes, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.stream == LogStream::Note);
        (lines.into_iter().map(cost).sum(), notes.into_iter().map(|note| note.text.clone()).collect())
    }

    #[test]
    fn a_flood_costs_its_own_source_lines_and_no_other() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        for _ in 0..100_000 {
            queue.push(&source("flood"), line(1000), start);
        }
        queue.push(&source("quiet"), line(10), start);
        let batches = queue.take(start + SILENCE, EPOCH);
        let (bytes, notes) = taken(&batches, "flood");
        assert!((BURST - 2000..=BURST).contains(&bytes), "{bytes}");
        let kept = bytes / cost(&line(1000));
        assert_eq!(notes, [format!("({} lines were dropped before this, because they came too fast)", 100_000 - kept)]);
        assert_eq!(taken(&batches, "quiet"), (cost(&line(10)), vec![]));
    }

    #[test]
    fn a_long_flood_writes_at_the_rate() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let (mut bytes, mut notes) = (0, 0);
        for millisecond in 0..10_000_u64 {
            let now = start + Duration::from_millis(millisecond);
            (0..10).for_each(|_| queue.push(&source("flood"), line(10_000), now)); // 100 MB/s
            let (more, noted) = taken(&queue.take(now, EPOCH), "flood");
            (bytes, notes) = (bytes + more, notes + noted.len());
        }
        assert!(bytes <= BURST + 10 * RATE && bytes > 9 * RATE, "{bytes}");
        assert!((8..=10).contains(&notes), "one note a second, not {notes}");
    }

    #[test]
    fn many_sources_together_have_a_limit() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for n in 0..100 {
            (0..2000).for_each(|_| queue.push(&source(&n.to_string()), line(1000), now));
        }
        assert!(queue.bytes <= MOST);
        let batches = queue.take(now + SILENCE, EPOCH);
        assert!(taken(&batches, "0").1.is_empty() && !taken(&batches, "99").1.is_empty());
    }

    #[test]
    fn the_end_writes_what_is_left_and_how_much_was_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(&source("m"), line(1), now);
        queue.lost(&source("m"), 1, now);
        queue.close();
        let batches = queue.take(now, EPOCH);
        assert_eq!(taken(&batches, "m").1, ["(1 line was dropped before this, because they came too fast)"]);
        assert!(!queue.has_work());
    }

    #[test]
    fn a_quiet_source_is_forgotten() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.push(&source("m"), line(1000), start);
        queue.take(start, EPOCH);
        queue.take(start, EPOCH);
        assert!(queue.remembers());
        queue.take(start + Duration::from_secs(1), EPOCH);
        assert!(!queue.remembers());
    }
}
