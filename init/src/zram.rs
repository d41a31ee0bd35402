//! Compressed memory for machines that have little: a swap device in RAM, which takes the cold pages of unpacked
//! images. Set up after the agent has been started, so that the boot does not wait for it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::mount::{MountFlags, mount_remount};

use crate::memory::{MemoryInfo, mib};
use crate::modules::modprobe;
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError, sys};

const DEVICE: &str = "/dev/zram0";
const SYSFS: &str = "/sys/block/zram0";
const RUN: &str = "/run";
/// Machines with more than this have enough.
const SMALL: u64 = 512 << 20;
/// Swapping to RAM costs no seek: prefer it to dropping the page cache, and do not read ahead.
const SYSCTLS: &[(&str, &str)] = &[("/proc/sys/vm/swappiness", "100"), ("/proc/sys/vm/page-cluster", "0")];

/// Half of the memory, in whole pages. There is no limit on what the compressed content takes: with one, the kernel goes
/// on trying for minutes where a full device makes it give up at once.
fn size(total: u64, page: u64) -> Option<u64> {
    (total <= SMALL && page > 0).then(|| total / 2 / page * page)
}

/// What the machine can hold more than before. Programs shrink to five eighths, but not everything does.
fn gain(size: u64) -> u64 {
    size / 4
}

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let page = sys::page_size();
    let total = MemoryInfo::read().map_err(PathError::new("cannot read", MemoryInfo::PATH))?.total;
    let Some(size) = size(total, page) else { return Ok(()) };
    if !Path::new(SYSFS).exists() {
        modprobe::ask_for("zram");
    }
    if !Path::new(SYSFS).exists() {
        log::debug!("no compressed memory: the module zram is not in the ramdisk");
        return Ok(());
    }
    if let Err(error) = set_up(size, page) {
        log::warn!("no compressed memory: {error}");
        return Ok(()); // a second attempt would find the device half set up
    }
    log::info!("compressed memory: {} of swap", mib(size));
    if let Err(error) = enlarge_run(gain(size)) {
        log::warn!("{error}; images have no use for the compressed memory");
    }
    Ok(())
}

fn set_up(size: u64, page: u64) -> Result<(), PathError> {
    let disksize = Path::new(SYSFS).join("disksize");
    fs::write(&disksize, size.to_string()).map_err(PathError::new("cannot set", &disksize))?;
    make_swap(size / page, page).map_err(PathError::new("cannot write", DEVICE))?;
    sys::swap_on(DEVICE).map_err(PathError::new("cannot swap to", DEVICE))?;
    for (path, value) in SYSCTLS {
        fs::write(path, value).map_err(PathError::new("cannot set", path))?;
    }
    Ok(())
}

fn make_swap(pages: u64, page: u64) -> io::Result<()> {
    let header = swap_header(pages, page).ok_or(io::ErrorKind::InvalidInput)?;
    OpenOptions::new().write(true).open(DEVICE)?.write_all_at(&header, 0)
}

/// One page: version, last page and number of bad pages behind the boot block, the signature at the end.
fn swap_header(pages: u64, page: u64) -> Option<Vec<u8>> {
    const INFO: usize = 1024;
    const SIGNATURE: &[u8] = b"SWAPSPACE2";
    let last = u32::try_from(pages.checked_sub(1)?).ok()?;
    let mut header = vec![0; usize::try_from(page).ok()?];
    header.get_mut(INFO..INFO + 4)?.copy_from_slice(&1u32.to_ne_bytes());
    header.get_mut(INFO + 4..INFO + 8)?.copy_from_slice(&last.to_ne_bytes());
    let end = header.len().checked_sub(SIGNATURE.len())?;
    header.get_mut(end..)?.copy_from_slice(SIGNATURE);
    Some(header)
}

fn enlarge_run(by: u64) -> Result<(), PathError> {
    let now = statvfs(RUN).map_err(PathError::new("cannot read the size of", RUN))?;
    let size = now.f_blocks.saturating_mul(now.f_frsize).saturating_add(by);
    let options = std::ffi::CString::new(format!("size={size}")).unwrap_or_default();
    mount_remount(RUN, MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).map_err(PathError::new("cannot enlarge", RUN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn only_small_machines_compress_and_in_whole_pages() {
        assert_eq!((size(4 << 30, 4096), size(96 << 20, 0)), (None, None));
        assert_eq!(size(96_051_200, 4096), Some(11_725 * 4096));
    }

    #[test]
    fn the_swap_header_is_mkswaps() {
        let header = swap_header(18_000, 4096).unwrap();
        assert_eq!(header.len(), 4096);
        assert_eq!(header.get(1024..1036).unwrap(), [1, 0, 0, 0, 0x4f, 0x46, 0, 0, 0, 0, 0, 0]);
        assert!(header.ends_with(b"SWAPSPACE2"));
        assert_eq!(swap_header(0, 4096), None);
        assert_eq!(swap_header(9, 0), None);
    }
}
