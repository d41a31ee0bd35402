//! The server's store: a revisioned key-value store with watch. Every engine has the same contract.
//!
//! Every write gets a greater revision than those before, and the writes of one transaction get consecutive ones in their order.
//! Between two transactions numbers may be left out. A write names the revision it was computed from, so a writer never
//! overwrites another one's change unseen. An acknowledged commit is durable.

#[cfg(test)]
pub(crate) mod behind;
#[cfg(test)]
mod conformance;
mod etcd;
mod log;
mod measured;
mod memory;
mod migration;
mod redb;
mod restore;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

pub use ::etcd::{Address as EtcdAddress, Tls as EtcdTls};

pub use self::etcd::{Etcd, Settings as EtcdSettings};
pub use self::log::{Change, Watch};
pub(crate) use self::measured::Measured;
pub use self::memory::Memory;
pub(crate) use self::migration::FORMAT;
pub use self::redb::Redb;
pub use self::redb::opening::remedy;
pub(crate) use self::restore::RESTORED;
pub use self::restore::{RestoreError, Restored, restore};

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A stored value. The revisions are those of its first and its latest write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Vec<u8>,
    pub created: u64,
    pub modified: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
}

impl Write {
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// A set of writes, all or none. A condition names the revision that its key must have. 0 means that the key must not
/// exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    pub conditions: Vec<(String, u64)>,
    pub writes: Vec<Write>,
}

impl Transaction {
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, expected: u64, value: Vec<u8>) -> Self {
        let key = key.into();
        self.conditions.push((key.clone(), expected));
        self.writes.push(Write::Put { key, value });
        self
    }

    /// Writes whatever the key has. Use it if another condition of the transaction guards the key. Such a key has no order by
    /// `created` among those that one transaction has made.
    #[must_use]
    pub fn write(mut self, key: impl Into<String>, value: Vec<u8>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value });
        self
    }

    /// Removes a key like `write`. A key that does not exist is not an error.
    #[must_use]
    pub fn remove(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// Adds a condition: the key must have this revision.
    #[must_use]
    pub fn when(mut self, key: impl Into<String>, expected: u64) -> Self {
        self.conditions.push((key.into(), expected));
        self
    }

    /// How many writes come after the one of a key: by so much its revision is before that of the commit.
    #[must_use]
    pub fn after(&self, key: &str) -> Option<u64> {
        self.writes.iter().rev().position(|write| write.key() == key).map(|after| after as u64)
    }

    /// Joins two transactions into one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.conditions.extend(other.conditions);
        self.writes.extend(other.writes);
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>, expected: u64) -> Self {
        let key = key.into();
        self.conditions.push((key.clone(), expected));
        self.writes.push(Write::Delete { key });
        self
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{key} was changed by another writer meanwhile; try again")]
    Conflict { key: String },
    #[error("changes before revision {oldest} are no longer kept; list again")]
    Compacted { oldest: u64 },
    #[error("the store {path} is in use by another process: does another `thimble up` or `thimble server` run here?")]
    InUse { path: PathBuf },
    #[error(
        "the store {path} has format {found}, and this version knows formats up to {known}; use the version that wrote it, or a later one"
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error("cannot open the store {path}{advice}")]
    Open {
        path: PathBuf,
        /// What to do, after a semicolon; empty if the cause says all.
        advice: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the store {path} is damaged, and nothing in it was changed: `thimble restore FILE --force` puts a backup in its place and keeps it"
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Etcd(#[from] ::etcd::CallError),
    #[error(
        "the keys of etcd below {prefix} have format {found}, and this version knows formats up to {known}: use a later version"
    )]
    NewerKeys { prefix: String, found: String, known: u64 },
    #[error(
        "it is not known whether the change was stored: etcd at {members} has not answered; look at the object before you try again"
    )]
    Unsure {
        members: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("this server has not seen for {seconds} s what is stored; another server of the site may answer")]
    Behind { seconds: u64 },
    #[error(
        "the change has {writes} writes, and etcd at {members} takes {most} at once: start each member with --max-txn-ops=16384, or \
         make the change in parts"
    )]
    TooMany { writes: usize, most: usize, members: String },
    #[error("the store failed to {doing}")]
    Failed {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub trait Store: Send + Sync {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>>;

    /// All pairs whose key starts with the prefix, by key, and the revision up to which they are complete.
    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)>;

    /// Commits and returns the revision of its last write. The commit happens or fails as a whole, even if the caller stops
    /// waiting.
    fn commit(&self, transaction: Transaction) -> Answer<'_, u64>;

    /// Writes something to the disk that no caller sees, to show that the store takes writes.
    fn probe(&self) -> Answer<'_, ()>;

    /// Every change after a revision, in order.
    fn watch(&self, after: u64) -> Result<Watch, StoreError>;

    /// Whether other processes write to it, too. Then watchers are behind the store for a moment.
    fn is_shared(&self) -> bool {
        false
    }

    /// The revision of the latest commit of any process.
    fn revision(&self) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.list("\0").await?.1) })
    }

    /// The most writes of one transaction.
    fn most_writes(&self) -> usize {
        usize::MAX
    }
}
