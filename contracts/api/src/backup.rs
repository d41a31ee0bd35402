//! The file of `thimble backup`: one JSON object a line. The first line describes the rest, then each pair of the store has a
//! line, and the last line has the SHA-256 of all before it. A file that was cut or changed is noticed.

use std::io::{self, BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// The version of this layout.
pub const LAYOUT: u32 = 1;
/// No pair of a store is longer.
const MAX_LINE: u64 = 64 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    pub thimble_backup: u32,
    /// Of the store's content.
    pub format: u64,
    pub revision: u64,
    pub entries: u64,
    pub taken: Timestamp,
    /// Of the server that wrote it.
    pub version: String,
}

/// A pair of the store, with the revisions of its first and its latest write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub created: u64,
    pub modified: u64,
    pub value: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    created: u64,
    modified: u64,
    /// Base64.
    value: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("it is not a backup of Thimble: `thimble backup` writes one")]
    NotOne,
    #[error("it is a backup of layout {0}, which a later version of Thimble wrote; restore it with that version")]
    Newer(u32),
    #[error("it ends too early, at line {line}; take another backup")]
    Cut { line: u64 },
    #[error("line {line} is not what `thimble backup` wrote; take another backup")]
    Changed { line: u64 },
    #[error("it was changed after it was written: its checksum is wrong")]
    Checksum,
    #[error("cannot read line {line} of it")]
    Unreadable {
        line: u64,
        #[source]
        source: io::Error,
    },
}

/// Makes the lines.
#[derive(Default)]
pub struct Writer(Sha256);

impl Writer {
    pub fn head(&mut self, head: &Head) -> Vec<u8> {
        self.line(head)
    }

    pub fn entry(&mut self, entry: Entry) -> Vec<u8> {
        let Entry { key, created, modified, value } = entry;
        self.line(&Line { key, created, modified, value: STANDARD.encode(value) })
    }

    /// The last line.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        let sha256 = hex(&std::mem::take(&mut self.0));
        self.line(&End { sha256 })
    }

    fn line<T: Serialize>(&mut self, value: &T) -> Vec<u8> {
        let mut line = serde_json::to_vec(value).unwrap_or_default(); // these types have text keys only
        line.push(b'\n');
        self.0.update(&line);
        line
    }
}

fn hex(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the lines, and checks what can be checked.
pub struct Reader<R> {
    from: R,
    head: Head,
    hash: Sha256,
    read: u64,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    /// # Errors
    /// If it is not a backup, or one of a later version.
    pub fn open(mut from: R) -> Result<Self, BackupError> {
        let mut hash = Sha256::new();
        let first = next_line(&mut from, 1).map_err(|error| match error {
            unreadable @ BackupError::Unreadable { .. } => unreadable,
            _ => BackupError::NotOne,
        })?;
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Layout {
            thimble_backup: u32,
        }
        let layout: Layout = parsed(&first, 1).map_err(|_| BackupError::NotOne)?;
        if layout.thimble_backup != LAYOUT {
            return Err(BackupError::Newer(layout.thimble_backup));
        }
        let head = parsed(&first, 1)?;
        hash.update(&first);
        Ok(Self { from, head, hash, read: 0, line: 1 })
    }

    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The next pair. After the last one the checksum is compared, and `None` means that all of it is as it was written.
    ///
    /// # Errors
    /// If something is missing or changed.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BackupError> {
        self.line += 1;
        let line = next_line(&mut self.from, self.line)?;
        let changed = || BackupError::Changed { line: self.line };
        if self.read == self.head.entries {
            let End { sha256 } = parsed(&line, self.line)?;
            let rest = self.from.fill_buf().map_err(|source| BackupError::Unreadable { line: self.line, source })?;
            return if sha256 != hex(&self.hash) {
                Err(BackupError::Checksum)
            } else if rest.is_empty() {
                Ok(None)
            } else {
                Err(BackupError::Changed { line: self.line + 1 })
            };
        }
        let Line { key, created, modified, value } = parsed(&line, self.line)?;
        let value = STANDARD.decode(value).map_err(|_| changed())?;
        self.hash.update(&line);
        self.read += 1;
        Ok(Some(Entry { key, created, modified, value }))
    }
}

fn next_line(from: &mut impl BufRead, number: u64) -> Result<Vec<u8>, BackupError> {
    let mut line = Vec::new();
    let read = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
    read.map_err(|source| BackupError::Unreadable { line: number, source })?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ if line.len() as u64 == MAX_LINE => Err(BackupError::Changed { line: number }),
        _ => Err(BackupError::Cut { line: number }),
    }
}

fn parsed<T: DeserializeOwned>(line: &[u8], number: u64) -> Result<T, BackupError> {
    serde_json::from_slice(line).map_err(|_| BackupError::Changed { line: number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |key: &str, value: &[u8]| Entry { key: key.to_owned(), created: 1, modified: 2, value: value.to_vec() };
        vec![entry("/hardware/default/a", b"{\"x\":1}"), entry("core/secrets/default/s", &[0, 255, b'\n']), entry("/z", b"")]
    }

    fn backup() -> Vec<u8> {
        let entries = entries();
        let head = Head {
            thimble_backup: LAYOUT,
            format: 2,
            revision: 7,
            entries: entries.len() as u64,
            taken: Timestamp::UNIX_EPOCH,
            version: "0.1.0".to_owned(),
        };
        let mut writer = Writer::default();
        let mut file = writer.head(&head);
        entries.into_iter().for_each(|entry| file.extend(writer.entry(entry)));
        file.extend(writer.end());
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Entry>, BackupError> {
        let mut reader = Reader::open(file)?;
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            found.push(entry);
        }
        Ok(found)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&backup()).unwrap(), entries());
    }

    #[test]
    fn a_file_cut_anywhere_is_noticed() {
        let file = backup();
        for length in 0..file.len() {
            let error = read(&file[..length]).unwrap_err();
            assert!(matches!(error, BackupError::NotOne | BackupError::Cut { .. }), "{length}: {error}");
        }
        assert!(read(&[file.as_slice(), b"\n"].concat()).is_err(), "something was added");
    }

    #[test]
    fn a_bit_flipped_anywhere_is_noticed() {
        let file = backup();
        for place in 0..file.len() {
            let mut other = file.clone();
            other[place] ^= 1;
            assert!(read(&other).is_err(), "byte {place}");
        }
    }

    #[test]
    fn other_files_and_later_layouts_are_named_as_what_they_are() {
        assert!(matches!(read(b"apiVersion: v1\n"), Err(BackupError::NotOne)));
        assert!(matches!(read(b"{\"thimbleBackup\":2,\"x\":1}\n"), Err(BackupError::Newer(2))));
    }
}
