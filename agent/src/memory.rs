//! Memory of actions: how much one may take, and its cost, which is the agent's peak and the lowest available memory.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use crate::space::mem_available;

const SAMPLED_EVERY: Duration = Duration::from_millis(500);

/// What an action must leave to the kernel and the agent, in bytes: a sixteenth, within these bounds.
const RESERVE: std::ops::RangeInclusive<u64> = (12 << 20)..=(256 << 20);
const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.subtree_control";

/// How many bytes an action may use if it starts now. Files in its root count as memory, too. An action that uses more is
/// killed in its cgroup. Without the limit the kernel could kill other processes.
pub fn limit() -> Option<u64> {
    let accounted = controllers().iter().any(|controller| controller == "memory");
    if accounted { available().map(share) } else { None }
}

/// The cgroup controllers that can limit actions.
pub fn controllers() -> Vec<String> {
    read(CONTROLLERS).split_whitespace().map(str::to_owned).collect()
}

fn share(available: u64) -> u64 {
    let reserve = (available / 16).clamp(*RESERVE.start(), *RESERVE.end());
    available.saturating_sub(reserve).max(*RESERVE.start())
}

/// If less than this many bytes is left, the running action gets it.
const SHORT: u64 = 24 << 20;
/// An action can fill memory at gigabytes a second, so the cgroup's limit is still needed.
const CHECKED_EVERY: Duration = Duration::from_millis(100);

/// Waits until the machine has little memory left.
pub async fn is_short() {
    while available().is_none_or(|available| available >= SHORT) {
        tokio::time::sleep(CHECKED_EVERY).await;
    }
}

/// How many processes the kernel has killed since its start because memory ran out.
pub fn oom_kills() -> u64 {
    let text = read("/proc/vmstat");
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The agent's largest resident size so far, in bytes.
    resident_peak: Option<u64>,
    /// The lowest available memory so far, in bytes.
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
    let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + SAMPLED_EVERY, SAMPLED_EVERY);
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
    crate::proc::read(path).unwrap_or_default()
}

fn resident_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_both_numbers() {
        let cost = Cost { resident_peak: resident_peak("Name:\tagent\nVmHWM:\t    9000 kB\n"), available_low: Some(52 << 20) };
        assert_eq!(cost.to_string(), "VmHWM 9000 kB, lowest MemAvailable 53248 kB");
        assert_eq!(resident_peak("VmHWM: lots"), None);
    }

    #[test]
    fn an_action_leaves_memory_to_the_machine() {
        for (available, limit) in [
            (52 << 20, 40 << 20),
            (16 << 20, 12 << 20),
            (0, 12 << 20),
            (1 << 30, 960 << 20),
            (64u64 << 30, (64 << 30) - (256 << 20)),
        ] {
            assert_eq!(share(available), limit, "of {available}");
        }
    }

    #[tokio::test]
    async fn work_is_done_and_watched() {
        let (done, cost) = watched(async { 7 }).await;
        assert_eq!(done, 7);
        assert!(cost.resident_peak.unwrap() > 0 && cost.available_low.unwrap() > 0);
    }
}
