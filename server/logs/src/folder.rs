//! The files: `workflows/default_install/00000001.jsonl`, readable for their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::index::{Index, Segment};
use crate::line::whole;
use crate::source::{KINDS, Source};

const SUFFIX: &str = ".jsonl";
/// Longer than any line, escapes included.
const TAIL: u64 = 256 << 10;

pub struct Folder(PathBuf);

impl Folder {
    pub fn below(folder: &Path) -> io::Result<Self> {
        KINDS.iter().try_for_each(|kind| make(&folder.join(kind)))?;
        Ok(Self(folder.to_owned()))
    }

    /// What is there. Files and folders that do not belong to the logs are left alone.
    pub fn index(&self) -> io::Result<Index> {
        let mut index = Index::default();
        for kind in KINDS {
            for entry in fs::read_dir(self.0.join(kind))? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(source) = name.to_str().and_then(|name| Source::of(kind, name)) else { continue };
                for segment in segments(&entry.path())? {
                    index.add(&source, segment);
                }
            }
        }
        Ok(index)
    }

    /// Appends whole lines to a segment in one write, and returns its new length. A line that an earlier process did not
    /// finish is removed first.
    pub fn append(&self, source: &Source, segment: Option<Segment>, number: u64, lines: &[u8]) -> io::Result<u64> {
        let path = self.path(source, number);
        if segment.is_none()
            && let Some(folder) = path.parent()
        {
            make(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let length = if ends_a_line(&file, length)? { length } else { mended(&mut file, length)? };
        match file.write_all(lines) {
            Ok(()) => Ok(length + lines.len() as u64),
            Err(error) => {
                let _ = file.set_len(length); // half a batch would join the next one; the next append tries again
                Err(error)
            }
        }
    }

    pub fn remove(&self, source: &Source, number: u64) -> io::Result<()> {
        let path = self.path(source, number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(folder) = path.parent() {
            let _ = fs::remove_dir(folder); // refused while it has other segments
        }
        Ok(())
    }

    /// Bytes of a segment from an offset; fewer than `most` only at its end.
    pub fn read(&self, source: &Source, number: u64, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(source, number))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes that a program may still write on the file system.
    pub fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.0)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn path(&self, source: &Source, number: u64) -> PathBuf {
        self.0.join(source.path()).join(format!("{number:08}{SUFFIX}"))
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The segments in a folder, oldest first.
fn segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok()) else { continue };
        let metadata = entry.metadata()?;
        let newest = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        found.push(Segment { number, length: metadata.len(), newest });
    }
    found.sort_unstable_by_key(|segment| segment.number);
    Ok(found)
}

fn ends_a_line(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == [b'\n'])
}

/// The length without a last line that has no end.
fn mended(file: &mut File, length: u64) -> io::Result<u64> {
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let length = start + whole(&tail) as u64;
    file.set_len(length)?;
    Ok(length)
}
