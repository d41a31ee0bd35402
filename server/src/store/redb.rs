//! The embedded store: one file, one writer, and every commit on disk before it is acknowledged.
//!
//! Commits that wait for the disk are written together. After an error of the disk, such as a full one, redb refuses all
//! calls. The file is then opened again, so the store works as soon as the disk does.

pub(super) mod opening;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use log::{info, warn};
use machine::Chain;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use tokio::sync::{Semaphore, oneshot};

use super::log::Log;
use super::{Answer, Change, KeyValue, Store, StoreError, Transaction, Watch, Write};
use opening::{Cause, opened, os_error};

/// Maps a key to (created, modified, value).
pub(super) const ENTRIES: TableDefinition<&str, (u64, u64, &[u8])> = TableDefinition::new("entries");
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
pub(super) const REVISION: &str = "revision";
/// When the disk was last tried.
const PROBED: &str = "probed";
/// Objects are few and small. The default of 1 GiB would only enlarge the process.
const CACHE_BYTES: usize = 16 << 20;
/// The most transactions that share one write to the disk.
const TOGETHER: usize = 64;
/// How many reads run at once. Each takes a thread with its stack, and more threads read no faster.
const READERS: usize = 4;

#[derive(Clone)]
pub struct Redb(Arc<Inner>);

type Reopen = Box<dyn Fn() -> Result<Database, Cause> + Send + Sync>;

struct Inner {
    /// None while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    reopen: Reopen,
    log: Log,
    readers: Semaphore,
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
}

/// The transactions that wait for the disk.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Transaction, oneshot::Sender<Result<u64, StoreError>>)>,
    /// Whether a thread works on the queue.
    taken: bool,
}

/// Locked from commit to announcement, so that watchers see revisions in order.
struct Writer {
    /// The latest revision that watchers have seen.
    announced: u64,
    /// What a failed commit wrote. Once the file is open again, it shows whether the write is there.
    unsure: Vec<Vec<Change>>,
    /// Whether the disk refused the latest write.
    fails: bool,
}

impl Writer {
    fn succeeded(&mut self) {
        if std::mem::take(&mut self.fails) {
            info!("the store takes writes again; nothing that was acknowledged is lost");
        }
    }
}

/// A transaction's revision and changes, or the key that another writer changed.
type Decided = Result<(u64, Vec<Change>), String>;

fn failed<E: Into<Cause>>(doing: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Failed { doing, source: source.into() }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Redb {
    /// Opens the file, and creates it and its folder if missing. After a crash this also repairs it. The content of an
    /// earlier format is migrated, and the old file is kept beside it.
    ///
    /// # Errors
    /// When another process has it open, when the file is not a store, or when a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (database, revision) = opened(path)?;
        let path = path.to_owned();
        // This does not create the file. If its folder is gone, such as that of another disk, the store is not empty.
        let reopen = move || {
            opening::forget_cached(&path)?;
            Database::builder().set_cache_size(CACHE_BYTES).open(&path).map_err(Cause::from)
        };
        Ok(Self::of(database, revision, Box::new(reopen)))
    }

    fn of(database: Database, revision: u64, reopen: Reopen) -> Self {
        Self(Arc::new(Inner {
            database: RwLock::new(Some(database)),
            reopen,
            log: Log::new(revision),
            readers: Semaphore::new(READERS),
            queue: Mutex::default(),
            writer: Mutex::new(Writer { announced: revision, unsure: Vec::new(), fails: false }),
        }))
    }
}

