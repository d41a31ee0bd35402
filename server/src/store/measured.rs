//! A store whose commits are timed and counted, and whose readers are few at once: a read of a disk that stands still keeps its
//! thread, and files and scripts of machines that boot need threads, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::{Answer, KeyValue, Store, StoreError, Transaction, Watch};
use crate::metrics::Commits;

pub(crate) struct Measured {
    inner: Arc<dyn Store>,
    commits: Arc<Commits>,
    readers: Semaphore,
}

/// How many read at once. The executor has 512 threads for calls that block. Commits wait in a queue of their own.
const READERS: usize = 64;

impl Measured {
    pub fn new(inner: Arc<dyn Store>, commits: Arc<Commits>) -> Self {
        Self { inner, commits, readers: Semaphore::new(READERS) }
    }
}

impl Store for Measured {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        Box::pin(async move {
            let _turn = self.readers.acquire().await; // an error means that it is closed, which it never is
            self.inner.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        Box::pin(async move {
            let _turn = self.readers.acquire().await;
            self.inner.list(prefix).await
        })
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

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn revision(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let _turn = self.readers.acquire().await;
            self.inner.revision().await
        })
    }

    fn most_writes(&self) -> usize {
        self.inner.most_writes()
    }
}
