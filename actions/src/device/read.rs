//! A device that is only read.

use super::DeviceError;
use rustix::fs::{Advice, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A disk, partition or file that is read once from its start. What was read leaves the page cache.
#[derive(Debug)]
pub struct Source {
    pub file: File,
    pub path: PathBuf,
    pub size: u64,
    /// The logical sector size; 512 for a file.
    pub sector: u64,
    /// It is mounted, or a part of something, so that its content may change.
    pub is_busy: bool,
    pub is_file: bool,
    pub at: u64,
}

pub fn open_to_read(path: &Path) -> Result<Source, DeviceError> {
    let failed = |source: io::Error| DeviceError::OpenToRead { path: path.to_owned(), source };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(DeviceError::NotADisk(path.to_owned()));
    }
    let open = |flags: OFlags| OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let is_busy =
        kind.is_block_device() && open(OFlags::EXCL).is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::BUSY));
    let mut file = open(OFlags::empty()).map_err(failed)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let sector = if kind.is_block_device() { rustix::fs::ioctl_blksszget(&file).map_or(512, u64::from) } else { 512 };
    Ok(Source { file, path: path.to_owned(), size, sector, is_busy, is_file: kind.is_file(), at: 0 })
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self
            .file
            .read(buffer)
            .map_err(|source| io::Error::other(DeviceError::Read { path: self.path.clone(), at: self.at, source }))?;
        forget(&self.file, self.at, got as u64);
        self.at += got as u64;
        Ok(got)
    }
}

/// A copy must not push everything else out of the page cache.
pub fn forget(file: &File, at: u64, length: u64) {
    if let Some(length) = NonZeroU64::new(length) {
        let _ = rustix::fs::fadvise(file, at, Some(length), Advice::DontNeed); // only advice
    }
}
