//! The settings of logs: how much, and how long.

use std::time::Duration;

/// Less would hold only a few lines of each machine.
const LEAST_LOGS: u64 = 16 << 20;

pub fn limits(size: Option<&str>, days: Option<u32>, mistakes: &mut Vec<String>) -> server::LogLimits {
    let total = size.map_or(Some(1 << 30), bytes).filter(|total| *total >= LEAST_LOGS).unwrap_or_else(|| {
        let size = size.unwrap_or_default();
        mistakes.push(format!("log-size: {size:?} is not a size of at least 16MiB, such as 500MiB or 1GiB"));
        LEAST_LOGS
    });
    let days = days.unwrap_or(30);
    if days == 0 {
        mistakes.push("log-days: the logs are kept for at least 1 day".to_owned());
    }
    server::LogLimits::of(total, Duration::from_secs(u64::from(days) * 86_400))
}

/// A number with MiB, GiB or TiB.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = [("MiB", 20), ("GiB", 30), ("TiB", 40)]
        .into_iter()
        .find_map(|(unit, shift)| Some((text.trim().strip_suffix(unit)?, shift)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}
