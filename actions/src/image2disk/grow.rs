//! The file system of the partition that grew. The kernel grows ext4, XFS and btrfs while they are mounted, so no tool of the
//! installed system or of the action's image is needed.

use crate::device::{self, DeviceError};
use crate::mount::{MountError, Mounted};
use crate::{say, sys};
use rustix::fs::statvfs;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Up to the superblock of btrfs.
const START: usize = (64 << 10) + 4096;

#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has {name}, which is not grown here: the installed system can do that")]
    NotGrown { path: PathBuf, name: &'static str },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("the kernel cannot grow the {fs} file system of {path}")]
    Kernel {
        fs: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ext4 { block: u64 },
    Xfs { block: u64, inodes_percent: u32 },
    Btrfs,
    Other(&'static str),
}

fn kind(start: &[u8]) -> Kind {
    let at = |place: usize, length: usize| start.get(place..place + length).unwrap_or_default();
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if at(1080, 2) == [0x53, 0xef] {
        return Kind::Ext4 { block: 1024 << u64::from(at(1048, 1).first().copied().unwrap_or(0)).min(6) };
    }
    if at(0, 4) == b"XFSB" {
        let inodes_percent = at(127, 1).first().copied().unwrap_or(0).into();
        return Kind::Xfs { block: number(at(4, 4)).max(512), inodes_percent };
    }
    if at(65600, 8) == b"_BHRfS_M" {
        return Kind::Btrfs;
    }
    match (at(0, 6), at(512, 8)) {
        (b"LUKS\xba\xbe", _) => Kind::Other("a LUKS volume"),
        (_, b"LABELONE") => Kind::Other("an LVM physical volume"),
        _ => Kind::Other("no file system that is known"),
    }
}

/// Grows what is in this partition of the disk.
pub fn file_system(disk: &Path, number: u32) -> Result<(), GrowError> {
    let path = device::partition(disk, number);
    device::wait_for(&path, device::APPEARS_WITHIN)?;
    grow(&path)
}

/// Grows a file system over its whole device.
///
/// # Errors
/// What is not ext4, XFS or btrfs, and what the kernel refuses.
pub fn grow(path: &Path) -> Result<(), GrowError> {
    let path = path.to_owned();
    let failed = |source| GrowError::Read { path: path.clone(), source };
    let mut file = File::open(&path).map_err(failed)?;
    let mut start = Vec::new();
    (&file).take(START as u64).read_to_end(&mut start).map_err(failed)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    drop(file);
    let kind = kind(&start);
    let fs = match kind {
        Kind::Ext4 { .. } => "ext4",
        Kind::Xfs { .. } => "xfs",
        Kind::Btrfs => "btrfs",
        Kind::Other(name) => return Err(GrowError::NotGrown { path, name }),
    };
    let mounted = Mounted::new(&path, fs)?;
    let grown = File::open(mounted.path()).and_then(|root| {
        match kind {
            Kind::Ext4 { block } => sys::grow_ext4(&root, size / block),
            Kind::Xfs { block, inodes_percent } => sys::grow_xfs(&root, size / block, inodes_percent),
            Kind::Btrfs | Kind::Other(_) => sys::grow_btrfs(&root),
        }?;
        let state = statvfs(mounted.path())?;
        Ok(state.f_frsize.saturating_mul(state.f_blocks))
    });
    mounted.close()?;
    let size = grown.map_err(|source| GrowError::Kernel { fs, path: path.clone(), source })?;
    say(&format!("the {fs} file system of {} has {} MiB now", path.display(), size >> 20));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_superblock_says_how_large_a_block_is() {
        let mut start = vec![0; START];
        assert_eq!(kind(&start), Kind::Other("no file system that is known"));
        assert_eq!(kind(&[]), Kind::Other("no file system that is known"));
        start[65600..65608].copy_from_slice(b"_BHRfS_M");
        assert_eq!(kind(&start), Kind::Btrfs);
        start[1080..1082].copy_from_slice(&[0x53, 0xef]);
        start[1048] = 2;
        assert_eq!(kind(&start), Kind::Ext4 { block: 4096 });
        let mut xfs = vec![0; START];
        xfs[..8].copy_from_slice(b"XFSB\0\0\x10\0");
        xfs[127] = 25;
        assert_eq!(kind(&xfs), Kind::Xfs { block: 4096, inodes_percent: 25 });
        assert_eq!(kind(b"LUKS\xba\xbe\0\x02"), Kind::Other("a LUKS volume"));
    }
}
