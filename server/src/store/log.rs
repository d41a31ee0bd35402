//! The latest changes, kept in memory for watchers. A watcher that asks for older changes must list again.
//!
//! A watcher has no queue of its own: it reads on from here, so one that is slow holds no more than the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{KeyValue, StoreError};

/// Both are limits for all but the latest transaction, which is always kept whole.
const KEPT: usize = 8192;
const KEPT_BYTES: usize = 64 << 20;
/// What a watcher takes at once, and then up to the end of the transaction.
const AT_ONCE: usize = 64;

/// A change of one key. Without a pair the key was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    /// The revision of the last write of its transaction.
    pub whole: u64,
    pub key: String,
    pub pair: Option<Arc<KeyValue>>,
    /// What the key had before.
    pub previous: Option<Arc<KeyValue>>,
}

pub(super) struct Log {
    recent: Arc<Mutex<Recent>>,
    /// Counts the times that something was added. It is dropped with the store.
    added: watch::Sender<u64>,
}

struct Recent {
    changes: VecDeque<Kept>,
    /// Of keys and values.
    bytes: usize,
    /// The newest pair of each key in `changes`, so that the next change of the key shares it.
    latest: HashMap<String, Arc<KeyValue>>,
    /// Changes up to this revision are no longer kept.
    forgotten: u64,
}

struct Kept {
    change: Change,
    bytes: usize,
}

impl Recent {
    fn new(revision: u64) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, latest: HashMap::new(), forgotten: revision }
    }

    fn forget_oldest(&mut self) {
        let Some(Kept { change: oldest, bytes }) = self.changes.pop_front() else { return };
        self.bytes -= bytes;
        self.forgotten = oldest.revision;
        let is_oldest = |pair: &Arc<KeyValue>| oldest.pair.as_ref().is_some_and(|oldest| Arc::ptr_eq(oldest, pair));
        if self.latest.get(&oldest.key).is_some_and(is_oldest) {
            self.latest.remove(&oldest.key);
        }
    }

    fn add(&mut self, mut change: Change) {
        let latest = match &change.pair {
            Some(pair) => self.latest.insert(change.key.clone(), Arc::clone(pair)),
            None => self.latest.remove(&change.key),
        };
        let shares_previous = latest.is_some();
        if shares_previous {
            change.previous = latest;
        }
        let previous = if shares_previous { None } else { change.previous.as_ref() };
        let values: usize = change.pair.iter().chain(previous).map(|pair| pair.key.len() + pair.value.len()).sum();
        let bytes = values + change.key.len();
        self.bytes += bytes;
        self.changes.push_back(Kept { change, bytes });
    }

    /// Only the limits count here, so a transaction is added first and makes room then.
    fn make_room(&mut self) {
        let Some(latest) = self.changes.back().map(|kept| kept.change.whole) else { return };
        let is_latest = |kept: &Kept| kept.change.whole == latest;
        while (self.changes.len() > KEPT || self.bytes > KEPT_BYTES) && !self.changes.front().is_some_and(is_latest) {
            self.forget_oldest();
        }
    }

    fn after(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, StoreError> {
        if revision < self.forgotten {
            return Err(StoreError::Compacted { oldest: self.forgotten + 1 });
        }
        let first = self.changes.partition_point(|kept| kept.change.revision <= revision);
        Ok(self.changes.range(first..).map(|kept| &kept.change))
    }
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(super) fn new(revision: u64) -> Self {
        Self { recent: Arc::new(Mutex::new(Recent::new(revision))), added: watch::Sender::new(0) }
    }

    /// Adds the changes of one transaction, or of several.
    pub(super) fn append(&self, changes: Vec<Change>) {
        let mut recent = lock(&self.recent);
        changes.into_iter().for_each(|change| recent.add(change));
        recent.make_room();
        drop(recent);
        self.added.send_modify(|times| *times += 1);
    }

    /// Changes up to this revision have passed unseen: every watcher must list again.
    pub(super) fn lost(&self, revision: u64) {
        *lock(&self.recent) = Recent::new(revision);
        self.added.send_modify(|times| *times += 1);
    }

    pub(super) fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        let added = self.added.subscribe(); // first, so that nothing is added unnoticed
        let backlog = lock(&self.recent).after(after)?.cloned().collect();
        Ok(Watch { backlog, recent: Arc::clone(&self.recent), added, seen: after, whole: after })
    }
}

/// The changes in order. Dropping it ends the watch.
pub struct Watch {
    backlog: VecDeque<Change>,
    recent: Arc<Mutex<Recent>>,
    added: watch::Receiver<u64>,
    seen: u64,
    /// The end of the transaction of the latest change.
    whole: u64,
}

impl Watch {
    /// The next change, or `None` once the store is closed.
    ///
    /// # Errors
    /// `Compacted` if this watcher was too slow.
    pub async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        loop {
            if let Some(change) = self.backlog.pop_front() {
                (self.seen, self.whole) = (change.revision, change.whole);
                return Some(Ok(change));
            }
            match self.read_on() {
                Ok(()) if self.backlog.is_empty() => self.added.changed().await.ok()?,
                Ok(()) => {}
                Err(reason) => return Some(Err(reason)),
            }
        }
    }

    /// The store may have been listed at a later revision than its watchers have seen.
    fn read_on(&mut self) -> Result<(), StoreError> {
        let recent = lock(&self.recent);
        for change in recent.after(self.seen)? {
            if self.backlog.len() >= AT_ONCE && self.backlog.back().is_some_and(|last| last.whole != change.whole) {
                break;
            }
            self.backlog.push_back(change.clone());
        }
        Ok(())
    }

    /// The revision up to which this watcher has all changes.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The changes up to now, for whom later ones do not matter.
    #[must_use]
    pub fn into_backlog(self) -> VecDeque<Change> {
        self.backlog
    }

    /// The other changes of the transaction that the latest one is part of.
    pub fn rest(&mut self) -> Vec<Change> {
        let same = self.backlog.iter().take_while(|change| change.whole == self.whole).count();
        let rest: Vec<Change> = self.backlog.drain(..same).collect();
        self.seen = rest.last().map_or(self.seen, |change| change.revision);
        rest
    }
}
