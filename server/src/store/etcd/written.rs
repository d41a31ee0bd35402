//! How a store is laid out in etcd, and how its revisions follow from etcd's. Pure.
//!
//! etcd gives all writes of a transaction one revision. Ours is that revision, then 16 bits for the place of the write in its
//! transaction. The place stands in the first line of each value:
//!
//! | key | value |
//! |---|---|
//! | `/PREFIX/data/KEY` | `PLACE CREATED`, a line feed, then the value. CREATED is the place of the key's first write, or `-` |
//! | `/PREFIX/commit` | the record of the latest transaction. Each transaction writes it |
//! | `/PREFIX/format` | the format of the content |
//! | `/PREFIX/session/ID` | one for each process. Its transactions count only while it has the revision that they name |
//! | `/PREFIX/probe` | shows that etcd takes writes |

use std::collections::HashMap;
use std::sync::Arc;

use etcd::rpc;
use serde::{Deserialize, Serialize};

use super::super::{Change, KeyValue, Write};

const PLACE_BITS: u32 = 16;
/// The most writes of one transaction.
pub const MOST_WRITES: usize = 1 << PLACE_BITS;

/// Our revision of the write at this place of a transaction.
#[must_use]
pub fn revision(etcd: i64, place: u16) -> u64 {
    u64::try_from(etcd).unwrap_or(0) << PLACE_BITS | u64::from(place)
}

/// etcd's revision and the place.
#[must_use]
pub fn parts(revision: u64) -> (i64, u16) {
    let place = u16::try_from(revision & (MOST_WRITES as u64 - 1)).unwrap_or(0);
    (i64::try_from(revision >> PLACE_BITS).unwrap_or(0), place)
}

/// The keys of a prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    base: String,
    data: String,
}

impl Keys {
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { base: format!("/{prefix}/"), data: format!("/{prefix}/data/") }
    }

    /// All of them begin with this.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    #[must_use]
    pub fn data(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.data).into_bytes()
    }

    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        format!("{}commit", self.base).into_bytes()
    }

    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        format!("{}format", self.base).into_bytes()
    }

    #[must_use]
    pub fn probe(&self) -> Vec<u8> {
        format!("{}probe", self.base).into_bytes()
    }

    #[must_use]
    pub fn session(&self, id: &str) -> Vec<u8> {
        format!("{}session/{id}", self.base).into_bytes()
    }

    fn key(&self, key: &[u8]) -> Option<String> {
        str::from_utf8(key).ok()?.strip_prefix(&self.data).map(str::to_owned)
    }

    /// A stored pair, and where its first write stood in its transaction. `None` if another program wrote it.
    #[must_use]
    pub fn pair(&self, stored: rpc::KeyValue) -> Option<(KeyValue, Origin)> {
        let key = self.key(&stored.key)?;
        let (place, origin, begin) = head(&stored.value)?;
        let mut value = stored.value;
        value.drain(..begin);
        let created = revision(stored.create_revision, origin.unwrap_or(0));
        Some((KeyValue { key, value, created, modified: revision(stored.mod_revision, place) }, origin))
    }
}

/// The place of a key's first write. `None` if that write had no condition.
pub type Origin = Option<u16>;

/// What is known of the first write of a key that a transaction writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It is this transaction's.
    Here,
    Earlier(Origin),
}

/// A value as it is stored.
#[must_use]
pub fn value(place: u16, origin: Origin, value: &[u8]) -> Vec<u8> {
    let origin = origin.map_or_else(|| "-".to_owned(), |origin| origin.to_string());
    [format!("{place} {origin}\n").as_bytes(), value].concat()
}

/// The place, the origin, and where the value begins.
#[must_use]
pub fn head(stored: &[u8]) -> Option<(u16, Origin, usize)> {
    /// Two numbers of five digits.
    const LONGEST: usize = 12;
    let end = stored.iter().take(LONGEST).position(|byte| *byte == b'\n')?;
    let (place, origin) = str::from_utf8(stored.get(..end)?).ok()?.split_once(' ')?;
    let origin = if origin == "-" { None } else { Some(origin.parse().ok()?) };
    Some((place.parse().ok()?, origin, end + 1))
}

/// What a transaction leaves behind: who made it, how many writes it had, and the places of its deletions, which have no value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub session: String,
    pub id: u64,
    pub writes: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<(u16, String)>,
}

impl Record {
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The place of its last write.
    #[must_use]
    pub fn last(&self) -> u16 {
        u16::try_from(self.writes.saturating_sub(1)).unwrap_or(u16::MAX)
    }
}

