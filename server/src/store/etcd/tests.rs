//! The engine with real members, of which some fail.

use etcd::cluster::{Cluster, LIMITS};

use super::*;

/// A member, or nothing and why.
pub fn single() -> Option<Cluster> {
    started(1, LIMITS)
}

fn started(count: usize, more: &[&str]) -> Option<Cluster> {
    Cluster::start(count, more).inspect_err(|reason| eprintln!("SKIPPED: {reason}")).ok()
}

pub async fn opened(cluster: &Cluster) -> Etcd {
    Etcd::open(&Settings { address: cluster.address("test"), tls: None }).await.unwrap()
}

fn put(key: &str, expected: u64, value: &str) -> Transaction {
    Transaction::default().put(key, expected, value.as_bytes().to_vec())
}

/// Adds one to a number, and returns what it wrote.
async fn count_up(store: &Etcd) -> Result<u64, StoreError> {
    let pair = store.get("/number").await?;
    let number = pair.as_ref().map_or(0, |pair| String::from_utf8_lossy(&pair.value).parse::<u64>().unwrap()) + 1;
    store.commit(put("/number", pair.map_or(0, |pair| pair.modified), &number.to_string())).await?;
    Ok(number)
}

/// Counts up from three tasks with a store each until `until` ends. Returns what each success wrote, and how often the outcome
/// was not known.
async fn counted_at(settings: &Settings, until: impl Future<Output = ()>) -> (Vec<u64>, usize) {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (store, stopped) = (Etcd::open(settings).await.unwrap(), stopped.clone());
        tasks.push(tokio::spawn(async move {
            let (mut written, mut unsure) = (Vec::new(), 0);
            while !*stopped.borrow() {
                match count_up(&store).await {
                    Ok(number) => written.push(number),
                    Err(StoreError::Unsure { .. }) => unsure += 1,
                    Err(StoreError::Conflict { .. } | StoreError::Etcd(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            (written, unsure)
        }));
    }
    until.await;
    stop.send_replace(true);
    let (mut written, mut unsure) = (Vec::new(), 0);
    for task in tasks {
        let (more, times) = task.await.unwrap();
        written.extend(more);
        unsure += times;
    }
    (written, unsure)
}

/// What a watch shows up to a number, which is known later.
async fn shown(mut changes: Watch, mut last: watch::Receiver<u64>) -> Vec<u64> {
    let mut shown = Vec::new();
    while *last.borrow() == 0 || shown.last() != Some(&*last.borrow()) {
        let change = tokio::select! {
            change = changes.next() => change.unwrap().unwrap(),
            _ = last.changed() => continue,
        };
        if change.key == "/number" {
            shown.push(String::from_utf8(change.pair.unwrap().value.clone()).unwrap().parse().unwrap());
        }
    }
    shown
}

/// Waits until a number has grown by so much, so that the work goes on between two faults.
async fn grows(store: &Etcd, by: u64) {
    let number =
        async || store.get("/number").await.ok()?.and_then(|pair| String::from_utf8(pair.value).ok()?.parse::<u64>().ok());
    let grown = async {
        let begin = loop {
            if let Some(number) = number().await {
                break number;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        while number().await.is_none_or(|number| number < begin + by) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), grown).await.expect("the work does not go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_are_killed_and_stand_still_lose_nothing_and_write_nothing_twice() {
    let Some(mut cluster) = started(3, LIMITS) else { return };
    let store = opened(&cluster).await;
    let (known, last) = watch::channel(0);
    let shown = tokio::spawn(shown(store.watch(store.list("/").await.unwrap().1).unwrap(), last));
    count_up(&store).await.unwrap();
    let address = Settings { address: cluster.address("test"), tls: None };
    let other = Etcd::open(&address).await.unwrap();
    let faults = async {
        for round in 0..2 {
            for member in 0..3 {
                grows(&other, 5).await;
                if round == 0 {
                    cluster.signal(member, "STOP").unwrap();
                    grows(&other, 5).await;
                    cluster.signal(member, "CONT").unwrap();
                } else {
                    cluster.kill(member);
                    grows(&other, 5).await;
                    cluster.start_again(member).unwrap();
                }
            }
        }
        grows(&other, 5).await;
    };
    let before = cluster_number(&store).await;
    let (mut written, unsure) = counted_at(&address, faults).await;
    let last = cluster_number(&store).await;
    written.sort_unstable();
    let twice = written.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(twice, 0, "two successes wrote the same number");
    let added = usize::try_from(last - before).unwrap();
    assert!(
        (written.len()..=written.len() + unsure).contains(&added),
        "{added} added, {} acknowledged, {unsure} unsure",
        written.len()
    );
    known.send_replace(last);
    let shown = tokio::time::timeout(Duration::from_secs(60), shown).await.expect("the watch stands still").unwrap();
    assert_eq!(shown, (1..=last).collect::<Vec<_>>(), "a watch shows each change once");
    eprintln!("{added} changes, {unsure} of unknown outcome");
}

async fn cluster_number(store: &Etcd) -> u64 {
    String::from_utf8(store.get("/number").await.unwrap().unwrap().value).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_still_on_its_way_after_a_lost_answer_has_no_effect() {
    let Some(cluster) = single() else { return };
    let store = opened(&cluster).await;
    let (fence, inner) = (store.0.fence.load(std::sync::atomic::Ordering::SeqCst), &store.0);
    let (late, origins) = (put("/a", 0, "late"), std::collections::HashMap::new());
    let late = inner.request(&late, &origins, fence, 99);
    assert!(inner.renew(fence).await.unwrap() > fence);
    let answer = inner.members.transact("commit", late).await.map_err(|(error, _)| error).unwrap();
    assert!(!answer.succeeded && store.get("/a").await.unwrap().is_none());
    let revision = store.commit(put("/a", 0, "again")).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap().unwrap().modified, revision, "later commits are not refused");
}

#[tokio::test]
async fn a_server_that_missed_compacted_changes_lists_again_and_goes_on() {
    let Some(cluster) = single() else { return };
    let settings = Settings { address: cluster.address("test"), tls: None };
    let (store, ends) = Etcd::connected(&settings).await.unwrap();
    let seen = *store.0.seen.borrow();
    let mut old = store.watch(0).unwrap();
    let other = opened(&cluster).await;
    let mut revision = 0;
    for _ in 0..10 {
        revision = other.commit(put("/a", revision, "x")).await.unwrap();
    }
    other.0.members.compact(written::parts(revision).0).await.unwrap();
    tokio::spawn(follow::follow(Arc::downgrade(&store.0), ends, seen));
    let lost = tokio::time::timeout(Duration::from_secs(20), old.next()).await.unwrap().unwrap();
    assert!(matches!(lost, Err(StoreError::Compacted { oldest }) if oldest == revision + 1), "{lost:?}");
    assert!(matches!(store.watch(revision - 1), Err(StoreError::Compacted { .. })));
    assert_eq!(store.get("/a").await.unwrap().unwrap().modified, revision);
    let (_, listed) = store.list("/").await.unwrap();
    let mut again = store.watch(listed).unwrap();
    let next = store.commit(put("/b", 0, "x")).await.unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().revision, next);
}

#[tokio::test]
async fn the_history_of_etcd_stays_short() {
    let Some(cluster) = single() else { return };
    let settings = Settings { address: cluster.address("test"), tls: None };
    let store = Etcd::compacting(&settings, Duration::from_millis(50)).await.unwrap();
    let first = store.commit(put("/a", 0, "x")).await.unwrap();
    let old = RangeRequest { revision: written::parts(first).0, ..one(store.0.keys.data("/a")) };
    let is_gone = async {
        let mut revision = first;
        while !store.0.members.range("read", &old).await.is_err_and(|error| error.is_compacted()) {
            revision = store.commit(put("/a", revision, "x")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_gone).await.unwrap();
    assert!(store.get("/a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_change_that_etcd_does_not_take_is_refused_with_what_to_set() {
    let Some(cluster) = started(1, &["--max-request-bytes=100000"]) else { return };
    let store = opened(&cluster).await;
    assert_eq!(store.most_writes(), USUAL - 1);
    let many = (0..USUAL).fold(Transaction::default(), |all, number| all.write(format!("/{number}"), Vec::new()));
    let refused = store.commit(many).await.unwrap_err().to_string();
    assert!(
        refused.contains("128 writes") && refused.contains("takes 127 at once") && refused.contains("--max-txn-ops=16384"),
        "{refused}"
    );
    let large = Transaction::default().put("/a", 0, vec![b'x'; 200_000]);
    let refused = store.commit(large).await.unwrap_err().to_string();
    assert!(refused.contains("--max-request-bytes=10485760") && refused.contains("127.0.0.1"), "{refused}");
    let most = (0..USUAL - 1).fold(Transaction::default(), |all, number| all.put(format!("/{number}"), 0, Vec::new()));
    store.commit(most).await.unwrap();
}

#[tokio::test]
async fn two_stores_are_one_and_see_each_others_changes() {
    let Some(cluster) = single() else { return };
    let (one, other) = (opened(&cluster).await, opened(&cluster).await);
    let mut watch = other.watch(other.list("/").await.unwrap().1).unwrap();
    let many = (0..2000).fold(Transaction::default(), |all, number| all.put(format!("/{number:04}"), 0, vec![b'x'; 100]));
    let last = one.commit(many).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().whole, last);
    assert_eq!((watch.rest().len(), other.revision().await.unwrap()), (1999, last));
    let (pairs, revision) = other.list("/").await.unwrap();
    assert_eq!((pairs.len(), revision), (2000, last));
    assert!(pairs.windows(2).all(|pair| pair[0].created < pair[1].created && pair[0].key < pair[1].key));
    // The other process overwrites what this one created, and the order of creation stays.
    let (old, expected) = (pairs[7].created, pairs[7].modified);
    other.commit(put("/0007", expected, "y")).await.unwrap();
    assert!(matches!(one.commit(put("/0007", expected, "z")).await, Err(StoreError::Conflict { .. })));
    let pair = one.get("/0007").await.unwrap().unwrap();
    assert_eq!((pair.created, pair.value.as_slice()), (old, &b"y"[..]));
    let elsewhere = Settings { address: cluster.address("test2"), tls: None };
    assert!(Etcd::open(&elsewhere).await.unwrap().list("").await.unwrap().0.is_empty(), "another prefix is another store");
}

#[tokio::test]
async fn keys_of_a_later_version_are_refused() {
    let Some(cluster) = single() else { return };
    let store = opened(&cluster).await;
    store.0.members.put("write", store.0.keys.format(), b"99".to_vec(), None).await.unwrap();
    let settings = Settings { address: cluster.address("test"), tls: None };
    let refused = Etcd::open(&settings).await.err().unwrap().to_string();
    assert!(refused.contains("/test/ have format 99") && refused.contains("formats up to 2"), "{refused}");
}

#[tokio::test]
async fn a_call_without_members_ends_and_names_them() {
    let Some(mut cluster) = single() else { return };
    let store = opened(&cluster).await;
    cluster.kill(0);
    let limit = Duration::from_secs(60);
    let read = tokio::time::timeout(limit, store.get("/a")).await.unwrap().unwrap_err().to_string();
    assert!(read.contains("127.0.0.1") && read.contains("are its members running"), "{read}");
    let commit = tokio::time::timeout(limit, store.commit(put("/a", 0, "1"))).await.unwrap().unwrap_err();
    assert!(matches!(&commit, StoreError::Unsure { .. }) && commit.to_string().contains("not known"), "{commit}");
    cluster.start_again(0).unwrap();
    store.commit(put("/b", 0, "1")).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_that_was_restored_by_hand_is_marked_by_the_line_of_the_docs() {
    let Some(cluster) = single() else { return };
    let store = opened(&cluster).await;
    let line = "0 -\n2026-01-31T12:00:00Z";
    let docs = include_str!("../../../../docs/scaling.md");
    assert!(docs.contains(&format!("'{}'", line.replace('\n', "\\n"))), "the docs have another line");
    store.0.members.put("write", store.0.keys.data("restored"), line.into(), None).await.unwrap();
    assert_eq!(store.get("restored").await.unwrap().unwrap().value, b"2026-01-31T12:00:00Z");
    crate::restored::hold(&store, jiff::Timestamp::now()).await.unwrap();
    assert_eq!(store.get("restored").await.unwrap(), None);
}
