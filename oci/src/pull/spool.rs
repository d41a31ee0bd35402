//! A layer that waits for its turn in a file beside the image. The file is unlinked at once, so it goes away with its last
//! user.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::OFlags;

#[derive(Default)]
struct Progress {
    written: u64,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// The writing end. When it is dropped, no more content follows.
pub struct Spool {
    file: File,
    shared: Arc<Shared>,
}

/// The reading end, in a thread that may block.
pub struct Spooled {
    file: File,
    shared: Arc<Shared>,
    position: u64,
}

pub fn begin(folder: &Path) -> io::Result<(Spool, Spooled)> {
    let flags = OFlags::TMPFILE.bits().cast_signed();
    let file = File::options().read(true).write(true).mode(0o600).custom_flags(flags).open(folder)?;
    let shared = Arc::<Shared>::default();
    let reader = Spooled { file: file.try_clone()?, shared: Arc::clone(&shared), position: 0 };
    Ok((Spool { file, shared }, reader))
}

impl Spool {
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let at = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner).written;
        self.file.write_all_at(bytes, at)?;
        self.shared.change(|progress| progress.written += bytes.len() as u64);
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.change(|progress| progress.ended = true);
    }
}

impl Read for Spooled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waiting = |progress: &mut Progress| progress.written == self.position && !progress.ended;
        let progress = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = self.shared.changed.wait_while(progress, waiting).unwrap_or_else(PoisonError::into_inner);
        let there = usize::try_from(progress.written - self.position).unwrap_or(usize::MAX).min(buffer.len());
        drop(progress);
        let count = self.file.read_at(buffer.get_mut(..there).unwrap_or_default(), self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_while_more_is_written_and_no_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut spooled) = begin(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        spool.append(b"first ").unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            spooled.read_to_string(&mut text).map(|_| text)
        });
        spool.append(b"second").unwrap();
        drop(spool);
        assert_eq!(reader.join().unwrap().unwrap(), "first second");
    }
}
