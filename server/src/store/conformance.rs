//! What every engine must do. Each test runs against every engine.

use std::future::Future;
use std::sync::Arc;

use super::etcd::tests::{opened, single};
use super::{Memory, Redb, Store, StoreError, Transaction};

async fn each<F: Future<Output = ()>>(check: impl Fn(Arc<dyn Store>) -> F) {
    check(Arc::new(Memory::default())).await;
    let folder = tempfile::tempdir().unwrap();
    check(Arc::new(Redb::open(&folder.path().join("deep/store.redb")).unwrap())).await;
    if let Some(cluster) = single() {
        check(Arc::new(opened(&cluster).await)).await;
    }
}

fn put(key: &str, expected: u64, value: &str) -> Transaction {
    Transaction::default().put(key, expected, value.as_bytes().to_vec())
}

#[tokio::test]
async fn a_value_has_its_first_and_its_latest_revision() {
    each(|store| async move {
        assert_eq!(store.get("/a").await.unwrap(), None);
        let first = store.commit(put("/a", 0, "1")).await.unwrap();
        let second = store.commit(put("/a", first, "2")).await.unwrap();
        let pair = store.get("/a").await.unwrap().unwrap();
        assert_eq!((pair.value.as_slice(), pair.created, pair.modified), (b"2".as_slice(), first, second));
        assert!(second > first);
    })
    .await;
}

#[tokio::test]
async fn a_write_from_an_old_view_is_refused() {
    each(|store| async move {
        let first = store.commit(put("/a", 0, "1")).await.unwrap();
        for stale in [0, first + 1] {
            let refused = store.commit(put("/a", stale, "x")).await;
            assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "/a"));
        }
        assert_eq!(store.get("/a").await.unwrap().unwrap().value, b"1");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_happens_as_a_whole_or_not_at_all() {
    each(|store| async move {
        let first = store.commit(put("/a", 0, "1").put("/b", 0, b"1".to_vec())).await.unwrap();
        assert!(store.commit(put("/c", 0, "1").put("/a", 0, b"2".to_vec())).await.is_err());
        assert_eq!(store.get("/c").await.unwrap(), None);
        let second = store.commit(put("/a", first - 1, "2").delete("/b", first)).await.unwrap();
        let (pairs, revision) = store.list("/").await.unwrap();
        assert_eq!(pairs.iter().map(|pair| (pair.key.as_str(), pair.modified)).collect::<Vec<_>>(), [("/a", second - 1)]);
        assert_eq!(revision, second);
    })
    .await;
}

#[tokio::test]
async fn a_condition_on_another_key_refuses_the_write() {
    each(|store| async move {
        let first = store.commit(put("/a", 0, "1")).await.unwrap();
        let refused = store.commit(put("/b", 0, "1").when("/a", first + 1)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "/a"));
        assert_eq!(store.get("/b").await.unwrap(), None);
        store.commit(put("/b", 0, "1").and(put("/c", 0, "1")).when("/a", first)).await.unwrap();
        assert!(store.get("/c").await.unwrap().is_some());
        assert_eq!(store.get("/a").await.unwrap().unwrap().modified, first, "a condition writes nothing");
    })
    .await;
}

