//! Opens the file of the embedded store: its format, its migration, and the copy that is kept before.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use log::info;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableError};

use super::super::StoreError;
use super::super::migration::{self, FORMAT};
use super::{CACHE_BYTES, ENTRIES, NUMBERS, REVISION, change, pair};

/// Format 1 does not have this key.
const FORMAT_KEY: &str = "format";

/// Opens the file, and creates it and its folder if missing. Returns the revision of its content.
///
/// # Errors
/// The same as those of `Redb::open`.
pub fn opened(path: &Path) -> Result<(Database, u64), StoreError> {
    let refused = |source: Cause| StoreError::Open { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| refused(source.into()))?;
    let mut database = open_file(path)?;
    let found = format(&database).map_err(refused)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found < FORMAT {
        drop(database); // a copy is complete only while the file is closed
        let kept = keep(path, folder, found).map_err(|source| refused(source.into()))?;
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
    Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        other => StoreError::Open { path: path.to_owned(), source: other.into() },
    })
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

/// Copies the file to the first free `NAME.format-N`, completely or not at all.
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

/// Makes sure that both tables exist, migrates an earlier format, and returns the revision.
pub fn prepare(database: &Database, found: u64) -> Result<u64, Cause> {
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
