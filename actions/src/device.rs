//! A disk or partition: waits for its path, opens it, and rereads its partitions.

use crate::{disks, say, sys};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A partition appears when the kernel has read the table, a SCSI disk when its bus was scanned.
pub const APPEARS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// A program that only probes a partition closes it soon.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "DiskNotFound: {path} did not appear within {} s; this machine has {disks}. \
         Is it the right disk, and has its partition table been written?",
        .limit.as_secs()
    )]
    Absent { path: PathBuf, limit: Duration, disks: String },
    #[error("{0} is neither a block device nor a regular file")]
    NotADisk(PathBuf),
    #[error("{0} is in use: it or a partition of it is mounted, or belongs to RAID or LVM")]
    Busy(PathBuf),
    #[error("cannot open {path} for writing")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the kernel refuses to read the partition table of {path} again")]
    Reread {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Waits until `path` exists, and says so if that takes time.
pub fn wait_for(path: &Path, limit: Duration) -> Result<(), DeviceError> {
    let start = Instant::now();
    if !path.exists() {
        say(&format!("waiting for {} to appear (at most {} s)", path.display(), limit.as_secs()));
    }
    while !path.exists() {
        if start.elapsed() >= limit {
            return Err(DeviceError::Absent { path: path.to_owned(), limit, disks: disks::list(Path::new("/sys")) });
        }
        sleep(POLL);
    }
    Ok(())
}

#[derive(Debug)]
pub struct Opened {
    pub file: File,
    pub size: u64,
    /// Writes bypass the page cache and must be aligned.
    pub direct: bool,
    pub is_block_device: bool,
}

/// Opens a disk exclusively. A regular file counts as a disk of its size.
pub fn open(path: &Path) -> Result<Opened, DeviceError> {
    let failed = |source: io::Error| match rustix::io::Errno::from_io_error(&source) {
        Some(rustix::io::Errno::BUSY) => DeviceError::Busy(path.to_owned()),
        _ => DeviceError::Open { path: path.to_owned(), source },
    };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(DeviceError::NotADisk(path.to_owned()));
    }
    // On a block device, O_EXCL refuses while a file system, RAID or LVM holds it.
    let exclusive = if kind.is_block_device() { OFlags::EXCL } else { OFlags::empty() };
    let open = |flags: OFlags| OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path);
    let (mut file, direct) = match open(exclusive | OFlags::DIRECT) {
        Ok(file) => (file, true),
        // tmpfs and some others do not have direct access
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => (open(exclusive).map_err(failed)?, false),
        Err(error) => return Err(failed(error)),
    };
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok(Opened { file, size, direct, is_block_device: kind.is_block_device() })
}

/// Makes new partitions appear. For a partition or a file the kernel reads no table, which is not an error.
pub fn reread_partitions(path: &Path, disk: &File) -> Result<(), DeviceError> {
    let start = Instant::now();
    loop {
        let Err(source) = sys::reread_partitions(disk) else { return Ok(()) };
        match rustix::io::Errno::from_io_error(&source) {
            Some(rustix::io::Errno::INVAL | rustix::io::Errno::NOTTY) => return Ok(()),
            Some(rustix::io::Errno::BUSY) if start.elapsed() < BUSY_LIMIT => sleep(POLL),
            _ => return Err(DeviceError::Reread { path: path.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_never_appears_is_named() {
        let error = wait_for(Path::new("/dev/does-not-exist1"), Duration::from_millis(1)).unwrap_err();
        assert!(
            error.to_string().starts_with("DiskNotFound: /dev/does-not-exist1 did not appear within 0 s; this machine has "),
            "{error}"
        );
    }

    #[test]
    fn a_device_that_appears_later_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vda1");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&path, APPEARS_WITHIN));
            std::fs::write(&path, "").unwrap();
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_folder_is_no_disk() {
        let error = open(Path::new("/dev")).unwrap_err();
        assert_eq!(error.to_string(), "/dev is neither a block device nor a regular file");
        assert!(matches!(open(Path::new("/dev/null")), Err(DeviceError::NotADisk(_))));
    }
}
