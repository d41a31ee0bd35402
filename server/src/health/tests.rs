use std::future::{pending, ready};
use std::sync::atomic::{AtomicU8, Ordering};

use super::*;
use crate::service::Config;
use crate::store::{Answer, KeyValue, Memory, Store, Transaction, Watch};

const WELL: u8 = 0;
const SILENT: u8 = 1;
const READ_ONLY: u8 = 2;
const UNREADABLE: u8 = 3;

/// A store that works, hangs, or refuses.
#[derive(Default)]
struct Ailing {
    inner: Memory,
    mode: AtomicU8,
}

fn fails<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed { doing: "work", source: "the disk has gone".into() })
}

impl Store for Ailing {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        match self.mode.load(Ordering::SeqCst) {
            SILENT => Box::pin(pending()),
            UNREADABLE => Box::pin(ready(fails())),
            _ => self.inner.get(key),
        }
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        self.inner.list(prefix)
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        self.inner.commit(transaction)
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.inner.watch(after)
    }

    fn probe(&self) -> Answer<'_, ()> {
        if self.mode.load(Ordering::SeqCst) == READ_ONLY { Box::pin(ready(fails())) } else { self.inner.probe() }
    }
}

async fn server() -> (Server, Arc<Ailing>) {
    let store = Arc::new(Ailing::default());
    (Server::on(store.clone(), Config::default()).await.unwrap(), store)
}

#[tokio::test(start_paused = true)]
async fn a_probe_names_what_the_store_does_not_do() {
    for (mode, ill, unready) in [
        (WELL, &[][..], &[][..]),
        (SILENT, &["the store has not answered within 2 s"], &["the store has not answered within 2 s"]),
        (UNREADABLE, &["the store cannot be read"], &["the store cannot be read"]),
        (READ_ONLY, &[], &["the store cannot be written"]),
    ] {
        let (server, store) = server().await;
        store.mode.store(mode, Ordering::SeqCst);
        for (found, expected) in [(server.ill().await, ill), (server.unready().await, unready)] {
            let matches = found.len() == expected.len() && found.iter().zip(expected).all(|(one, start)| one.starts_with(start));
            assert!(matches, "mode {mode}: {found:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_written_for_a_probe_once_in_a_while() {
    let (server, store) = server().await;
    assert!(server.unready().await.is_empty());
    store.mode.store(READ_ONLY, Ordering::SeqCst);
    assert!(server.unready().await.is_empty(), "the answer is fresh");
    tokio::time::advance(FRESH).await;
    assert_eq!(server.unready().await.len(), 1);
    store.mode.store(WELL, Ordering::SeqCst);
    tokio::time::advance(FRESH).await;
    assert!(server.unready().await.is_empty(), "it works again");
}

#[tokio::test]
async fn a_server_is_ready_while_its_listeners_are_served_and_it_does_not_stop() {
    let (server, _) = server().await;
    server.expect(&["gRPC", "the API"]);
    assert_eq!(server.unready().await, ["gRPC is not served", "the API is not served"]);
    let (grpc, api) = (server.serving("gRPC"), server.serving("the API"));
    assert!(server.unready().await.is_empty());
    drop(api);
    assert_eq!(server.unready().await, ["the API is not served"]);
    let (_api, _grpc) = (server.serving("the API"), grpc);
    server.stop();
    assert_eq!(server.unready().await, ["the server is stopping"]);
    assert!(server.ill().await.is_empty(), "it lives");
}
