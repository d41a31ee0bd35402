//! Opens the file of the embedded store: its format, its migration, and the copy that is kept before.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use log::{info, warn};
use machine::Chain;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError};

use super::super::StoreError;
use super::super::migration::{self, FORMAT};
use super::{CACHE_BYTES, ENTRIES, NUMBERS, REVISION, change, pair};

/// Format 1 does not have this key.
pub const FORMAT_KEY: &str = "format";

/// Opens the file, and creates it and its folder if missing. Returns the revision of its content.
///
/// # Errors
/// The same as those of `Redb::open`.
pub fn opened(path: &Path) -> Result<(Database, u64), StoreError> {
    let refused = |source: Cause| unusable(path, source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| refused(source.into()))?;
    let mut database = checked(path)?;
    let found = format(&database).map_err(refused)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found < FORMAT {
        drop(database); // a copy is complete only while the file is closed
        let kept = keep(path, folder, &format!("format-{found}")).map_err(|source| refused(source.into()))?;
        info!(
            "the store {} has format {found}; it is migrated to format {FORMAT}, and {} keeps the old one",
            path.display(),
            kept.display()
        );
        database = open_file(path)?;
    }
    let revision = prepare(&database, found).map_err(refused)?;
    // A new file's name must also survive a power cut.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| refused(source.into()))?;
    Ok((database, revision))
}

pub type Cause = Box<dyn Error + Send + Sync>;

fn open_file(path: &Path) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| refused(path, error))
}

/// Opens the file after a check of every page. A file that a crash left in the middle of a write loses that write, which was
/// not acknowledged; a copy of it is kept. No other damage is mended: what redb would fall back to is older.
fn checked(path: &Path) -> Result<Database, StoreError> {
    let unreadable = |source: io::Error| unusable(path, source.into());
    let crashed = match head(path).map_err(unreadable)? {
        Head::Missing => return open_file(path),
        Head::Empty => {
            let source = "it has no content: something has emptied it".into();
            return Err(StoreError::Damaged { path: path.to_owned(), source });
        }
        Head::Closed => false,
        Head::Crashed => true,
    };
    let check = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        builder.set_repair_callback(|repair| {
            if FALLS_BACK.contains(&repair.progress()) {
                repair.abort()
            }
        });
        builder.open(path)
    };
    // A page that makes no sense can make redb panic.
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(Err(DatabaseError::RepairAborted)) if crashed => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let kept = keep(path, folder, "crashed").map_err(unreadable)?;
            let (path, kept) = (path.display(), kept.display());
            warn!("the latest write to the store {path} was not whole, and is left out; {kept} keeps the file as it was");
        }
        Ok(opened) => return opened.map_err(|error| refused(path, error)),
        Err(_) => {
            let source = "a page of it makes no sense".into();
            return Err(StoreError::Damaged { path: path.to_owned(), source });
        }
    }
    open_file(path)
}

/// `RepairSession::progress` while redb asks whether it may fall back to an older state. At 0 it begins to look, and from 0.6
/// on the newest state is whole.
const FALLS_BACK: RangeInclusive<f64> = 0.1..=0.5;

/// What the first bytes of the file say.
enum Head {
    Missing,
    Empty,
    Closed,
    /// The process that had it open did not close it.
    Crashed,
}

/// Behind the magic number of redb is a byte of flags.
fn head(path: &Path) -> io::Result<Head> {
    const FLAGS: usize = 9;
    const RECOVERY_REQUIRED: u8 = 2;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Missing),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a file")), // a pipe would block
        Ok(_) => {}
    }
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    Ok(match start.get(FLAGS) {
        _ if start.is_empty() => Head::Empty,
        Some(flags) if flags & RECOVERY_REQUIRED != 0 => Head::Crashed,
        _ => Head::Closed,
    })
}

