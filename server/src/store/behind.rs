//! A store that several servers share, for tests. The watches of each one are behind it by some time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::log::Log;
use super::{Answer, Change, KeyValue, Store, StoreError, Transaction, Watch};

pub struct Behind {
    inner: Arc<dyn Store>,
    log: Arc<Log>,
}

impl Behind {
    pub async fn new(inner: Arc<dyn Store>, by: Duration) -> Self {
        let revision = inner.list("/").await.unwrap().1;
        let mut changes = inner.watch(revision).unwrap();
        let log = Arc::new(Log::new(revision));
        let (sender, mut delayed) = mpsc::unbounded_channel::<(Instant, Vec<Change>)>();
        tokio::spawn(async move {
            while let Some(Ok(change)) = changes.next().await {
                let transaction = std::iter::once(change).chain(changes.rest()).collect();
                if sender.send((Instant::now() + by, transaction)).is_err() {
                    return;
                }
            }
        });
        let later = Arc::downgrade(&log);
        tokio::spawn(async move {
            while let Some((due, transaction)) = delayed.recv().await {
                sleep_until(due).await;
                let Some(log) = later.upgrade() else { return };
                log.append(transaction);
            }
        });
        Self { inner, log }
    }
}

impl Store for Behind {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        self.inner.list(prefix)
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        self.inner.commit(transaction)
    }

    fn probe(&self) -> Answer<'_, ()> {
        self.inner.probe()
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.log.watch(after)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
