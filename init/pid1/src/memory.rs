//! The numbers of `/proc/meminfo`, in bytes.

use std::fs;
use std::io;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    pub total: u64,
    pub available: u64,
    pub swap_total: u64,
    pub swap_free: u64,
}

impl MemoryInfo {
    pub const PATH: &str = "/proc/meminfo";

    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string(Self::PATH)?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no MemTotal and MemAvailable"))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            total: bytes("MemTotal")?,
            available: bytes("MemAvailable")?,
            swap_total: bytes("SwapTotal").unwrap_or(0),
            swap_free: bytes("SwapFree").unwrap_or(0),
        })
    }
}

/// The size in the form for log lines.
pub fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes >> 10) & 1023) * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_bytes_and_swap_may_be_missing() {
        let info = MemoryInfo::parse("MemTotal:       223632 kB\nMemFree: 1 kB\nMemAvailable:   181512 kB\n");
        assert_eq!(info, Some(MemoryInfo { total: 223_632 << 10, available: 181_512 << 10, swap_total: 0, swap_free: 0 }));
        let info = MemoryInfo::parse("MemTotal: 2 kB\nMemAvailable: 1 kB\nSwapTotal: 8 kB\nSwapFree: 4 kB\n");
        assert_eq!(info.map(|info| (info.swap_total, info.swap_free)), Some((8192, 4096)));
        assert_eq!(MemoryInfo::parse("MemTotal: lots\n"), None);
    }

    #[test]
    fn sizes_are_shown_with_one_digit() {
        assert_eq!((mib(0), mib(1 << 20), mib((5 << 20) + (512 << 10))), ("0.0 MiB".into(), "1.0 MiB".into(), "5.5 MiB".into()));
    }
}
