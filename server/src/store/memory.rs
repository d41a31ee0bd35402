//! The store for tests and for checking files without a server: nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::Log;
use super::{Answer, Change, Entry, Store, StoreError, Transaction, Watch, Write};

pub struct Memory {
    data: Mutex<Data>,
    log: Log,
}

#[derive(Default)]
struct Data {
    entries: BTreeMap<String, Arc<Entry>>,
    revision: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { data: Mutex::default(), log: Log::new(0) }
    }
}

impl Memory {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let mut data = self.data();
        for (key, expected) in transaction.conditions {
            if data.entries.get(&key).map_or(0, |entry| entry.modified) != expected {
                return Err(StoreError::Conflict { key });
            }
        }
        data.revision += 1;
        let revision = data.revision;
        let changes = transaction.writes.into_iter().map(|write| data.write(write, revision)).collect();
        self.log.append(changes); // still under the lock: watchers see revisions in order
        Ok(revision)
    }
}

impl Data {
    fn write(&mut self, write: Write, revision: u64) -> Change {
        match write {
            Write::Put { key, value } => {
                let created = self.entries.get(&key).map_or(revision, |entry| entry.created);
                let entry = Arc::new(Entry { key: key.clone(), value, created, modified: revision });
                self.entries.insert(key.clone(), Arc::clone(&entry));
                Change { revision, key, entry: Some(entry) }
            }
            Write::Delete { key } => {
                self.entries.remove(&key);
                Change { revision, key, entry: None }
            }
        }
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move { Ok(self.data().entries.get(key).map(|entry| Entry::clone(entry))) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<Entry>, u64)> {
        Box::pin(async move {
            let data = self.data();
            let found = data.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            Ok((found.map(|(_, entry)| Entry::clone(entry)).collect(), data.revision))
        })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let done = self.apply(transaction);
        Box::pin(async move { done })
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.log.watch(after)
    }
}
