//! The file: one step a line. It is written anew at each start, and when more was appended than it had.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::book::Book;

/// The longest line that is read; longer than any that is written.
const LINE: u64 = 16 << 10;
/// What is appended at least before the file is written anew.
const APPENDED: u64 = 1 << 20;
/// So many machines are one part of a file that is written anew.
pub const TOGETHER: usize = 256;
/// Nothing is written while the file system has less room, because the store needs it.
const KEEP_FREE: u64 = 256 << 20;

#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// Its length when it was written anew, and what came since.
    whole: u64,
    appended: u64,
}

/// The book of a file; empty if there is none.
pub fn read(path: &Path) -> io::Result<Book> {
    let mut book = Book::default();
    let mut reader = BufReader::new(fs::File::open(path)?);
    let mut line = Vec::new();
    // The rest of a longer line is not a step, and is skipped.
    while reader.by_ref().take(LINE).read_until(b'\n', &mut line)? > 0 {
        book.replay(&line);
        line.clear();
    }
    Ok(book)
}

impl File {
    pub fn open(path: &Path) -> io::Result<(Self, Book)> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut book = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::default(),
            book => book?,
        };
        let mut file = Self { path: path.to_owned(), whole: 0, appended: 0 };
        let macs = book.macs();
        match file.replace(macs.chunks(TOGETHER).map(|macs| book.whole(macs))) {
            // Reading is of use alone, and room may come later.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => file.appended = u64::MAX,
            done => done?,
        }
        Ok((file, book))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the next write shall be of everything.
    pub fn wants_all(&self) -> bool {
        self.appended > self.whole.max(APPENDED)
    }

    /// After a failure the next write is of everything, because half a batch may be there.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let write = || {
            self.has_room(lines.len())?;
            OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?.write_all(lines)
        };
        let done = write();
        self.appended = if done.is_ok() { self.appended.saturating_add(lines.len() as u64) } else { u64::MAX };
        done
    }

    /// Writes the file anew from parts, so that the whole of it is never in memory.
    pub fn replace(&mut self, parts: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
        let new = self.path.with_extension("new");
        self.appended = u64::MAX; // until it is done
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            let mut whole = 0;
            for lines in parts {
                self.has_room(lines.len())?;
                file.write_all(&lines)?;
                whole += lines.len() as u64;
            }
            Ok(whole)
        };
        let whole = write().inspect_err(|_: &io::Error| drop(fs::remove_file(&new)))?; // half of it is of no use
        fs::rename(&new, &self.path)?;
        (self.whole, self.appended) = (whole, 0);
        Ok(())
    }

    fn has_room(&self, length: usize) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        let found = rustix::fs::statvfs(folder)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < KEEP_FREE.saturating_add(length as u64) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use api::{BootStep, StepKind};
    use jiff::Timestamp;
    use model::Mac;

    use super::*;
    use crate::Steps;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    fn step(second: i64, asked: &str) -> BootStep {
        BootStep::new(Timestamp::from_second(second).unwrap(), StepKind::Offered, asked, "OFFER")
    }

    #[test]
    fn steps_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for start in 0..3 {
            let steps = Steps::open(folder.path());
            assert_eq!(steps.of(MAC).len(), start, "start {start}");
            steps.add(MAC, true, step(1, &format!("DISCOVER {start}")));
        }
        let read = Steps::read(&crate::path(folder.path())).unwrap();
        assert_eq!(read.of(MAC).len(), 3, "another process may read it");
    }

    #[test]
    fn a_file_that_is_cut_or_foreign_costs_only_what_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let steps = Steps::open(folder.path());
        steps.add(MAC, true, step(1, "one"));
        steps.add(MAC, true, step(2, "two"));
        drop(steps);
        let path = crate::path(folder.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, [b"\0\xff nonsense\n".as_slice(), &[b'x'; 40_000], b"\n", &bytes].concat()).unwrap();
        let steps = Steps::open(folder.path());
        assert_eq!(steps.of(MAC).len(), 1);
        drop(steps);
        assert!(fs::read(&path).unwrap().len() < 1000, "it is written anew");
    }

    #[test]
    fn the_file_does_not_grow_without_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, mut book) = File::open(&folder.path().join("f")).unwrap();
        let mut longest = 0;
        for second in 0..20_000 {
            book.add(MAC, true, step(second, &second.to_string()));
            let done = if file.wants_all() { file.replace([book.whole(&[MAC])]) } else { file.append(&book.take_changes()) };
            done.unwrap();
            longest = longest.max(fs::metadata(file.path()).unwrap().len());
        }
        assert!(longest < 2 * APPENDED, "{longest}");
        assert_eq!(read(file.path()).unwrap().of(MAC).count(), crate::MOST);
    }
}
