//! The store of a site with several servers: etcd, of which any number of processes are clients.
//!
//! | our contract | in etcd |
//! |---|---|
//! | a revision for each write | etcd's revision of the transaction, then the place in it (`written`) |
//! | conditions | comparisons of one etcd transaction, which says which one failed |
//! | a commit whose answer was lost | the process's session key gets a new revision, so what is still on its way has no effect; then the watch shows whether it happened |
//! | a watch without gaps | it goes on after the latest revision at another member; if etcd has compacted that, every watcher lists again |

mod commit;
mod follow;
mod origins;
mod outcomes;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use etcd::rpc::{RangeRequest, TxnRequest};
use etcd::{Address, Members, Tls};
use log::{info, warn};
use tokio::sync::watch;

use super::log::Log;
use super::migration::FORMAT;
use super::{Answer, KeyValue, Store, StoreError, Transaction, Watch};
use origins::Origins;
use outcomes::Outcomes;
use written::{Keys, Record, revision};

/// Pairs of one answer.
const PAGE: i64 = 512;
/// etcd's history is kept this long.
const COMPACT_EVERY: Duration = Duration::from_secs(300);
/// Operations of one transaction that a site may need: 5,000 Hardware in one file.
const WANTED: usize = 1 << 14;
/// etcd's default.
const USUAL: usize = 128;

/// Where etcd is, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub address: Address,
    pub tls: Option<Tls>,
}

#[derive(Clone)]
pub struct Etcd(Arc<Inner>);

struct Inner {
    members: Members,
    keys: Keys,
    log: Log,
    /// etcd's revision up to which `log` has all changes.
    seen: watch::Sender<i64>,
    outcomes: Outcomes,
    origins: Origins,
    /// The name of this process.
    session: String,
    /// The revision of the session's key, which each transaction names.
    fence: AtomicI64,
    /// Held by the one call that gives the session another revision.
    renewing: tokio::sync::Mutex<()>,
    next: AtomicU64,
    /// Operations that etcd takes in one transaction.
    most: usize,
    /// The tasks end when it is dropped.
    _alive: watch::Sender<()>,
}

impl Etcd {
    /// Connects, checks the format, and begins to watch. It must be called inside a running executor.
    ///
    /// # Errors
    /// When etcd does not answer, refuses this host, or has keys of a later version.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        Self::compacting(settings, COMPACT_EVERY).await
    }

    async fn compacting(settings: &Settings, every: Duration) -> Result<Self, StoreError> {
        let (store, ends) = Self::connected(settings).await?;
        let seen = *store.0.seen.borrow();
        tokio::spawn(follow::follow(Arc::downgrade(&store.0), ends.clone(), seen));
        tokio::spawn(follow::compact(Arc::downgrade(&store.0), ends, every));
        store.0.renew(0).await?;
        info!("the store is etcd at {}, below /{}/", settings.address.members.join(","), settings.address.prefix);
        Ok(store)
    }

    /// A store that does not follow yet. The receiver ends with it.
    async fn connected(settings: &Settings) -> Result<(Self, watch::Receiver<()>), StoreError> {
        let members = Members::new(&settings.address, settings.tls.as_ref())?;
        let keys = Keys::new(&settings.address.prefix);
        let (etcd, latest) = begin(&members, &keys).await?;
        let most = most_operations(&members, &keys).await?;
        let (alive, ends) = watch::channel(());
        let store = Self(Arc::new(Inner {
            members,
            keys,
            log: Log::new(latest),
            seen: watch::Sender::new(etcd),
            outcomes: Outcomes::default(),
            origins: Origins::default(),
            session: ulid::Ulid::new().to_string(),
            fence: AtomicI64::new(0),
            renewing: tokio::sync::Mutex::default(),
            next: AtomicU64::new(1),
            most,
            _alive: alive,
        }));
        Ok((store, ends))
    }
}

/// The revision of etcd, and that of the latest commit. An empty prefix gets this version's format.
async fn begin(members: &Members, keys: &Keys) -> Result<(i64, u64), StoreError> {
    let (format, record) = (one(keys.format()), one(keys.record()));
    let open = TxnRequest {
        compare: vec![etcd::absent(keys.format())],
        success: vec![etcd::put(keys.format(), FORMAT.to_string().into_bytes()), etcd::get(record.clone())],
        failure: vec![etcd::get(format), etcd::get(record)],
    };
    let answer = members.read("open the store", &open).await?;
    let etcd = answer.header.map_or(0, |header| header.revision);
    let mut found = answer.responses.into_iter().map(etcd::value_of);
    let format = found.next().and_then(|found| found.into_iter().next());
    if let Some(format) = format.filter(|_| !answer.succeeded) {
        let found = String::from_utf8_lossy(&format.value).into_owned();
        // Format 2 is the first one that etcd can have.
        if found.parse() != Ok(FORMAT) {
            return Err(StoreError::NewerKeys { prefix: keys.base().to_owned(), found, known: FORMAT });
        }
    }
    let record = found.next().and_then(|found| found.into_iter().next());
    Ok((etcd, record.as_ref().map_or(0, latest)))
}

