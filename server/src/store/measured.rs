//! A store whose commits are timed and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Answer, KeyValue, Store, StoreError, Transaction, Watch};
use crate::metrics::Commits;

pub(crate) struct Measured {
    pub inner: Arc<dyn Store>,
    pub commits: Arc<Commits>,
}

impl Store for Measured {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        self.inner.list(prefix)
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let begun = Instant::now();
        let done = self.inner.commit(transaction);
        Box::pin(async move {
            let done = done.await;
            match &done {
                Ok(_) => self.commits.took.add("", begun.elapsed()),
                // Another writer was faster; the caller tries again.
                Err(StoreError::Conflict { .. }) => {}
                Err(_) => {
                    self.commits.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
            done
        })
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.inner.watch(after)
    }

    fn probe(&self) -> Answer<'_, ()> {
        self.inner.probe()
    }
}
