//! The logs of machines and workflows, as files below the data folder.
//!
//! `queue` takes lines and never waits: each source has a share, and what exceeds it is dropped and counted. One thread
//! writes what is queued in batches (`writer`). `budget` decides which segments are removed. `read` reads and follows.
//! The files are never read by the server to decide anything.

#![forbid(unsafe_code)]

mod budget;
mod folder;
mod index;
mod line;
mod queue;
mod read;
mod source;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use api::LogLine;
use jiff::Timestamp;
use tokio::sync::watch;

pub use budget::Limits;
pub use line::{MAX_TEXT, decode, encode, escaped, whole};
pub use queue::{BURST, Queue, RATE};
pub use read::Reader;
pub use source::Source;

use folder::Folder;
use index::Index;

/// The folder of the logs below the data folder. `access` keeps its audit log beside these.
pub const FOLDER: &str = "log";

#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the logs of machines", .path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The logs. Dropping it writes what is queued.
pub struct Logs {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What writer, readers and senders share.
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    news: Condvar,
    index: Mutex<Index>,
    /// Counts the batches written, for readers that follow.
    written: watch::Sender<u64>,
    folder: Folder,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    /// Opens the logs below this folder, which is made if it does not exist. This reads the names of all segments.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, OpenError> {
        let failed = |source| OpenError { path: folder.to_owned(), source };
        let folder = Folder::below(folder).map_err(failed)?;
        let index = folder.index().map_err(failed)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            news: Condvar::new(),
            index: Mutex::new(index),
            written: watch::Sender::new(0),
            folder,
        });
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("logs".to_owned()).spawn(move || writer::run(&writing, &limits));
        Ok(Self { shared, writer: Some(writer.map_err(failed)?) })
    }

    /// Queues lines of a source. It never waits for the disk. Lines beyond the source's share are dropped and counted.
    pub fn append(&self, source: &Source, lines: impl IntoIterator<Item = LogLine>) {
        let now = Instant::now();
        let mut queue = self.shared.queue();
        for line in lines {
            queue.push(source, line, now);
        }
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Counts lines that were lost before they came here.
    pub fn lost(&self, source: &Source, lines: u64) {
        self.shared.queue().lost(source, lines, Instant::now());
        self.shared.news.notify_one();
    }

    /// Whether there is a line of this source.
    #[must_use]
    pub fn has(&self, source: &Source) -> bool {
        self.shared.index().segments(source).next().is_some() || self.shared.queue().has(source)
    }

    /// The log of the latest Workflow of this name that said something.
    #[must_use]
    pub fn latest_of(&self, name: &str) -> Option<Source> {
        let begin = format!("{name}@");
        let revision = |source: &Source| match source {
            Source::Workflow(name) => name.strip_prefix(&begin).and_then(|revision| revision.parse::<u64>().ok()),
            Source::Machine(_) | Source::Unknown => None,
        };
        let index = self.shared.index();
        let found = index.workflows(&begin).filter_map(|source| Some((revision(source)?, source)));
        found.max_by_key(|(revision, _)| *revision).map(|(_, source)| source.clone())
    }

    /// The Workflows that have a line here: `NAMESPACE/NAME`, and the revision of the first write.
    #[must_use]
    pub fn workflows(&self) -> Vec<(String, u64)> {
        let index = self.shared.index();
        let split = |source: &Source| match source {
            Source::Workflow(name) => Some((name.rsplit_once('@')?.0.to_owned(), source.run())),
            Source::Machine(_) | Source::Unknown => None,
        };
        index.workflows("").filter_map(split).collect()
    }

    /// Reads from the first kept line, or from the first one at or after `since`.
    #[must_use]
    pub fn read(&self, source: Source, since: Option<Timestamp>) -> Reader {
        Reader::new(Arc::clone(&self.shared), source, since)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.queue().close();
        self.shared.news.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // it panicked, which the panic handler has reported
        }
    }
}
