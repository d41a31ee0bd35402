//! What the kernel knows about this process.

use metrics::Text;
use rustix::process::{Resource, getrlimit};

use super::families::{CPU, MEMORY, MOST_FILES, OPEN_FILES};

/// Linux counts in these for programs, whatever the kernel's own tick is.
const TICKS: f64 = 100.0;

pub fn write(text: &mut Text) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.family(&MEMORY);
    text.sample(&[], resident(&status));
    text.family(&CPU);
    text.real(&[], cpu(&stat));
    text.family(&OPEN_FILES);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count().saturating_sub(1)); // the folder's own
    text.sample(&[], open as u64);
    text.family(&MOST_FILES);
    text.sample(&[], getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    kibibytes * 1024
}

/// Seconds in the program and in the kernel. The name before them may have spaces.
fn cpu(stat: &str) -> f64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers_are_read_behind_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 1 2";
        assert!((cpu(stat) - 3.0).abs() < 1e-9, "{}", cpu(stat));
        assert_eq!(cpu("nonsense"), 0.0);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1234 kB\nVmData: 5 kB\n"), 1234 << 10);
    }
}