fn refused(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse { path },
        DatabaseError::Storage(StorageError::Io(error)) if !is_damage(error.kind()) => unusable(&path, error.into()),
        damaged @ (DatabaseError::Storage(StorageError::Corrupted(_) | StorageError::Io(_)) | DatabaseError::RepairAborted) => {
            StoreError::Damaged { path, source: damaged.into() }
        }
        other => StoreError::Open { path, advice: "", source: other.into() },
    }
}

/// A file that is too short, or something else.
const fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

fn unusable(path: &Path, source: Cause) -> StoreError {
    StoreError::Open { path: path.to_owned(), advice: remedy(&Chain(source.as_ref()).to_string()), source }
}

/// What to do about an error of the disk, after a semicolon. Empty if its text says all.
#[must_use]
pub fn remedy(reason: &str) -> &'static str {
    match os_error(reason) {
        Some(1 | 13) => "; it has to belong to the user of this process",
        Some(5) => "; its disk fails: look at the kernel's log",
        Some(28 | 122) => "; its disk is full: make room on it",
        Some(30) => "; mount its file system writable, or choose another folder with --data",
        _ => "",
    }
}

/// The number in the text of an error. Many errors of redb have only the text of their cause.
pub fn os_error(reason: &str) -> Option<u32> {
    reason.rsplit_once("(os error ")?.1.split_once(')')?.0.parse().ok()
}

/// Makes the next reads come from the disk. After a failed write the kernel's cache shows what the disk does not have.
pub fn forget_cached(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// The format of the content. An empty file has this version's format.
fn format(database: &Database) -> Result<u64, Cause> {
    let transaction = database.begin_read()?;
    let numbers = match transaction.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(FORMAT),
        numbers => numbers?,
    };
    let written = numbers.get(REVISION)?.is_some();
    Ok(numbers.get(FORMAT_KEY)?.map_or(if written { 1 } else { FORMAT }, |number| number.value()))
}

/// Copies the file to the first free `NAME.SUFFIX`, whole or not at all.
fn keep(path: &Path, folder: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unfinished = folder.join(format!("{name}.copy"));
    std::fs::copy(path, &unfinished)?;
    File::open(&unfinished)?.sync_all()?;
    let kept = free_name(path, suffix)?;
    std::fs::rename(&unfinished, &kept)?;
    File::open(folder)?.sync_all()?;
    Ok(kept)
}

/// The first of `PATH.SUFFIX`, `PATH.SUFFIX.2`, ... that does not exist.
pub fn free_name(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = std::iter::once(format!("{name}.{suffix}"));
    let names = names.chain((2_u32..10_000).map(|number| format!("{name}.{suffix}.{number}")));
    for kept in names.map(|name| path.with_file_name(name)) {
        if !kept.try_exists()? {
            return Ok(kept);
        }
    }
    Err(io::Error::other("no name is free for the copy of the old store"))
}

/// Makes sure that both tables exist, migrates an earlier format, and returns the revision.
pub fn prepare(database: &Database, found: u64) -> Result<u64, Cause> {
    // A full disk does not matter to a store that needs no change.
    if let Some(revision) = prepared(database)? {
        return Ok(revision);
    }
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
                change(&mut entries, write, revision, revision)?;
            }
            numbers.insert(REVISION, revision)?;
        }
        numbers.insert(FORMAT_KEY, FORMAT)?;
        revision
    };
    transaction.commit()?;
    Ok(revision)
}

/// The revision of a store that has both tables and this version's format.
fn prepared(database: &Database) -> Result<Option<u64>, Cause> {
    let transaction = database.begin_read()?;
    let numbers = match (transaction.open_table(ENTRIES), transaction.open_table(NUMBERS)) {
        (Err(TableError::TableDoesNotExist(_)), _) | (_, Err(TableError::TableDoesNotExist(_))) => return Ok(None),
        (entries, numbers) => entries.and(numbers)?,
    };
    let is_current = numbers.get(FORMAT_KEY)?.is_some_and(|number| number.value() == FORMAT);
    let revision = numbers.get(REVISION)?.map_or(0, |number| number.value());
    Ok(is_current.then_some(revision))
}

#[cfg(test)]
mod tests;
