//! The latest changes, kept in memory for watchers. A watcher that asks for older changes must list again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{KeyValue, StoreError};

const KEPT: usize = 4096;

/// A change of one key. Without a pair the key was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub key: String,
    pub pair: Option<Arc<KeyValue>>,
}

pub(super) struct Log {
    recent: Mutex<Recent>,
    /// Each message is one transaction, so a reader of one change also gets the others.
    sender: broadcast::Sender<Arc<[Change]>>,
}

struct Recent {
    changes: VecDeque<Change>,
    /// Changes up to this revision are no longer kept.
    forgotten: u64,
}

impl Log {
    pub(super) fn new(revision: u64) -> Self {
        let recent = Recent { changes: VecDeque::new(), forgotten: revision };
        Self { recent: Mutex::new(recent), sender: broadcast::channel(KEPT).0 }
    }

    pub(super) fn append(&self, changes: Vec<Change>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for change in &changes {
            if recent.changes.len() == KEPT {
                recent.forgotten = recent.changes.pop_front().map_or(recent.forgotten, |oldest| oldest.revision);
            }
            recent.changes.push_back(change.clone());
        }
        let _ = self.sender.send(changes.into()); // an error only means that no watcher listens
    }

    pub(super) fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if after < recent.forgotten {
            return Err(StoreError::Compacted { oldest: recent.forgotten + 1 });
        }
        let backlog = recent.changes.iter().filter(|change| change.revision > after).cloned().collect();
        Ok(Watch { backlog, receiver: self.sender.subscribe(), seen: after })
    }
}

/// The changes in order. Dropping it ends the watch.
pub struct Watch {
    backlog: VecDeque<Change>,
    receiver: broadcast::Receiver<Arc<[Change]>>,
    seen: u64,
}

impl Watch {
    /// The next change, or `None` once the store is closed.
    ///
    /// # Errors
    /// `Compacted` if this watcher was too slow.
    pub async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        loop {
            if let Some(change) = self.backlog.pop_front() {
                self.seen = change.revision;
                return Some(Ok(change));
            }
            match self.receiver.recv().await {
                Ok(transaction) => self.backlog.extend(transaction.iter().cloned()),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(_)) => return Some(Err(StoreError::Compacted { oldest: self.seen + 1 })),
            }
        }
    }

    /// The other changes of the transaction that the latest one is part of.
    pub fn rest(&mut self) -> Vec<Change> {
        let same = self.backlog.iter().take_while(|change| change.revision == self.seen).count();
        self.backlog.drain(..same).collect()
    }
}
