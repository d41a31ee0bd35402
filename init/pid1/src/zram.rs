//! Compressed memory for small machines: a swap device in RAM, which takes the cold pages of unpacked images.
//! It is set up after the agent has started, so that the boot does not wait for it.

use std::fs;
use std::path::Path;

use machine::Chain;
use rustix::fs::statvfs;
use rustix::mount::{MountFlags, mount_remount};

use crate::memory::{MemoryInfo, mib};
use crate::modules::modprobe;
use crate::ready::Ready;
use crate::service::Facts;
use crate::{PathError, StepError};

const DEVICE: &str = "/dev/zram0";
const SYSFS: &str = "/sys/block/zram0";
const RUN: &str = "/run";
/// Machines with more memory than this do not need it.
const SMALL: u64 = 512 << 20;
/// Swapping to memory costs no seek, so prefer it to dropping the page cache, and do not read ahead.
const SYSCTLS: &[(&str, &str)] = &[("/proc/sys/vm/swappiness", "100"), ("/proc/sys/vm/page-cluster", "0")];

/// Half of the memory, in whole pages. The compressed content has no limit. At such a limit the kernel keeps trying for
/// minutes, while it stops at once if the device is full.
fn size(total: u64, page: u64) -> Option<u64> {
    (total <= SMALL && page > 0).then(|| total / 2 / page * page)
}

/// How much more the machine can hold. Programs shrink to five eighths, other data less.
fn gain(size: u64) -> u64 {
    size / 4
}

pub fn run(_: &Facts, _: Ready) -> Result<(), StepError> {
    let page = machine::swap::page_size();
    let total = MemoryInfo::read().map_err(PathError::new("cannot read", MemoryInfo::PATH))?.total;
    let Some(size) = size(total, page) else { return Ok(()) };
    if !Path::new(SYSFS).exists() {
        modprobe::ask_for("zram");
    }
    if !Path::new(SYSFS).exists() {
        log::debug!("no compressed memory: the module zram is not in the ramdisk");
        return Ok(());
    }
    if let Err(error) = set_up(size) {
        log::warn!("no compressed memory: {}", Chain(&error));
        return Ok(()); // a second attempt would find a partly configured device
    }
    log::info!("compressed memory: {} of swap", mib(size));
    if let Err(error) = enlarge_run(gain(size)) {
        log::warn!("{}; images cannot use the compressed memory", Chain(&error));
    }
    Ok(())
}

fn set_up(size: u64) -> Result<(), PathError> {
    let disksize = Path::new(SYSFS).join("disksize");
    fs::write(&disksize, size.to_string()).map_err(PathError::new("cannot set", &disksize))?;
    machine::swap::on(Path::new(DEVICE), size, false).map_err(PathError::new("cannot swap to", DEVICE))?;
    for (path, value) in SYSCTLS {
        fs::write(path, value).map_err(PathError::new("cannot set", path))?;
    }
    Ok(())
}

fn enlarge_run(by: u64) -> Result<(), PathError> {
    let now = statvfs(RUN).map_err(PathError::new("cannot read the size of", RUN))?;
    let size = now.f_blocks.saturating_mul(now.f_frsize).saturating_add(by);
    let options = std::ffi::CString::new(format!("size={size}")).unwrap_or_default();
    mount_remount(RUN, MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str()).map_err(PathError::new("cannot enlarge", RUN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_machines_compress_and_in_whole_pages() {
        assert_eq!((size(4 << 30, 4096), size(96 << 20, 0)), (None, None));
        assert_eq!(size(96_051_200, 4096), Some(11_725 * 4096));
    }
}
