//! A disk that a workflow provides for one action, if memory is too small for the image. It becomes swap space, so that
//! unpacked files can leave memory. Its earlier content is lost.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};
use rustix::system::sysinfo;
use serde::{Deserialize, Serialize};

use crate::rootfs;
use machine::swap;
use oci::store::Store;

/// Records the disk's name for a restarted agent.
const NOTE: &str = "scratch.json";
/// A smaller disk would not help, and is probably the wrong one.
const SMALLEST: u64 = 32 << 20;
const TMPFS_MAGIC: i64 = 0x0102_1994;

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("cannot find the scratch disk {0}: is it connected, and its driver loaded?")]
    Missing(PathBuf, #[source] io::Error),
    #[error("the scratch disk {0} is not a block device")]
    NoDisk(PathBuf),
    #[error("the scratch disk {0} is in use (mounted, or part of an array): choose another one")]
    InUse(PathBuf),
    #[error("the scratch disk {0} has only {1} bytes")]
    Small(PathBuf, u64),
    #[error("cannot use the scratch disk {0}")]
    Use(PathBuf, #[source] io::Error),
}

/// A disk in use. [`Scratch::give_back`] ends the use.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scratch {
    device: PathBuf,
    /// The original size in bytes of the file system below the state folder, if it is in memory and was enlarged.
    was: Option<u64>,
    /// Its original number of inodes, or 0 for no limit.
    #[serde(default)]
    inodes: u64,
}

impl Scratch {
    pub fn lend(device: &Path, state: &Path) -> Result<Self, ScratchError> {
        let use_of = |error| ScratchError::Use(device.to_owned(), error);
        let real = device.canonicalize().map_err(|error| ScratchError::Missing(device.to_owned(), error))?;
        let size = size_of_unused(device, &real)?;
        let was = grow(state, size).map_err(use_of)?;
        let scratch = Self { device: real, was: was.map(|(bytes, _)| bytes), inodes: was.map_or(0, |(_, inodes)| inodes) };
        // Written before the disk is used. If the agent ends in between, the next agent gives back a disk that is not swap
        // space, which fails harmlessly.
        serde_json::to_vec(&scratch)
            .map_err(io::Error::other)
            .and_then(|note| fs::write(state.join(NOTE), note))
            .map_err(use_of)?;
        if let Err(error) = swap::on(&scratch.device, size, true) {
            scratch.forget(state);
            return Err(use_of(error));
        }
        log::warn!("{}: {} MiB lent as memory; its content is lost", device.display(), size >> 20);
        Ok(scratch)
    }

    /// The disk that an earlier agent used.
    pub fn left_over(state: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state.join(NOTE)).ok()?).ok()
    }

    /// The images are removed first, because without the disk they may not fit.
    pub fn give_back(self, store: &Store, state: &Path) {
        store.clear();
        if let Err(error) = swap::off(&self.device) {
            return log::error!("cannot give back the scratch disk {}: {error}; it stays in use", self.device.display());
        }
        self.forget(state);
        log::info!("{}: given back", self.device.display());
    }

    fn forget(&self, state: &Path) {
        if let Some(Err(error)) = self.was.map(|size| resize(state, size, self.inodes)) {
            log::warn!("cannot reduce {} to its original size: {error}", state.display());
        }
        if let Err(error) = fs::remove_file(state.join(NOTE)) {
            log::warn!("cannot remove {}: {error}", state.join(NOTE).display());
        }
    }
}

/// An exclusive open fails if the disk is mounted, used as swap, or part of another device.
fn size_of_unused(device: &Path, real: &Path) -> Result<u64, ScratchError> {
    let is_disk = fs::metadata(real).is_ok_and(|data| data.file_type().is_block_device());
    if !is_disk {
        return Err(ScratchError::NoDisk(device.to_owned()));
    }
    let open = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(real);
    let file = open.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => ScratchError::InUse(device.to_owned()),
        _ => ScratchError::Use(device.to_owned(), error),
    })?;
    match swap::usable(&file).map_err(|error| ScratchError::Use(device.to_owned(), error))? {
        size if size < SMALLEST => Err(ScratchError::Small(device.to_owned(), size)),
        size => Ok(size),
    }
}

/// The former size and number of inodes, if the state is in memory.
fn grow(state: &Path, by: u64) -> io::Result<Option<(u64, u64)>> {
    if statfs(state)?.f_type as i64 != TMPFS_MAGIC {
        return Ok(None);
    }
    let now = statvfs(state)?;
    let size = now.f_blocks.saturating_mul(now.f_frsize);
    let memory = sysinfo();
    let inodes = more_inodes(now.f_files, memory.totalram.saturating_mul(memory.mem_unit.into()));
    resize(state, size.saturating_add(by), inodes)?;
    Ok(Some((size, now.f_files)))
}

/// Content can move to the disk, but inodes cannot, and each one takes a kilobyte. With a disk, three quarters of the
/// memory may be inodes.
fn more_inodes(now: u64, memory: u64) -> u64 {
    if now == 0 { 0 } else { now.max(memory / 4 * 3 / 1024) }
}

fn resize(state: &Path, size: u64, inodes: u64) -> io::Result<()> {
    let point = rootfs::mount_point(state)?;
    let kept = statvfs(state)?.f_flag;
    let flags = [
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = flags.iter().filter(|(has, _)| kept.contains(*has)).fold(MsFlags::MS_REMOUNT, |all, (_, flag)| all | *flag);
    Ok(mount(None::<&str>, &point, None::<&str>, kept, Some(format!("size={size},nr_inodes={inodes}").as_str()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_disk_for_content_most_of_the_memory_may_be_inodes() {
        for (now, memory, want) in [(32_768, 256 << 20, 196_608), (500_000, 256 << 20, 500_000), (0, 256 << 20, 0)] {
            assert_eq!(more_inodes(now, memory), want, "{now} of {memory}");
        }
    }

    #[test]
    fn anything_but_an_unused_disk_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        for (device, said) in [
            (folder.path().join("none"), "cannot find the scratch disk"),
            (file.clone(), "is not a block device"),
            ("/dev/null".into(), "is not a block device"),
        ] {
            let error = Scratch::lend(&device, folder.path()).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(&*device.to_string_lossy()), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(Scratch::left_over(folder.path()).is_none());
    }
}
