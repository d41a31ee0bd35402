//! A service that hangs in the kernel cannot say so, and does not end. PID 1 says it.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// Between two looks. A process at the same place both times is stuck there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bit of `/proc/sys/kernel/tainted`: there has been an oops.
const DIED: u64 = 1 << 7;

pub struct HangCheck {
    service: &'static str,
    pub due: Instant,
    seen: Option<Place>,
    is_reported: bool,
}

/// Where a process sleeps in a way that no signal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    pid: Pid,
    /// `rtnl_lock`, for instance.
    function: String,
}

impl HangCheck {
    pub fn new(service: &'static str, now: Instant) -> Self {
        Self { service, due: now + PATIENCE, seen: None, is_reported: false }
    }

    /// To be called when it is due.
    pub fn look(&mut self, pid: Option<Pid>, now: Instant) {
        if let Some(line) = self.judge(pid.and_then(place), had_oops(), now) {
            log::error!("{line}");
        }
    }

    fn judge(&mut self, place: Option<Place>, had_oops: bool, now: Instant) -> Option<String> {
        self.due = now + PATIENCE;
        let before = std::mem::replace(&mut self.seen, place);
        let place = self.seen.as_ref().filter(|place| Some(*place) == before.as_ref())?;
        if std::mem::replace(&mut self.is_reported, true) {
            return None;
        }
        let cause =
            if had_oops { "a driver has failed, see the kernel's lines at BUG or Oops" } else { "a driver does not come back" };
        Some(format!(
            "{} (process {}) hangs in the kernel, in {}: {cause}. Only a restart helps: ctrl-alt-del; after an oops panic=10 \
             restarts by itself, and module_blacklist=NAME leaves a driver out",
            self.service, place.pid, place.function
        ))
    }
}

fn place(pid: Pid) -> Option<Place> {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    if !is_uninterruptible(&read("stat")?) {
        return None;
    }
    let function = read("wchan").filter(|name| !matches!(name.as_str(), "" | "0"));
    Some(Place { pid, function: function.unwrap_or_else(|| "a function without a name".to_owned()) })
}

/// proc(5): the state follows the name, which stands in parentheses and may contain some.
fn is_uninterruptible(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
}

fn had_oops() -> bool {
    let tainted = fs::read_to_string("/proc/sys/kernel/tainted").ok().and_then(|text| text.trim().parse::<u64>().ok());
    tainted.is_some_and(|bits| bits & DIED != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pid: i32, function: &str) -> Option<Place> {
        Some(Place { pid: Pid::from_raw(pid), function: function.to_owned() })
    }

    #[test]
    fn a_process_that_is_seen_at_one_place_twice_is_stuck_and_that_is_said_once() {
        let now = Instant::now();
        let mut watch = HangCheck::new("network", now);
        for (case, place, expected) in [
            ("it works", None, false),
            ("it waits for a disk", at(81, "io_schedule"), false),
            ("it waits for something else", at(81, "rtnl_lock"), false),
            ("it is another one", at(82, "rtnl_lock"), false),
            ("it does not move", at(82, "rtnl_lock"), true),
            ("that is known", at(82, "rtnl_lock"), false),
        ] {
            assert_eq!(watch.judge(place, false, now).is_some(), expected, "{case}");
            assert_eq!(watch.due, now + PATIENCE);
        }
    }

    #[test]
    fn the_line_says_where_and_whether_there_was_an_oops() {
        let line = |had_oops| {
            let mut watch = HangCheck::new("network", Instant::now());
            watch.judge(at(81, "rtnl_lock"), had_oops, watch.due);
            watch.judge(at(81, "rtnl_lock"), had_oops, watch.due).unwrap_or_default()
        };
        assert!(line(true).starts_with("network (process 81) hangs in the kernel, in rtnl_lock: a driver has failed"));
        assert!(line(false).contains("a driver does not come back"));
    }

    #[test]
    fn only_a_sleep_that_nothing_ends_counts() {
        for (stat, expected) in [
            ("81 (network) D 1 81 0", true),
            ("81 (a) S (b) D 1", true),
            ("81 (network) S 1 81 0", false),
            ("81 (x) D (y) R 1", false),
            ("", false),
        ] {
            assert_eq!(is_uninterruptible(stat), expected, "{stat}");
        }
    }
}
