//! A backup in the place of the store's file, while no server has it open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::backup::{BackupError, Head, Reader};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTableMetadata};

use super::migration::FORMAT;
use super::redb::opening::{FORMAT_KEY, free_name};
use super::redb::{ENTRIES, NUMBERS, REVISION};

/// The key that says when the backup of this store was taken. The server removes it at its first start.
pub const RESTORED: &str = "restored";
/// The name of the old file ends with it.
const KEPT: &str = "before-restore";

#[derive(Debug, PartialEq, Eq)]
pub struct Restored {
    pub head: Head,
    /// The file that was there.
    pub kept: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the backup cannot be used; the store was not changed")]
    Backup(#[from] BackupError),
    #[error("the backup has format {found}, and this version knows formats up to {}; restore it with a later version", FORMAT)]
    Newer { found: u64 },
    #[error("the store {} is in use by another process; stop `thimble up` or `thimble server` first", .0.display())]
    InUse(PathBuf),
    #[error("the store {} has {entries} entries; --force replaces it, and keeps it beside the new one", .path.display())]
    NotEmpty { path: PathBuf, entries: u64 },
    #[error("the store {} cannot be read; --force replaces it, and keeps it beside the new one", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: Box<DatabaseError>,
    },
    #[error("cannot write the new store {}; the old one was not changed", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot put {} in its place; the old store was not changed", .path.display())]
    Place {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes the content of a backup into a new file, checks all of it, and gives it the name of the store. The old file stays
/// under another name.
///
/// # Errors
/// If the backup is damaged or of a later version, if a server uses the store, or if it is not empty and `force` is not given.
/// The store was then not changed.
pub fn restore(path: &Path, backup: impl BufRead, force: bool) -> Result<Restored, RestoreError> {
    let mut reader = Reader::open(backup)?;
    let head = reader.head().clone();
    if head.format > FORMAT {
        return Err(RestoreError::Newer { found: head.format });
    }
    let old = replaceable(path, force)?; // no server opens it until this is dropped
    let new = path.with_file_name(format!("{}.restoring", path.file_name().unwrap_or_default().to_string_lossy()));
    let written = write(&new, &mut reader).inspect_err(|_| drop(fs::remove_file(&new)));
    written.map_err(|error| match error {
        Failed::Backup(error) => RestoreError::Backup(error),
        Failed::Write(source) => RestoreError::Write { path: new.clone(), source },
    })?;
    let kept = place(path, &new).map_err(|source| RestoreError::Place { path: new.clone(), source })?;
    drop(old);
    Ok(Restored { head, kept })
}

/// The old store, open, if there is one that can be read.
fn replaceable(path: &Path, force: bool) -> Result<Option<Database>, RestoreError> {
    if !path.exists() {
        return Ok(None);
    }
    match Database::builder().set_cache_size(1 << 20).open(path) {
        Ok(database) => {
            let entries = count(&database).unwrap_or(u64::MAX);
            if entries > 0 && !force {
                return Err(RestoreError::NotEmpty { path: path.to_owned(), entries });
            }
            Ok(Some(database))
        }
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            Err(RestoreError::InUse(path.to_owned()))
        }
        Err(_) if force => Ok(None),
        Err(source) => Err(RestoreError::Unreadable { path: path.to_owned(), source: Box::new(source) }),
    }
}

fn count(database: &Database) -> Result<u64, redb::Error> {
    match database.begin_read()?.open_table(ENTRIES) {
        Ok(entries) => Ok(entries.len()?),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

enum Failed {
    Backup(BackupError),
    Write(Box<dyn std::error::Error + Send + Sync>),
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> Failed {
    Failed::Write(error.into())
}

/// On the disk when this returns. An earlier format is migrated at the next start.
fn write(new: &Path, reader: &mut Reader<impl BufRead>) -> Result<(), Failed> {
    let folder = new.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    if new.exists() {
        fs::remove_file(new).map_err(failed)?; // a crash has left it
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(new).map_err(failed)?;
    let database = Database::builder().set_cache_size(16 << 20).create(new).map_err(failed)?;
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut entries = transaction.open_table(ENTRIES).map_err(failed)?;
        while let Some(entry) = reader.next_entry().map_err(Failed::Backup)? {
            let value = (entry.created, entry.modified, entry.value.as_slice());
            entries.insert(entry.key.as_str(), value).map_err(failed)?;
        }
        let Head { revision, taken, .. } = reader.head();
        let taken = format!("{taken:.0}");
        entries.insert(RESTORED, (*revision, *revision, taken.as_bytes())).map_err(failed)?;
        let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
        numbers.insert(REVISION, revision).map_err(failed)?;
        numbers.insert(FORMAT_KEY, reader.head().format).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// At every moment the store has its name: the old one, then the new one.
fn place(path: &Path, new: &Path) -> io::Result<Option<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let kept = if path.exists() {
        let kept = free_name(path, KEPT)?;
        fs::hard_link(path, &kept)?;
        Some(kept)
    } else {
        None
    };
    fs::rename(new, path)?;
    File::open(folder)?.sync_all()?;
    Ok(kept)
}

#[cfg(test)]
mod tests;
