//! How much an image may take of the machine's memory and swap, and of the file system it is written to.

use std::path::Path;

use oci::{Free, Resource};
use rustix::fs::{StatVfs, statvfs};

/// Memory for everything but the image: the agent, the action itself, and the kernel.
const RESERVE: u64 = 12 << 20;

/// How much may be used below `path`.
pub fn free(path: &Path) -> Free {
    let swap = crate::proc::read("/proc/swaps").map_or(0, |text| swap_gain(&text));
    let memory = crate::proc::read("/proc/meminfo").ok().and_then(|text| mem_available(&text)).map(|m| m.saturating_add(swap));
    let memory = memory.map_or(u64::MAX, |memory| memory.saturating_sub(RESERVE));
    let (disk, inodes) = statvfs(path).map_or((u64::MAX, u64::MAX), |system| of_file_system(&system));
    Free { memory, disk, inodes }
}

/// Bytes and inodes. Some file systems do not count inodes and report that they have none.
fn of_file_system(system: &StatVfs) -> (u64, u64) {
    let inodes = if system.f_files == 0 { u64::MAX } else { system.f_favail };
    (system.f_bavail.saturating_mul(system.f_frsize), inodes)
}

/// The resource that ran out when a write failed.
pub fn exhausted(path: &Path) -> Resource {
    match free(path) {
        Free { inodes: 0, .. } => Resource::Inodes,
        free if free.disk <= free.memory => Resource::Disk,
        _ => Resource::Memory,
    }
}

/// The gain in bytes. Compressed memory (init's zram) gains little, and nothing for data that is already compressed. A disk
/// gains the space that it has.
fn swap_gain(swaps: &str) -> u64 {
    let free = |line: &str| -> Option<u64> {
        let mut fields = line.split_whitespace();
        let (device, _, size, used) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let kib = size.parse::<u64>().ok()?.checked_sub(used.parse().ok()?)?;
        kib.checked_mul(if device.starts_with("/dev/zram") { 256 } else { 1024 })
    };
    swaps.lines().skip(1).filter_map(free).fold(0, u64::saturating_add)
}

pub fn mem_available(meminfo: &str) -> Option<u64> {
    kib(meminfo, "MemAvailable:")
}

/// The value of a line in bytes.
fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_counts_for_what_it_can_hold() {
        let swaps = "Filename\tType\t\tSize\tUsed\tPriority\n/dev/zram0\tpartition\t65532\t4\t-2\n/dev/vdb\tpartition\t524284\t124284\t32767\n";
        assert_eq!(swap_gain(swaps), (65_528 / 4 + 400_000) * 1024);
        assert_eq!((swap_gain(""), swap_gain("Filename\n/dev/x partition 1")), (0, 0));
    }

    #[test]
    fn free_memory_is_read_from_meminfo() {
        assert_eq!(mem_available("MemTotal: 10 kB\nMemAvailable:     52 kB\n"), Some(52 * 1024));
        assert_eq!(mem_available("MemTotal: 10 kB\n"), None);
    }
}
