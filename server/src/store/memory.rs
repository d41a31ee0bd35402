//! The store for tests, and for checking files without a server. Nothing survives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::Log;
use super::{Answer, Change, KeyValue, Store, StoreError, Transaction, Watch, Write};

pub struct Memory {
    data: Mutex<Data>,
    log: Log,
}

#[derive(Default)]
struct Data {
    pairs: BTreeMap<String, Arc<KeyValue>>,
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

    fn transact(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let mut data = self.data();
        for (key, expected) in transaction.conditions {
            if data.pairs.get(&key).map_or(0, |pair| pair.modified) != expected {
                return Err(StoreError::Conflict { key });
            }
        }
        let (first, whole) = (data.revision + 1, data.revision + transaction.writes.len() as u64);
        data.revision = whole;
        let changes = (first..).zip(transaction.writes).map(|(revision, write)| data.write(write, revision, whole)).collect();
        self.log.append(changes); // under the lock, so that watchers see revisions in order
        Ok(whole)
    }
}

impl Data {
    fn write(&mut self, write: Write, revision: u64, whole: u64) -> Change {
        match write {
            Write::Put { key, value } => {
                let created = self.pairs.get(&key).map_or(revision, |pair| pair.created);
                let pair = Arc::new(KeyValue { key: key.clone(), value, created, modified: revision });
                let previous = self.pairs.insert(key.clone(), Arc::clone(&pair));
                Change { revision, whole, key, pair: Some(pair), previous }
            }
            Write::Delete { key } => {
                let previous = self.pairs.remove(&key);
                Change { revision, whole, key, pair: None, previous }
            }
        }
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        Box::pin(async move { Ok(self.data().pairs.get(key).map(|pair| KeyValue::clone(pair))) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        Box::pin(async move {
            let data = self.data();
            let found = data.pairs.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
            Ok((found.map(|(_, pair)| KeyValue::clone(pair)).collect(), data.revision))
        })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let done = self.transact(transaction);
        Box::pin(async move { done })
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.log.watch(after)
    }
}
