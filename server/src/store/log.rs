//! The latest changes, kept in memory for watchers. A watcher that asks for older changes must list again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{KeyValue, StoreError};

const KEPT: usize = 4096;

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
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Message>,
}

#[derive(Debug, Clone)]
enum Message {
    /// One transaction, so a reader of one change also gets the others.
    Changes(Arc<[Change]>),
    /// Changes up to this revision are not known.
    Lost(u64),
}

struct Recent {
    changes: VecDeque<Change>,
    /// The newest pair of each key in `changes`, so that the next change of the key shares it.
    latest: HashMap<String, Arc<KeyValue>>,
    /// Changes up to this revision are no longer kept.
    forgotten: u64,
}

impl Recent {
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.changes.pop_front() else { return };
        self.forgotten = oldest.revision;
        let is_oldest = |pair: &Arc<KeyValue>| oldest.pair.as_ref().is_some_and(|oldest| Arc::ptr_eq(oldest, pair));
        if self.latest.get(&oldest.key).is_some_and(is_oldest) {
            self.latest.remove(&oldest.key);
        }
    }

    fn add(&mut self, change: &mut Change) {
        let latest = match &change.pair {
            Some(pair) => self.latest.insert(change.key.clone(), Arc::clone(pair)),
            None => self.latest.remove(&change.key),
        };
        if latest.is_some() {
            change.previous = latest;
        }
        self.changes.push_back(change.clone());
    }
}

impl Log {
    pub(super) fn new(revision: u64) -> Self {
        let recent = Recent { changes: VecDeque::new(), latest: HashMap::new(), forgotten: revision };
        Self { recent: Mutex::new(recent), sender: broadcast::channel(KEPT).0 }
    }

    pub(super) fn append(&self, mut changes: Vec<Change>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for change in &mut changes {
            if recent.changes.len() == KEPT {
                recent.forget_oldest();
            }
            recent.add(change);
        }
        let _ = self.sender.send(Message::Changes(changes.into())); // an error only means that no watcher listens
    }

    /// Changes up to this revision have passed unseen: every watcher must list again.
    pub(super) fn lost(&self, revision: u64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        *recent = Recent { changes: VecDeque::new(), latest: HashMap::new(), forgotten: revision };
        let _ = self.sender.send(Message::Lost(revision)); // an error only means that no watcher listens
    }

    pub(super) fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if after < recent.forgotten {
            return Err(StoreError::Compacted { oldest: recent.forgotten + 1 });
        }
        let backlog = recent.changes.iter().filter(|change| change.revision > after).cloned().collect();
        Ok(Watch { backlog, receiver: self.sender.subscribe(), seen: after, whole: after })
    }
}

/// The changes in order. Dropping it ends the watch.
pub struct Watch {
    backlog: VecDeque<Change>,
    receiver: broadcast::Receiver<Message>,
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
            match self.receiver.recv().await {
                // The store may have been listed at a later revision than its watchers have seen.
                Ok(Message::Changes(changes)) => {
                    self.backlog.extend(changes.iter().filter(|change| change.revision > self.seen).cloned());
                }
                Ok(Message::Lost(revision)) if revision <= self.seen => {}
                Ok(Message::Lost(revision)) => return Some(Err(StoreError::Compacted { oldest: revision + 1 })),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => return Some(Err(StoreError::Compacted { oldest: self.seen + 1 })),
            }
        }
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
