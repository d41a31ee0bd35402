//! The embedded store: one file, one writer, every commit on disk before it is acknowledged.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use log::info;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError};

use super::log::Log;
use super::migration::{self, FORMAT};
use super::{Answer, Change, KeyValue, Store, StoreError, Transaction, Watch, Write};

/// Key to (created, modified, value).
const ENTRIES: TableDefinition<&str, (u64, u64, &[u8])> = TableDefinition::new("entries");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";
/// Absent in format 1.
const FORMAT_KEY: &str = "format";
/// Objects are few and small; the default of 1 GiB would only grow the process.
const CACHE_BYTES: usize = 16 << 20;

#[derive(Clone)]
pub struct Redb(Arc<Inner>);

struct Inner {
    database: Database,
    log: Log,
    /// Held from commit to announcement, so that watchers see revisions in order.
    writer: Mutex<()>,
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(doing: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Failed { doing, source: source.into() }
}

impl Redb {
    /// Opens the file, creating it and its folder when missing. After a crash this also repairs it. The content of an
    /// earlier format is migrated, and the old file is kept beside it.
    ///
    /// # Errors
    /// When another process has it open, the file is not a store, or a later version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let refused = |source: Cause| StoreError::Open { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|source| refused(source.into()))?;
        let mut database = open_file(path)?;
        let found = format(&database).map_err(refused)?;
        if found > FORMAT {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        if found < FORMAT {
            drop(database); // a copy is whole only while the file is closed
            let kept = keep(path, folder, found).map_err(|source| refused(source.into()))?;
            info!(
                "the store {} has format {found}; it is migrated to format {FORMAT}, and {} keeps the old one",
                path.display(),
                kept.display()
            );
            database = open_file(path)?;
        }
        let revision = prepare(&database, found).map_err(refused)?;
        // A new file's name must survive a power cut, too.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| refused(source.into()))?;
        Ok(Self(Arc::new(Inner { database, log: Log::new(revision), writer: Mutex::new(()) })))
    }
}

type Cause = Box<dyn Error + Send + Sync>;

fn open_file(path: &Path) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        other => StoreError::Open { path: path.to_owned(), source: other.into() },
    })
}

/// The format of the content. An empty file has this version's.
fn format(database: &Database) -> Result<u64, Cause> {
    let transaction = database.begin_read()?;
    let numbers = match transaction.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(FORMAT),
        numbers => numbers?,
    };
    let written = numbers.get(REVISION)?.is_some();
    Ok(numbers.get(FORMAT_KEY)?.map_or(if written { 1 } else { FORMAT }, |number| number.value()))
}

/// Copies the file to the first free `NAME.format-N`, whole or not at all.
fn keep(path: &Path, folder: &Path, format: u64) -> std::io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unfinished = folder.join(format!("{name}.copy"));
    std::fs::copy(path, &unfinished)?;
    File::open(&unfinished)?.sync_all()?;
    let names = std::iter::once(format!("{name}.format-{format}"));
    let names = names.chain((2_u32..).map(|number| format!("{name}.format-{format}.{number}")));
    for kept in names.map(|name| folder.join(name)) {
        if !kept.try_exists()? {
            std::fs::rename(&unfinished, &kept)?;
            File::open(folder)?.sync_all()?;
            return Ok(kept);
        }
    }
    Err(std::io::Error::other("no name is free for the copy of the old store"))
}

/// Makes sure both tables exist, migrates what has an earlier format, and returns the revision.
fn prepare(database: &Database, found: u64) -> Result<u64, Cause> {
    let transaction = database.begin_write()?;
    let revision = {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        let mut revision = numbers.get(REVISION)?.map_or(0, |number| number.value());
        if found < FORMAT {
            let mut content = Vec::new();
            for item in entries.iter()? {
                let (key, value) = item?;
                content.push(pair(key.value(), value.value()));
            }
            revision += 1;
            for write in migration::from_format_1(content, revision, Timestamp::now())? {
                change(&mut entries, write, revision)?;
            }
            numbers.insert(REVISION, revision)?;
        }
        numbers.insert(FORMAT_KEY, FORMAT)?;
        revision
    };
    transaction.commit()?;
    Ok(revision)
}

impl Inner {
    fn get(&self, key: &str) -> Result<Option<KeyValue>, redb::Error> {
        let table = self.database.begin_read()?.open_table(ENTRIES)?;
        Ok(table.get(key)?.map(|found| pair(key, found.value())))
    }

    fn list(&self, prefix: &str) -> Result<(Vec<KeyValue>, u64), redb::Error> {
        let transaction = self.database.begin_read()?;
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
    }

    fn commit(&self, request: Transaction) -> Result<u64, StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write().map_err(failed("begin a write"))?;
        let (revision, changes) = {
            let mut table = transaction.open_table(ENTRIES).map_err(failed("open its table"))?;
            for (key, expected) in request.conditions {
                if modified(&table, &key).map_err(failed("read"))? != expected {
                    return Err(StoreError::Conflict { key }); // dropping the transaction aborts it
                }
            }
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed("open its table"))?;
            let revision = numbers.get(REVISION).map_err(failed("read"))?.map_or(0, |number| number.value()) + 1;
            numbers.insert(REVISION, revision).map_err(failed("write"))?;
            let writes = request.writes.into_iter().map(|write| change(&mut table, write, revision));
            (revision, writes.collect::<Result<Vec<Change>, redb::StorageError>>().map_err(failed("write"))?)
        };
        transaction.commit().map_err(failed("commit"))?;
        self.log.append(changes);
        Ok(revision)
    }
}

fn pair(key: &str, (created, modified, value): (u64, u64, &[u8])) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_vec(), created, modified }
}

fn modified(table: &Table<'_, &str, (u64, u64, &[u8])>, key: &str) -> Result<u64, redb::StorageError> {
    Ok(table.get(key)?.map_or(0, |found| found.value().1))
}

fn change(table: &mut Table<'_, &str, (u64, u64, &[u8])>, write: Write, revision: u64) -> Result<Change, redb::StorageError> {
    match write {
        Write::Put { key, value } => {
            let created = table.get(key.as_str())?.map_or(revision, |found| found.value().0);
            table.insert(key.as_str(), (created, revision, value.as_slice()))?;
            let pair = Arc::new(KeyValue { key: key.clone(), value, created, modified: revision });
            Ok(Change { revision, key, pair: Some(pair) })
        }
        Write::Delete { key } => {
            table.remove(key.as_str())?;
            Ok(Change { revision, key, pair: None })
        }
    }
}

/// redb blocks on the disk; the executor's threads must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(failed("finish its work"))?
}

impl Store for Redb {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<KeyValue>> {
        let (inner, key) = (Arc::clone(&self.0), key.to_owned());
        Box::pin(blocking(move || inner.get(&key).map_err(failed("read"))))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, (Vec<KeyValue>, u64)> {
        let (inner, prefix) = (Arc::clone(&self.0), prefix.to_owned());
        Box::pin(blocking(move || inner.list(&prefix).map_err(failed("list"))))
    }

    fn commit(&self, transaction: Transaction) -> Answer<'_, u64> {
        let inner = Arc::clone(&self.0);
        Box::pin(blocking(move || inner.commit(transaction)))
    }

    fn watch(&self, after: u64) -> Result<Watch, StoreError> {
        self.0.log.watch(after)
    }
}