impl Inner {
    /// Reads. After an error of the disk it reads once more from the file that was opened again.
    fn read<T>(&self, doing: &'static str, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner)
            && let Ok(found) = read(database)
        {
            return Ok(found);
        }
        self.open_again(&mut held(&self.writer)).map_err(failed(doing))?;
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => read(database).map_err(failed(doing)),
            None => Err(failed(doing)("the file is closed")),
        }
    }

    fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.read("read", |database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            Ok(table.get(key)?.map(|found| pair(key, found.value())))
        })
    }

    fn list(&self, prefix: &str) -> Result<(Vec<KeyValue>, u64), StoreError> {
        self.read("list", |database| {
            let transaction = database.begin_read()?;
            let revision = transaction.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |number| number.value());
            let mut found = Vec::new();
            for item in transaction.open_table(ENTRIES)?.range(prefix..)? {
                let (key, value) = item?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push(pair(key.value(), value.value()));
            }
            Ok((found, revision))
        })
    }

    /// Writes the waiting transactions to the disk, once.
    fn work(self: Arc<Self>) {
        let turn = Turn(self);
        let mut batch: Vec<_> = {
            let mut queue = held(&turn.0.queue);
            let count = queue.waiting.len().min(TOGETHER);
            queue.waiting.drain(..count).collect()
        };
        let requests: Vec<Transaction> = batch.iter_mut().map(|(request, _)| std::mem::take(request)).collect();
        let answers = turn.0.commit(&requests);
        for ((_, caller), answer) in batch.into_iter().zip(answers) {
            let _ = caller.send(answer); // an error means that the caller has stopped waiting
        }
    }

    /// Commits all transactions in one write to the disk. Each one sees what the earlier ones wrote.
    fn commit(&self, requests: &[Transaction]) -> Vec<Result<u64, StoreError>> {
        let mut writer = held(&self.writer);
        match self.try_commit(requests, &mut writer) {
            Ok(decided) => decided
                .into_iter()
                .map(|one| match one {
                    Ok((revision, changes)) => {
                        writer.succeeded();
                        writer.announced = revision;
                        self.log.append(changes);
                        Ok(revision)
                    }
                    Err(key) => Err(StoreError::Conflict { key }),
                })
                .collect(),
            Err(error) => {
                let (doing, text) = match &error {
                    StoreError::Failed { doing, source } => (*doing, Chain(source.as_ref()).to_string()),
                    other => ("commit", Chain(other).to_string()),
                };
                self.recover(&mut writer, &text);
                let failure = |_: &Transaction| Err(failed(doing)(text.clone()));
                requests.iter().map(failure).collect()
            }
        }
    }

    fn try_commit(&self, requests: &[Transaction], writer: &mut Writer) -> Result<Vec<Decided>, StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.open_again(writer).map_err(failed("open its file again"))?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| failed("begin a write")("the file is closed"))?;
        let transaction = database.begin_write().map_err(failed("begin a write"))?;
        let decided = {
            let mut table = transaction.open_table(ENTRIES).map_err(failed("open its table"))?;
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed("open its table"))?;
            let mut revision = numbers.get(REVISION).map_err(failed("read"))?.map_or(0, |number| number.value());
            let decide = |request| decide(&mut table, request, &mut revision).map_err(failed("write"));
            let decided = requests.iter().map(decide).collect::<Result<Vec<Decided>, StoreError>>()?;
            numbers.insert(REVISION, revision).map_err(failed("write"))?;
            decided
        };
        if decided.iter().all(Result::is_err) {
            return Ok(decided); // dropping the transaction aborts it
        }
        transaction.commit().inspect_err(|_| writer.unsure = written(&decided)).map_err(failed("commit"))?;
        Ok(decided)
    }

    /// After an error of the disk. What was acknowledged is in the file. One line begins the outage, and one ends it.
    fn recover(&self, writer: &mut Writer, reason: &str) {
        let begins = !std::mem::replace(&mut writer.fails, true);
        let opened = self.open_again(writer);
        if begins {
            match (advice(reason), opened) {
                (Some(advice), _) => warn!("{advice}"),
                (None, Ok(())) => warn!("the disk of the store has refused a write: {reason}"),
                (None, Err(error)) => warn!("the store cannot be opened again: {}", Chain(error.as_ref())),
            }
        }
    }

    /// Writes a number that nothing reads. The revision stays.
    fn probe(&self) -> Result<(), StoreError> {
        let mut writer = held(&self.writer);
        let tried = self.try_probe(&mut writer).inspect_err(|reason| {
            self.recover(&mut writer, &Chain(reason.as_ref()).to_string());
        });
        tried.inspect(|()| writer.succeeded()).map_err(failed("write"))
    }

    fn try_probe(&self, writer: &mut Writer) -> Result<(), Cause> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.open_again(writer)?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or("it is closed")?.begin_write()?;
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        transaction.open_table(NUMBERS)?.insert(PROBED, now)?;
        Ok(transaction.commit()?)
    }

    /// Opens the file again. Watchers get what it has of a failed commit, so that the view shows what is stored.
    fn open_again(&self, writer: &mut Writer) -> Result<(), Cause> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *place = None; // the file can be open only once
        let database = (self.reopen)()?;
        let revision = database.begin_read()?.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |number| number.value());
        let unsure = std::mem::take(&mut writer.unsure);
        let last = unsure.last().and_then(|changes| changes.last()).map(|change| change.whole);
        if last == Some(revision) {
            unsure.into_iter().for_each(|changes| self.log.append(changes));
            writer.announced = revision;
        } else if revision != writer.announced {
            let expected = writer.announced;
            return Err(format!(
                "the file has revision {revision} instead of {expected}, so it is another file; start the server again"
            )
            .into());
        }
        *place = Some(database);
        Ok(())
    }
}

