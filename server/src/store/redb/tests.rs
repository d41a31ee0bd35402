//! A disk that fails in the middle of the work, and then works again.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::StorageBackend;

use super::*;

/// A disk in memory. It fails after this many calls, until it is mended.
#[derive(Debug, Clone)]
struct Disk {
    content: Arc<Mutex<Vec<u8>>>,
    calls: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
}

const MENDED: usize = usize::MAX / 2;

impl Disk {
    fn new() -> Self {
        Self { content: Arc::default(), calls: Arc::new(AtomicUsize::new(MENDED)), failed: Arc::default() }
    }

    fn fails_after(&self, calls: usize) {
        self.calls.store(calls, Ordering::SeqCst);
    }

    /// False if the disk did not fail.
    fn mend(&self) -> bool {
        self.calls.store(MENDED, Ordering::SeqCst);
        self.failed.swap(false, Ordering::SeqCst)
    }

    fn call(&self) -> io::Result<MutexGuard<'_, Vec<u8>>> {
        let left = self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| {
            self.failed.store(true, Ordering::SeqCst);
            io::Error::from(io::ErrorKind::StorageFull)
        })?;
        Ok(held(&self.content))
    }

    fn store(&self) -> Redb {
        let database = redb::Builder::new().create_with_backend(self.clone()).unwrap();
        let revision = opening::prepare(&database, super::super::migration::FORMAT).unwrap();
        let disk = self.clone();
        let reopen = move || redb::Builder::new().create_with_backend(disk.clone()).map_err(Cause::from);
        Redb::of(database, revision, Box::new(reopen))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.call()?.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (content, offset) = (self.call()?, usize::try_from(offset).unwrap());
        out.copy_from_slice(&content[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call()?.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call().map(drop)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut content, offset) = (self.call()?, usize::try_from(offset).unwrap());
        content[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(key: &str, expected: u64, size: usize) -> Transaction {
    Transaction::default().put(key, expected, vec![b'x'; size])
}

/// What watchers have received so far.
fn seen(store: &Redb) -> Vec<(u64, String)> {
    let mut watch = store.watch(0).unwrap();
    let mut next = || futures_util::FutureExt::now_or_never(watch.next())?;
    std::iter::from_fn(|| Some(next()?.unwrap())).map(|change| (change.revision, change.key)).collect()
}

#[tokio::test]
async fn a_disk_that_fails_at_any_call_loses_only_that_commit() {
    let mut calls = 0;
    loop {
        let disk = Disk::new();
        let store = disk.store();
        store.commit(put("/a", 0, 10)).await.unwrap();
        disk.fails_after(calls);
        let answer = store.commit(put("/b", 0, 100_000)).await;
        if !disk.mend() {
            assert_eq!(answer.unwrap(), 2);
            break;
        }
        assert!(matches!(answer, Err(StoreError::Failed { .. })), "call {calls}: {answer:?}");
        let (pairs, revision) = store.list("/").await.unwrap();
        let keys: Vec<&str> = pairs.iter().map(|pair| pair.key.as_str()).collect();
        let expected: &[&str] = if revision == 1 { &["/a"] } else { &["/a", "/b"] };
        assert_eq!(keys, expected, "call {calls}, revision {revision}");
        let shown: Vec<String> = seen(&store).into_iter().map(|(_, key)| key).collect();
        assert_eq!(shown, expected, "call {calls}: watchers have received what the store has");
        let next = store.commit(put("/c", 0, 10)).await.unwrap();
        assert_eq!((next, seen(&store).last().cloned()), (revision + 1, Some((next, "/c".to_owned()))), "call {calls}");
        calls += 1;
    }
    assert!(calls > 5, "{calls}");
}

#[tokio::test]
async fn every_call_fails_while_the_disk_fails_and_works_afterwards() {
    let disk = Disk::new();
    let store = disk.store();
    store.commit(put("/a", 0, 10)).await.unwrap();
    disk.fails_after(0);
    for number in 0..3 {
        assert!(store.commit(put(&format!("/b{number}"), 0, 10)).await.is_err());
        assert!(store.list("/").await.is_err());
    }
    disk.mend();
    assert_eq!(store.get("/a").await.unwrap().unwrap().value.len(), 10);
    assert_eq!(store.commit(put("/b", 0, 10)).await.unwrap(), 2);
}

#[tokio::test]
async fn commits_that_wait_go_to_the_disk_together_each_with_its_own_answer() {
    let store = Disk::new().store();
    store.commit(put("/a", 0, 1)).await.unwrap();
    let writer = held(&store.0.writer);
    let waiting: Vec<_> =
        [("/b", 0), ("/a", 0), ("/b", 2), ("/b", 0), ("/c", 0)].map(|(key, expected)| store.commit(put(key, expected, 1))).into();
    drop(writer);
    let answers = futures_util::future::join_all(waiting).await;
    let answers: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(ToString::to_string)).collect();
    let conflict = |key: &str| Err(StoreError::Conflict { key: key.to_owned() }.to_string());
    assert_eq!(answers, [Ok(&2), conflict("/a"), Ok(&3), conflict("/b"), Ok(&4)]);
    let keys: Vec<(u64, String)> = [(1, "/a"), (2, "/b"), (3, "/b"), (4, "/c")].map(|(n, key)| (n, key.to_owned())).into();
    assert_eq!(seen(&store), keys);
}
