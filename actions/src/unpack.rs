//! What archive2disk and oci2root share: the room on the target, and progress while they read.

use crate::image2disk::{Progress, Tally};
use oci::space::Free;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The path of an open folder, which no link in the target can change.
pub fn place(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// How much room the file system has. It costs no memory of the machine.
pub fn budget(folder: &File) -> impl FnMut() -> Free + use<'_> {
    move || {
        let Ok(stat) = rustix::fs::fstatvfs(folder) else { return Free::of_memory(u64::MAX) };
        // Btrfs and FAT do not count inodes.
        let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_ffree };
        Free { memory: u64::MAX, disk: stat.f_bfree.saturating_mul(stat.f_frsize), inodes }
    }
}

/// Says how much has been read while it is read.
pub struct Progressing<R> {
    inner: R,
    tally: Arc<Tally>,
    progress: Progress,
    unlooked: u64,
}

/// A look at the clock for so many bytes.
const LOOK_EVERY: u64 = 1 << 20;

impl<R: Read> Progressing<R> {
    pub fn new(inner: R, tally: Arc<Tally>, every: Duration) -> Self {
        Self { inner, tally, progress: Progress::new(every, Instant::now()), unlooked: 0 }
    }
}

impl<R: Read> Read for Progressing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.unlooked += got as u64;
        if self.unlooked >= LOOK_EVERY {
            self.unlooked = 0;
            let total = Some(self.tally.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
            self.progress.report(self.tally.read.load(Ordering::Relaxed), total, Instant::now());
        }
        Ok(got)
    }
}
