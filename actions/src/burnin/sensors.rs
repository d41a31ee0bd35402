//! What the machine's sensors and error counters say: temperatures, throttling, errors of memory.

use super::{Found, Limits};
use crate::json::Object;
use std::fs;
use std::path::{Path, PathBuf};

const MANY: usize = 1024;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sensors {
    /// The hottest one.
    celsius: Option<u64>,
    corrected: u64,
    uncorrected: u64,
    throttled: u64,
}

impl Sensors {
    /// `root` is `/`, except in tests.
    pub fn read(root: &Path) -> Self {
        let sum = |folder: &str, place: &str| -> u64 {
            numbers(root, folder, place).iter().fold(0, |sum, number| sum.saturating_add(*number))
        };
        let zones = numbers(root, "sys/class/thermal", "temp");
        Self {
            celsius: zones.into_iter().map(|milli| milli / 1000).filter(|celsius| *celsius < 200).max(),
            corrected: sum("sys/devices/system/edac/mc", "ce_count"),
            uncorrected: sum("sys/devices/system/edac/mc", "ue_count"),
            throttled: sum("sys/devices/system/cpu", "thermal_throttle/core_throttle_count"),
        }
    }

    /// What happened from here to `after`.
    pub fn since(&self, after: &Self, limits: Limits) -> Found {
        let corrected = after.corrected.saturating_sub(self.corrected);
        let uncorrected = after.uncorrected.saturating_sub(self.uncorrected);
        let mut object = Object::default()
            .plain("memory_errors_corrected", corrected)
            .plain("memory_errors_uncorrected", uncorrected)
            .plain("throttled", after.throttled.saturating_sub(self.throttled));
        let mut failures = Vec::new();
        if uncorrected > 0 {
            failures.push(format!("memory had {uncorrected} errors that could not be corrected"));
        }
        if let Some(limit) = limits.corrected.filter(|limit| corrected > *limit) {
            failures.push(format!("memory had {corrected} corrected errors, and at most {limit} are wanted"));
        }
        if let Some(celsius) = after.celsius {
            object = object.plain("celsius", celsius);
            if let Some(limit) = limits.celsius.filter(|limit| celsius > *limit) {
                failures.push(format!("the machine has {celsius} degrees Celsius, and at most {limit} are wanted"));
            }
        }
        Found { name: "sensors", json: object.render(), failures }
    }
}

/// The number in this place of each subfolder that has one.
fn numbers(root: &Path, folder: &str, place: &str) -> Vec<u64> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten().take(MANY);
    let files = entries.map(|entry| entry.path().join(place));
    files.filter_map(|path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_count_from_the_start_of_the_test() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/devices/system/edac/mc/mc0/ce_count", "5\n");
        put("sys/devices/system/edac/mc/mc1/ce_count", "1\n");
        put("sys/class/thermal/thermal_zone0/temp", "45000\n");
        let before = Sensors::read(root.path());
        put("sys/devices/system/edac/mc/mc1/ce_count", "4\n");
        put("sys/devices/system/edac/mc/mc0/ue_count", "1\n");
        put("sys/class/thermal/thermal_zone1/temp", "96500\n");
        let limits = Limits { celsius: Some(90), corrected: Some(2), ..Limits::default() };
        let found = before.since(&Sensors::read(root.path()), limits);
        assert_eq!(found.failures.len(), 3, "{:?}", found.failures);
        assert!(found.json.contains("\"memory_errors_corrected\":3") && found.json.contains("\"celsius\":96"), "{}", found.json);
        let none = before.since(&before, limits);
        assert!(none.failures.is_empty());
    }
}