/// What is written for a transaction. etcd refuses a key that is written twice, so the last write counts.
#[must_use]
pub fn operations(keys: &Keys, writes: &[Write], firsts: &HashMap<&str, First>, session: &str, id: u64) -> Vec<etcd::Op> {
    let last: HashMap<&str, usize> = writes.iter().enumerate().map(|(place, write)| (write.key(), place)).collect();
    let mut record = Record { session: session.to_owned(), id, writes: 0, deleted: Vec::new() };
    record.writes = u32::try_from(writes.len()).unwrap_or(u32::MAX);
    let mut operations = Vec::with_capacity(last.len() + 1);
    for (index, write) in writes.iter().enumerate().filter(|(index, write)| last.get(write.key()) == Some(index)) {
        let place = u16::try_from(index).unwrap_or(u16::MAX);
        match write {
            Write::Put { key, value: content } => {
                let origin = match firsts.get(key.as_str()) {
                    Some(First::Here) => Some(place),
                    Some(First::Earlier(origin)) => *origin,
                    None => None,
                };
                operations.push(etcd::put(keys.data(key), value(place, origin, content)));
            }
            Write::Delete { key } => {
                record.deleted.push((place, key.clone()));
                operations.push(etcd::delete(keys.data(key)));
            }
        }
    }
    operations.push(etcd::put(keys.record(), serde_json::to_vec(&record).unwrap_or_default()));
    operations
}

/// One revision of etcd below the prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub revision: i64,
    /// `None` if no store wrote it.
    pub record: Option<Record>,
    pub changes: Vec<Change>,
    /// Keys with the revisions of their writes.
    pub origins: Vec<(String, u64, Origin)>,
    /// Keys whose values another program wrote.
    pub foreign: Vec<String>,
}

/// The events of one revision as the changes of a transaction.
#[must_use]
pub fn moment(keys: &Keys, etcd: i64, events: Vec<rpc::Event>) -> Moment {
    let mut moment = Moment { revision: etcd, ..Moment::default() };
    let mut gone = Vec::new();
    for rpc::Event { kv, prev_kv } in events {
        let Some(stored) = kv else { continue };
        if stored.key == keys.record() {
            moment.record = Record::read(&stored.value);
            continue;
        }
        let Some(key) = keys.key(&stored.key) else { continue };
        let previous = prev_kv.and_then(|stored| keys.pair(stored)).map(|(pair, _)| Arc::new(pair));
        if stored.version == 0 {
            gone.push((key, previous));
            continue;
        }
        match keys.pair(stored) {
            Some((pair, origin)) => {
                moment.origins.push((key.clone(), pair.modified, origin));
                moment.changes.push(Change { revision: pair.modified, whole: 0, key, pair: Some(Arc::new(pair)), previous });
            }
            None => moment.foreign.push(key),
        }
    }
    // A deletion of what does not exist has no event.
    let mut gone: HashMap<String, _> = gone.into_iter().collect();
    let deleted = moment.record.iter().flat_map(|record| record.deleted.clone());
    for (place, key) in deleted {
        let previous = gone.remove(&key).flatten();
        moment.changes.push(Change { revision: revision(etcd, place), whole: 0, key, pair: None, previous });
    }
    for (place, (key, previous)) in (0_u16..).zip(gone) {
        moment.changes.push(Change { revision: revision(etcd, place), whole: 0, key, pair: None, previous });
    }
    moment.changes.sort_by_key(|change| change.revision);
    let last =
        moment.record.as_ref().map_or_else(|| moment.changes.last().map_or(0, |change| parts(change.revision).1), Record::last);
    moment.changes.iter_mut().for_each(|change| change.whole = revision(etcd, last));
    moment
}

/// The events of a watch, by revision.
#[must_use]
pub fn moments(keys: &Keys, events: Vec<rpc::Event>) -> Vec<Moment> {
    let revision_of = |event: &rpc::Event| event.kv.as_ref().map_or(0, |stored| stored.mod_revision);
    let mut moments = Vec::new();
    let mut events = events.into_iter().peekable();
    while let Some(first) = events.next() {
        let (etcd, mut together) = (revision_of(&first), vec![first]);
        while let Some(event) = events.next_if(|event| revision_of(event) == etcd) {
            together.push(event);
        }
        moments.push(moment(keys, etcd, together));
    }
    moments
}

#[cfg(test)]
mod tests;