#[tokio::test]
async fn a_prefix_lists_its_keys_in_order() {
    each(|store| async move {
        for key in ["/w/b", "/w/a", "/wx", "/v/z"] {
            store.commit(put(key, 0, key)).await.unwrap();
        }
        let (pairs, _) = store.list("/w/").await.unwrap();
        assert_eq!(pairs.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), ["/w/a", "/w/b"]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_sees_every_change_after_its_revision_in_order() {
    each(|store| async move {
        let first = store.commit(put("/a", 0, "1")).await.unwrap();
        let second = store.commit(put("/a", first, "2")).await.unwrap();
        let mut watch = store.watch(first).unwrap();
        let third = store.commit(Transaction::default().delete("/a", second)).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let change = watch.next().await.unwrap().unwrap();
            seen.push((change.revision, change.pair.map(|pair| pair.value.clone())));
        }
        assert_eq!(seen, [(second, Some(b"2".to_vec())), (third, None)]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_gets_a_transaction_whole() {
    each(|store| async move {
        for after_the_fact in [false, true] {
            let (_, revision) = store.list("/").await.unwrap();
            let early = store.watch(revision).unwrap();
            let first = put(&format!("/{after_the_fact}/a"), 0, "1").put(format!("/{after_the_fact}/b"), 0, b"1".to_vec());
            store.commit(first).await.unwrap();
            store.commit(put(&format!("/{after_the_fact}/c"), 0, "1")).await.unwrap();
            let mut watch = if after_the_fact { store.watch(revision).unwrap() } else { early };
            for keys in [&["a", "b"][..], &["c"]] {
                let mut changes = vec![watch.next().await.unwrap().unwrap()];
                changes.extend(watch.rest());
                let seen: Vec<_> = changes.iter().filter_map(|change| change.key.rsplit('/').next()).collect();
                assert_eq!(seen, keys);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn each_write_of_a_transaction_has_a_revision_of_its_own_and_a_watch_can_begin_between_them() {
    each(|store| async move {
        let all = put("/a", 0, "1").put("/b", 0, b"1".to_vec()).put("/c", 0, b"1".to_vec());
        let after = ["/a", "/b", "/c", "/d"].map(|key| all.after(key));
        let last = store.commit(all).await.unwrap();
        assert_eq!(after, [Some(2), Some(1), Some(0), None]);
        for (key, after) in ["/a", "/b", "/c"].into_iter().zip(after) {
            assert_eq!(Some(store.get(key).await.unwrap().unwrap().modified), after.map(|after| last - after), "{key}");
        }
        assert_eq!(store.list("/").await.unwrap().1, last);
        for (from, expected) in [(last - 3, 3), (last - 2, 2), (last - 1, 1)] {
            let mut watch = store.watch(from).unwrap();
            let mut seen = vec![watch.next().await.unwrap().unwrap()];
            seen.extend(watch.rest());
            assert_eq!((seen.len(), watch.seen()), (expected, last), "what is left of the transaction, whole");
            assert!(seen.iter().all(|change| change.whole == last));
        }
    })
    .await;
}

#[tokio::test]
async fn what_one_transaction_creates_keeps_its_order_by_the_first_revision() {
    each(|store| async move {
        let last = store.commit(put("/b", 0, "1").put("/a", 0, b"1".to_vec()).put("/c", 0, b"1".to_vec())).await.unwrap();
        store.commit(put("/b", last - 2, "2").write("/x", Vec::new()).put("/c", last, b"2".to_vec())).await.unwrap();
        let (mut pairs, _) = store.list("/").await.unwrap();
        pairs.retain(|pair| pair.key != "/x");
        pairs.sort_by_key(|pair| pair.created);
        assert_eq!(pairs.iter().map(|pair| pair.key.as_str()).collect::<Vec<_>>(), ["/b", "/a", "/c"]);
        assert_eq!(pairs.iter().map(|pair| pair.created).collect::<Vec<_>>(), [last - 2, last - 1, last]);
    })
    .await;
}

#[tokio::test]
async fn a_new_key_has_the_revision_of_its_own_write_as_its_first_one_wherever_it_stands() {
    each(|store| async move {
        let other = store.commit(put("/other", 0, "1")).await.unwrap();
        let all = Transaction::default().when("/other", other).write("/history", Vec::new()).put("/a", 0, Vec::new());
        let all = all.when("/missing", 0).write("/more", Vec::new()).put("/b", 0, Vec::new()).remove("/gone");
        let after = ["/a", "/b"].map(|key| all.after(key).unwrap());
        let last = store.commit(all).await.unwrap();
        for (key, after) in ["/a", "/b"].into_iter().zip(after) {
            let pair = store.get(key).await.unwrap().unwrap();
            assert_eq!((pair.created, pair.modified), (last - after, last - after), "{key}");
            store.commit(put(key, pair.modified, "2")).await.unwrap();
            assert_eq!(store.get(key).await.unwrap().unwrap().created, last - after, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_deleted_is_new_when_it_comes_again() {
    each(|store| async move {
        let first = store.commit(put("/a", 0, "1")).await.unwrap();
        let gone = store.commit(Transaction::default().delete("/a", first).remove("/never")).await.unwrap();
        assert!(gone > first && store.get("/a").await.unwrap().is_none());
        let again = store.commit(put("/a", 0, "2")).await.unwrap();
        assert_eq!(store.get("/a").await.unwrap().map(|pair| (pair.created, pair.modified)), Some((again, again)));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_written_twice_in_a_transaction_has_the_latter_value() {
    each(|store| async move {
        let last = store.commit(put("/a", 0, "1").write("/b", b"1".to_vec()).write("/a", b"2".to_vec())).await.unwrap();
        let pair = store.get("/a").await.unwrap().unwrap();
        assert_eq!((pair.value.as_slice(), pair.modified), (b"2".as_slice(), last));
        let last = store.commit(Transaction::default().write("/c", b"1".to_vec()).remove("/c")).await.unwrap();
        assert_eq!((store.get("/c").await.unwrap(), store.revision().await.unwrap()), (None, last));
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_begins_after_a_list_shows_nothing_from_before() {
    each(|store| async move {
        for number in 0..20 {
            store.commit(Transaction::default().write(format!("/{number}"), Vec::new())).await.unwrap();
            let (pairs, revision) = store.list("/").await.unwrap();
            assert_eq!(pairs.len(), number + 1);
            let mut watch = store.watch(revision).unwrap();
            let next = store.commit(Transaction::default().write("/next", Vec::new()).remove("/next")).await.unwrap();
            assert_eq!(watch.next().await.unwrap().unwrap().whole, next);
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_from_too_long_ago_must_list_again() {
    let store = Memory::default();
    for revision in 0..9000 {
        store.commit(put("/a", revision, "x")).await.unwrap();
    }
    assert!(matches!(store.watch(0), Err(StoreError::Compacted { .. })));
    assert!(store.watch(8999).is_ok());
}

#[tokio::test]
async fn large_values_are_not_kept_for_a_watcher_that_does_not_read() {
    let store = Memory::default();
    let mut slow = store.watch(0).unwrap();
    let value = vec![7_u8; 1 << 20];
    for number in 0..80 {
        store.commit(Transaction::default().write(format!("/{number}"), value.clone())).await.unwrap();
    }
    let Some(Err(StoreError::Compacted { oldest })) = slow.next().await else { panic!("it was kept for the slow watcher") };
    let kept = 80 - (oldest - 1);
    assert!((60..=64).contains(&kept), "{kept} of 1 MiB are kept");
}

#[tokio::test]
async fn a_transaction_above_every_limit_arrives_whole() {
    let store = Memory::default();
    let mut watch = store.watch(0).unwrap();
    let all = (0..20_000).fold(Transaction::default(), |all, number| all.write(format!("/{number}"), vec![7_u8; 8 << 10]));
    let last = store.commit(all).await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!((first.revision, watch.rest().len(), watch.seen()), (1, 19_999, last));
    store.commit(put("/next", 0, "1")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().key, "/next");
}

#[tokio::test]
async fn of_many_writers_exactly_one_wins_each_round() {
    each(|store| async move {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.commit(put("/a", 0, "x")).await.is_ok() })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            won += usize::from(racer.await.unwrap());
        }
        assert_eq!(won, 1);
    })
    .await;
}

#[tokio::test]
async fn the_file_keeps_everything_over_a_restart_and_admits_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Redb::open(&path).unwrap();
    let revision = store.commit(put("/a", 0, "1")).await.unwrap();
    assert!(matches!(Redb::open(&path), Err(StoreError::InUse { .. })));
    drop(store);
    let store = Redb::open(&path).unwrap();
    assert_eq!(store.get("/a").await.unwrap().unwrap().modified, revision);
    assert!(store.commit(put("/b", 0, "2")).await.unwrap() > revision);
    assert!(matches!(store.watch(0), Err(StoreError::Compacted { .. })));
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, vec![7_u8; 8192]).unwrap();
    let refused = Redb::open(&path).err().unwrap();
    assert!(refused.to_string().contains("store.redb"), "{refused}");
}
