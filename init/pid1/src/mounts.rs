//! The pseudo-filesystems that the kernel, the agent and its containers expect.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use machine::{Chain, files};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::boot::Boot;
use crate::{PathError, StepError, cgroups, console};

const EFI: &str = "/sys/firmware/efi/efivars";

struct Mount {
    fstype: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static str,
    /// Whether a kernel or a machine works without it.
    optional: bool,
}

const fn need(fstype: &'static str, target: &'static str, flags: MountFlags, options: &'static str) -> Mount {
    Mount { fstype, target, flags, options, optional: false }
}

const fn want(fstype: &'static str, target: &'static str, flags: MountFlags, options: &'static str) -> Mount {
    Mount { fstype, target, flags, options, optional: true }
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounted in this order. `/run` follows later, because a kernel argument sets its size.
const PSEUDO: &[Mount] = &[
    need("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755"),
    need("proc", "/proc", SAFE, ""),
    need("sysfs", "/sys", SAFE, ""),
    need("devpts", "/dev/pts", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=0620,ptmxmode=0666"),
    need("tmpfs", "/dev/shm", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=1777"),
    need("tmpfs", "/tmp", MountFlags::NOSUID.union(MountFlags::NODEV), "mode=1777"),
    need("cgroup2", cgroups::ROOT, SAFE, ""),
    want("mqueue", "/dev/mqueue", SAFE, ""),
    want("securityfs", "/sys/kernel/security", SAFE, ""),
];

pub fn pseudo(_: &mut Boot) -> Result<(), StepError> {
    for entry in PSEUDO {
        match attach(entry, entry.options) {
            Err(error) if entry.optional => log::debug!("{}", Chain(&error)),
            result => result?,
        }
    }
    quick_moves();
    console::open_sink();
    console::lift_rate_limit();
    fs::create_dir_all(files::WORKER).map_err(PathError::new("cannot make", files::WORKER))?;
    cgroups::make()
}

/// Each action enters a cgroup, for which Linux waits milliseconds for all processors. Since 6.0 it has an option to be
/// quick here, at the expense of forks and exits.
fn quick_moves() {
    let quick = mount_remount(cgroups::ROOT, SAFE, c"favordynmods");
    if let Err(error) = quick {
        log::debug!("cannot ask for quick moves between cgroups: {error}");
    }
}

/// Runs after the ramdisk was checked. If efivarfs is a module, the kernel has it loaded, and a loaded module's file is
/// removed.
pub fn efi_variables(_: &mut Boot) -> Result<(), StepError> {
    if Path::new(EFI).exists() {
        attach(&want("efivarfs", EFI, SAFE, ""), "")?;
    }
    Ok(())
}

/// Mounts `/run` with a given size. A tmpfs takes half of the memory by default, and images need more on a small machine.
pub fn run(percent: u8) -> Result<(), StepError> {
    let flags = MountFlags::NOSUID.union(MountFlags::NODEV);
    let memory = rustix::system::sysinfo();
    let inodes = inodes(memory.totalram.saturating_mul(memory.mem_unit.into()));
    let options = format!("mode=0755,size={percent}%,nr_inodes={inodes}");
    attach(&need("tmpfs", "/run", flags, ""), &options)?;
    // It is private, because the agent unpacks images there, and an image may have programs with setuid bits.
    let mut private = fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(files::STATUS_PARTS);
    Ok(made.map_err(PathError::new("cannot make", files::STATUS_PARTS))?)
}

/// By default the kernel allows one inode per 8 KiB of memory, and images of many small files need more. An inode takes a
/// kilobyte. With one per 2 KiB, empty files fill at most half of the memory.
fn inodes(memory: u64) -> u64 {
    memory / 2048
}

fn attach(entry: &Mount, options: &str) -> Result<(), PathError> {
    let target = Path::new(entry.target);
    // sysfs has the mount points for file systems that the kernel supports.
    if !(entry.optional && target.starts_with("/sys")) {
        fs::create_dir_all(target).map_err(PathError::new("cannot make", target))?;
    }
    let options = CString::new(options).map_err(PathError::new("bad mount options for", target))?;
    match mount(entry.fstype, target, entry.fstype, entry.flags, options.as_c_str()) {
        Ok(()) | Err(Errno::BUSY) => Ok(()), // busy means that it is mounted already (CONFIG_DEVTMPFS_MOUNT)
        Err(error) => Err(PathError::new("cannot mount", format!("{} on {}", entry.fstype, entry.target))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_thousand_small_files_fit_into_256_mib_and_empty_ones_cannot_fill_it() {
        const INODE: u64 = 1024;
        for mib in [128, 256, 1024] {
            let inodes = inodes(mib << 20);
            assert!(inodes >= 60_000 && inodes * INODE <= (mib << 20) / 2, "{inodes} of {mib} MiB");
        }
    }
}