/// What to do about an error of the disk while the server runs.
fn advice(reason: &str) -> Option<&'static str> {
    match os_error(reason)? {
        28 | 122 => Some("the disk of the store is full: make room on it; until then nothing new is stored"),
        30 => Some("the file system of the store is read-only: mount it writable; until then nothing new is stored"),
        5 => Some("the disk of the store fails: look at the kernel's log, and take a backup with `thimble backup`"),
        _ => None,
    }
}

/// The right to be the one writing thread. When it ends, even by a panic, the next thread takes what has arrived meanwhile.
struct Turn(Arc<Inner>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = held(&self.0.queue);
        queue.taken = !queue.waiting.is_empty();
        if queue.taken {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.work());
        }
    }
}

/// Checks the conditions first, so a refused transaction writes nothing.
fn decide(
    table: &mut Table<'_, &str, (u64, u64, &[u8])>,
    request: &Transaction,
    revision: &mut u64,
) -> Result<Decided, redb::StorageError> {
    for (key, expected) in &request.conditions {
        if table.get(key.as_str())?.map_or(0, |found| found.value().1) != *expected {
            return Ok(Err(key.clone()));
        }
    }
    let (first, whole) = (*revision + 1, *revision + request.writes.len() as u64);
    *revision = whole;
    let writes = (first..).zip(&request.writes);
    let changes = writes.map(|(revision, write)| change(table, write.clone(), revision, whole)).collect::<Result<_, _>>()?;
    Ok(Ok((whole, changes)))
}

fn written(decided: &[Decided]) -> Vec<Vec<Change>> {
    decided.iter().filter_map(|one| one.as_ref().ok()).map(|(_, changes)| changes.clone()).collect()
}

fn pair(key: &str, (created, modified, value): (u64, u64, &[u8])) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_vec(), created, modified }
}

fn change(
    table: &mut Table<'_, &str, (u64, u64, &[u8])>,
    write: Write,
    revision: u64,
    whole: u64,
) -> Result<Change, redb::StorageError> {
    match write {
        Write::Put { key, value } => {
            let previous = table.get(key.as_str())?.map(|found| Arc::new(pair(&key, found.value())));
            let created = previous.as_ref().map_or(revision, |previous| previous.created);
            table.insert(key.as_str(), (created, revision, value.as_slice()))?;
            let pair = Arc::new(KeyValue { key: key.clone(), value, created, modified: revision });
            Ok(Change { revision, whole, key, pair: Some(pair), previous })
        }
        Write::Delete { key } => {
            let previous = table.remove(key.as_str())?.map(|found| Arc::new(pair(&key, found.value())));
            Ok(Change { revision, whole, key, pair: None, previous })
        }
    }
}

/// redb blocks on the disk, and the executor's threads must not block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(failed("finish its work"))?
}

impl Store for Redb {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        let (inner, key) = (Arc::clone(&self.0), key.to_owned());
        Box::pin(async move {
            let _turn = self.0.readers.acquire().await.map_err(failed("read"))?;
            blocking(move || inner.get(&key)).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        let (inner, prefix) = (Arc::clone(&self.0), prefix.to_owned());
        Box::pin(async move {
            let _turn = self.0.readers.acquire().await.map_err(failed("list"))?;
            blocking(move || inner.list(&prefix)).await
        })
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let (caller, answer) = oneshot::channel();
        let idle = {
            let mut queue = held(&self.0.queue);
            queue.waiting.push_back((transaction, caller));
            !std::mem::replace(&mut queue.taken, true)
        };
        let turn = idle.then(|| {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.work())
        });
        Box::pin(async move {
            if let Some(turn) = turn {
                turn.await.map_err(failed("finish its work"))?; // so that the file is no longer in use
            }
            answer.await.map_err(failed("finish its work"))?
        })
    }

    fn probe(&self) -> Answer<'_, ()> {
        let inner = Arc::clone(&self.0);
        Box::pin(blocking(move || inner.probe()))
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.0.log.watch(after)
    }
}

#[cfg(test)]
mod tests;
