//! Reports a service that hangs in the kernel. Such a process can neither report that nor end.

use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// The time between two checks. A process at the same place both times is stuck there.
const PATIENCE: Duration = Duration::from_secs(10);
/// A bit of `/proc/sys/kernel/tainted`: an oops has happened.
const DIED: u64 = 1 << 7;

pub struct HangCheck {
    service: &'static str,
    pub due: Instant,
    seen: Option<Place>,
    is_reported: bool,
}

/// The place where a process sleeps so that no signal can end it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    pid: Pid,
    /// The kernel's function, such as `rtnl_lock`.
    function: String,
}

impl HangCheck {
    pub fn new(service: &'static str, now: Instant) -> Self {
        Self { service, due: now + PATIENCE, seen: None, is_reported: false }
    }

    /// Call this when the check is due.
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
            if had_oops { "a driver has failed; see the kernel's lines with BUG or Oops" } else { "a driver does not come back" };
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

/// From proc(5): the state follows the name, which is in parentheses and may contain some.
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
    fn a_process_at_the_same_place_twice_is_stuck_and_reported_once() {
        let now = Instant::now();
        let mut watch = HangCheck::new("network", now);
        for (case, place, expected) in [
            ("it works", None, false),
            ("it waits for a disk", at(81, "io_schedule"), false),
            ("it waits at another place", at(81, "rtnl_lock"), false),
            ("it is another process", at(82, "rtnl_lock"), false),
            ("it does not move", at(82, "rtnl_lock"), true),
            ("it was reported already", at(82, "rtnl_lock"), false),
        ] {
            assert_eq!(watch.judge(place, false, now).is_some(), expected, "{case}");
            assert_eq!(watch.due, now + PATIENCE);
        }
    }

    #[test]
    fn the_line_names_the_place_and_an_oops() {
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
