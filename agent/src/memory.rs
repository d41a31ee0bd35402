//! What an action costs in memory: the agent's own peak and the machine's least available, for the line after each action.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use crate::image::space::mem_available;

const SAMPLED_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Bytes; the agent's largest resident size so far.
    resident_peak: Option<u64>,
    /// Bytes; the least that was seen available.
    available_low: Option<u64>,
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes / 1024).to_string());
        write!(out, "VmHWM {} kB, lowest MemAvailable {} kB", kib(self.resident_peak), kib(self.available_low))
    }
}

/// Does the work and watches the memory meanwhile.
pub async fn watched<T>(work: impl Future<Output = T>) -> (T, Cost) {
    let mut work = pin!(work);
    let mut clock = tokio::time::interval(SAMPLED_EVERY);
    let mut low = None;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                let cost = Cost { resident_peak: resident_peak(&read("/proc/self/status")), available_low: lower(low, available()) };
                return (done, cost);
            }
            _ = clock.tick() => low = lower(low, available()),
        }
    }
}

fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

fn available() -> Option<u64> {
    mem_available(&read("/proc/meminfo"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn resident_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_line_names_both_numbers() {
        let cost = Cost { resident_peak: resident_peak("Name:\tagent\nVmHWM:\t    9000 kB\n"), available_low: Some(52 << 20) };
        assert_eq!(cost.to_string(), "VmHWM 9000 kB, lowest MemAvailable 53248 kB");
        assert_eq!(resident_peak("VmHWM: lots"), None);
    }

    #[tokio::test]
    async fn work_is_done_and_watched() {
        let (done, cost) = watched(async { 7 }).await;
        assert_eq!(done, 7);
        assert!(cost.resident_peak.unwrap() > 0 && cost.available_low.unwrap() > 0);
    }
}