/// The revision of the latest commit, from its record.
fn latest(record: &etcd::rpc::KeyValue) -> u64 {
    revision(record.mod_revision, Record::read(&record.value).unwrap_or_default().last())
}

fn one(key: Vec<u8>) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// How many operations etcd takes in one transaction. Asked for with transactions that never happen.
async fn most_operations(members: &Members, keys: &Keys) -> Result<usize, StoreError> {
    let tries = std::iter::successors(Some(WANTED), |count| Some(count / 2)).take_while(|count| *count >= USUAL);
    for count in tries {
        let nothing = RangeRequest { key: keys.format(), count_only: true, ..RangeRequest::default() };
        let compare = vec![etcd::never(keys.format())];
        let never = TxnRequest { compare, success: vec![etcd::get(nothing); count], failure: Vec::new() };
        match members.read("open the store", &never).await {
            Ok(_) if count < WANTED => {
                warn!(
                    "etcd takes {count} operations in one transaction, so a change of more objects is refused: start each member with \
                     --max-txn-ops={WANTED} --max-request-bytes=10485760"
                );
                return Ok(count);
            }
            Ok(_) => return Ok(count),
            Err(etcd::CallError::Refused { .. }) if count > USUAL => {}
            Err(reason) => return Err(reason.into()),
        }
    }
    Ok(USUAL)
}

impl Inner {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        let found = self.members.range("read", &one(self.keys.data(key))).await?;
        let Some((pair, origin)) = found.kvs.into_iter().next().and_then(|stored| self.keys.pair(stored)) else {
            return Ok(None);
        };
        self.origins.note(key, pair.modified, origin);
        Ok(Some(pair))
    }

    /// Page by page, as it is at one revision.
    async fn list(&self, prefix: &str) -> Result<(Vec<KeyValue>, u64), StoreError> {
        let begin = self.keys.data(prefix);
        let page = RangeRequest { range_end: etcd::end_of(&begin), key: begin, limit: PAGE, ..RangeRequest::default() };
        let first = TxnRequest {
            compare: Vec::new(),
            success: vec![etcd::get(page.clone()), etcd::get(one(self.keys.record()))],
            failure: Vec::new(),
        };
        let answer = self.members.read("list", &first).await?;
        let at = answer.header.map_or(0, |header| header.revision);
        let mut responses = answer.responses.into_iter().map(etcd::value_of);
        let mut found = responses.next().unwrap_or_default();
        let revision = responses.next().unwrap_or_default().first().map_or(0, latest);
        let mut pairs = Vec::new();
        loop {
            let count = found.len();
            let last = found.last().map(|stored| stored.key.clone());
            for (pair, origin) in found.into_iter().filter_map(|stored| self.keys.pair(stored)) {
                if origin.is_some() {
                    self.origins.note(&pair.key, pair.modified, origin);
                }
                pairs.push(pair);
            }
            let Some(mut next) = last.filter(|_| i64::try_from(count) == Ok(PAGE)) else { return Ok((pairs, revision)) };
            next.push(0);
            let page = RangeRequest { key: next, revision: at, ..page.clone() };
            found = self.members.range("list", &page).await?.kvs;
        }
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let record = self.members.range("read", &one(self.keys.record())).await?;
        Ok(record.kvs.first().map_or(0, latest))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now().to_string().into_bytes();
        self.members.put("write", self.keys.probe(), now, None).await?;
        Ok(())
    }
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(source: E) -> StoreError {
    StoreError::Failed { doing: "finish its work", source: source.into() }
}

impl Store for Etcd {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        Box::pin(self.0.get(key))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        Box::pin(self.0.list(prefix))
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        // It ends as a whole, even if the caller stops waiting.
        let inner = Arc::clone(&self.0);
        let done = tokio::spawn(async move { inner.commit(&transaction).await });
        Box::pin(async move { done.await.map_err(failed)? })
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(self.0.probe())
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.0.log.watch(after)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn revision(&self) -> Answer<'_, u64> {
        Box::pin(self.0.revision())
    }

    fn most_writes(&self) -> usize {
        self.0.most_writes()
    }
}

#[cfg(test)]
pub(crate) mod tests;
