//! Installed and usable memory.

use std::path::Path;

use proto::Memory;

use super::{names, read_word, size};

/// The sum of the kernel's memory blocks is the installed memory. Without blocks it is the memory that the kernel manages.
pub fn detect(blocks: &Path, meminfo: &str) -> Memory {
    let usable = field(meminfo, "MemTotal:");
    let block = read_word(&blocks.join("block_size_bytes")).and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    let online = |name: &String| {
        name.strip_prefix("memory").is_some_and(|n| n.parse::<u32>().is_ok())
            && read_word(&blocks.join(name).join("state")).is_none_or(|state| state == "online")
    };
    let count = names(blocks).iter().filter(|n| online(n)).count() as u64;
    let installed = block.map(|bytes| bytes.saturating_mul(count)).filter(|bytes| *bytes > 0);
    Memory { total: installed.or(usable).map(size), usable: usable.map(size) }
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
