//! Reads the log of a source, segment by segment, and follows it.

use std::io;
use std::sync::Arc;

use api::LogLine;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::Shared;
use crate::index::Segment;
use crate::line::{decode, whole};
use crate::source::Source;

/// What is read of a file at once. Longer than any line.
const CHUNK: u64 = 256 << 10;

/// A place in the log of a source. It keeps no file open, so its segments may be removed meanwhile.
pub struct Reader {
    shared: Arc<Shared>,
    source: Source,
    since: Option<Timestamp>,
    /// Only lines of this action, and notes.
    action: Option<String>,
    segment: u64,
    offset: u64,
    written: watch::Receiver<u64>,
}

enum After {
    Nothing,
    More,
    Next(u64),
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, source: Source, since: Option<Timestamp>) -> Self {
        let written = shared.written.subscribe();
        Self { shared, source, since, action: None, segment: 0, offset: 0, written }
    }

    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Only what one action said.
    #[must_use]
    pub fn of_action(self, action: Option<String>) -> Self {
        Self { action, ..self }
    }

    /// The next lines, or none at the present end. It reads files, so an executor calls it on a thread for that.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<LogLine>> {
        self.written.mark_unchanged();
        loop {
            let Some(segment) = self.current() else { return Ok(Vec::new()) };
            let bytes = match self.shared.folder.read(&self.source, segment.number, self.offset, CHUNK) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.segment = segment.number + 1; // it was removed at this moment
                    self.offset = 0;
                    continue;
                }
                read => read?,
            };
            let whole = whole(&bytes);
            let passed = if whole == 0 && bytes.len() as u64 == CHUNK { bytes.len() } else { whole };
            if passed == 0 {
                match self.after(segment) {
                    After::Nothing => return Ok(Vec::new()),
                    After::More => {}
                    After::Next(number) => (self.segment, self.offset) = (number, 0),
                }
                continue;
            }
            self.offset += passed as u64;
            let lines = decode(bytes.get(..passed).unwrap_or_default());
            let found: Vec<LogLine> = lines.filter(|line| self.wants(line)).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The segment of the place. Segments before `since` are passed over.
    fn current(&mut self) -> Option<Segment> {
        let index = self.shared.index();
        let mut later = index.segments(&self.source).filter(|segment| segment.number >= self.segment);
        let found = match self.since {
            // The last one may get lines now.
            Some(since) => {
                let mut last = None;
                later
                    .find(|segment| {
                        last = Some(*segment);
                        segment.newest >= since
                    })
                    .or(last)
            }
            None => later.next(),
        };
        if let Some(segment) = found.filter(|segment| segment.number != self.segment) {
            (self.segment, self.offset) = (segment.number, 0);
        }
        found
    }

    /// What follows a segment that was read to its end. It was as long as this before.
    fn after(&self, segment: Segment) -> After {
        let index = self.shared.index();
        let later = || index.segments(&self.source).filter(|other| other.number >= segment.number);
        match later().find(|other| other.number > segment.number) {
            None => After::Nothing,
            // It was written to since, and then the next one was begun.
            Some(_) if later().any(|other| other.number == segment.number && other.length != segment.length) => After::More,
            Some(next) => After::Next(next.number),
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        let of_action = self.action.as_ref().is_none_or(|action| *action == line.action || line.stream == api::LogStream::Note);
        of_action && self.since.is_none_or(|since| line.time >= since)
    }

    /// Ends when something was written since the last `read`. Never ends after the logs were closed.
    pub async fn changed(&mut self) {
        if self.written.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
