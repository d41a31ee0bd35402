//! The disk to write: aligned writes that bypass the page cache, zeros as holes, and a sync to the disk.

use super::ImageError;
use super::buffer::ALIGNMENT;
use super::table::Disk;
use crate::device::Opened;
use crate::sys;
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How much may wait in the page cache without direct access.
const CACHED_LIMIT: u64 = 4 << 20;

pub trait Target {
    fn disk(&self) -> Disk;
    fn size(&self) -> u64 {
        self.disk().size
    }
    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes an aligned range read as zeros without writing them. `false` if the disk cannot do that.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool>;
    /// Marks a range as unused. `false` if the disk cannot do that.
    fn discard(&mut self, offset: u64, length: u64) -> io::Result<bool>;
    /// Fills an aligned buffer.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn unfit(&self, number: u32, problem: String) -> ImageError;
    fn too_large(&self, image: u64, exact: bool) -> ImageError;
    fn write_failed(&self, offset: u64, source: io::Error) -> ImageError;
}

#[derive(Debug)]
pub struct DiskTarget {
    path: PathBuf,
    opened: Opened,
    cached: u64,
}

impl DiskTarget {
    pub fn new(path: PathBuf, opened: Opened) -> Self {
        Self { path, opened, cached: 0 }
    }

    pub fn file(&self) -> &File {
        &self.opened.file
    }

    pub fn is_block_device(&self) -> bool {
        self.opened.is_block_device
    }

    fn set_direct(&self, direct: bool) -> io::Result<()> {
        let mut flags = rustix::fs::fcntl_getfl(&self.opened.file)?;
        flags.set(OFlags::DIRECT, direct);
        Ok(rustix::fs::fcntl_setfl(&self.opened.file, flags)?)
    }

    fn write_cached(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.opened.file.write_all_at(data, offset)?;
        self.cached += data.len() as u64;
        if self.cached >= CACHED_LIMIT { self.flush_cache() } else { Ok(()) }
    }

    fn flush_cache(&mut self) -> io::Result<()> {
        self.opened.file.sync_data()?;
        self.cached = 0;
        // Advice only: the data is already on the disk.
        let _ = rustix::fs::fadvise(&self.opened.file, 0, NonZeroU64::new(self.opened.size), Advice::DontNeed);
        Ok(())
    }
}

impl Target for DiskTarget {
    fn disk(&self) -> Disk {
        Disk { size: self.opened.size, sector: self.opened.sector }
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        if !self.opened.direct {
            return self.write_cached(data, offset);
        }
        let fits = offset.is_multiple_of(ALIGNMENT as u64) && data.as_ptr().align_offset(ALIGNMENT) == 0;
        let aligned = if fits { data.len() - data.len() % ALIGNMENT } else { 0 };
        let (body, tail) = data.split_at(aligned);
        self.opened.file.write_all_at(body, offset)?;
        if tail.is_empty() {
            return Ok(());
        }
        // An image may end anywhere, and a cluster of qcow2 may be small. The page cache completes a block from the disk.
        self.set_direct(false)?;
        let written = self.write_cached(tail, offset + aligned as u64);
        self.set_direct(true)?;
        written
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.opened.file, hole, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn discard(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        if !self.opened.is_block_device {
            return self.zero(offset, length);
        }
        match sys::discard(&self.opened.file, offset, length) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.opened.file.read_exact_at(buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush_cache()
    }

    fn unfit(&self, number: u32, problem: String) -> ImageError {
        ImageError::Unfit { number, problem, disk: self.path.clone(), sector: self.opened.sector, erased: false }
    }

    fn too_large(&self, image: u64, exact: bool) -> ImageError {
        ImageError::TooLarge { image, exact, disk: self.path.clone(), size: self.opened.size }
    }

    fn write_failed(&self, offset: u64, source: io::Error) -> ImageError {
        ImageError::Write { disk: self.path.clone(), offset, source }
    }
}
