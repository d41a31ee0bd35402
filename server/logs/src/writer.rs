//! The thread that writes: a batch of what is queued, a short pause, the next batch. It keeps the files within their limits.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use machine::Chain;

use crate::Shared;
use crate::budget::{Limits, has_room, surplus};
use crate::index::Segment;
use crate::line::encode;
use crate::queue::{Batch, Queue};
use crate::source::Source;

/// Lines gather for this long, so that a flood costs few writes. A reader that follows gets them within it.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the writer looks for old segments while nothing comes, and for sources to forget.
const IDLE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(500);
/// A problem gets one line in this time.
const QUIET: Duration = Duration::from_secs(60);

pub fn run(shared: &Shared, limits: &Limits) {
    let mut writer = Writer { shared, limits, complained: None, unwritten: HashMap::new() };
    loop {
        let (batches, closed) = wait(shared);
        writer.write(batches, Timestamp::now());
        if closed {
            return;
        }
        let open = |queue: &mut Queue| !queue.is_closed();
        drop(shared.news.wait_timeout_while(shared.queue(), PAUSE, open));
    }
}

/// The next batches, once there are some or something else is due.
fn wait(shared: &Shared) -> (Vec<Batch>, bool) {
    let queue = shared.queue();
    let limit = if queue.remembers() { SOON } else { IDLE };
    let quiet = |queue: &mut Queue| !queue.has_work() && !queue.is_closed();
    let mut queue = match shared.news.wait_timeout_while(queue, limit, quiet) {
        Ok((queue, _)) => queue,
        Err(poisoned) => poisoned.into_inner().0,
    };
    let closed = queue.is_closed();
    (queue.take(Instant::now(), Timestamp::now()), closed)
}

struct Writer<'a> {
    shared: &'a Shared,
    limits: &'a Limits,
    complained: Option<Instant>,
    /// Lines that could not be written. Their sources' logs say so when they can be written again.
    unwritten: HashMap<Source, u64>,
}

impl Writer<'_> {
    fn write(&mut self, batches: Vec<Batch>, now: Timestamp) {
        let wrote = !batches.is_empty();
        for batch in batches {
            let (source, count) = (batch.source.clone(), batch.lines.len() as u64);
            match self.append(batch, now) {
                Ok(()) => {
                    if let Some(lines) = self.unwritten.remove(&source) {
                        self.shared.queue().lost(&source, lines, Instant::now());
                    }
                }
                Err(error) => {
                    *self.unwritten.entry(source).or_default() += count;
                    self.complain(&error);
                }
            }
        }
        self.remove_surplus(now);
        if wrote {
            self.shared.written.send_modify(|count| *count += 1);
        }
    }

    fn append(&self, batch: Batch, now: Timestamp) -> io::Result<()> {
        let last = self.last(&batch.source).map_or(0, |last| last.length);
        let mut room = self.limits.segment.saturating_sub(last);
        let mut bytes = Vec::new();
        for line in batch.lines {
            let before = bytes.len();
            encode(line, &mut bytes);
            if bytes.len() as u64 > room {
                let next = bytes.split_off(before);
                self.append_to_segment(&batch.source, &bytes, now)?;
                (bytes, room) = (next, self.limits.segment);
            }
        }
        self.append_to_segment(&batch.source, &bytes, now)
    }

    /// Writes to the last segment, or to a new one if they do not fit there.
    fn append_to_segment(&self, source: &Source, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if !has_room(self.limits, self.shared.folder.free()?, lines.len()) {
            let mib = self.limits.keep_free >> 20;
            return Err(io::Error::other(format!("the file system has less than {mib} MiB left, which are kept for the store")));
        }
        let last = self.last(source);
        let current = last.filter(|last| last.length + lines.len() as u64 <= self.limits.segment);
        let number = current.map_or_else(|| last.map_or(1, |last| last.number + 1), |segment| segment.number);
        let length = self.shared.folder.append(source, current, number, lines)?;
        self.shared.index().add(source, Segment { number, length, newest: now });
        Ok(())
    }

    fn last(&self, source: &Source) -> Option<Segment> {
        self.shared.index().segments(source).next_back()
    }

    fn remove_surplus(&mut self, now: Timestamp) {
        loop {
            let found = surplus(&self.shared.index(), self.limits, now);
            let Some((source, number)) = found else { return };
            if let Err(error) = self.shared.folder.remove(&source, number) {
                return self.complain(&error);
            }
            self.shared.index().remove(&source, number);
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|at| at.elapsed() >= QUIET) {
            self.complained = Some(Instant::now());
            log::error!("lines of machines are not kept: {}", Chain(error));
        }
    }
}
