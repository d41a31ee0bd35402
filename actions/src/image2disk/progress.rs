//! When an action says how far it is: now and then, and at the end.

use std::time::{Duration, Instant};

use machine::status;

use crate::say;

#[derive(Debug)]
pub struct Progress {
    every: Duration,
    start: Instant,
    last: Instant,
    reported: u64,
}

impl Progress {
    pub fn new(every: Duration, now: Instant) -> Self {
        Self { every, start: now, last: now, reported: 0 }
    }

    /// `done` and `total` count downloaded bytes. Some servers do not give the total.
    pub fn report(&mut self, done: u64, total: Option<u64>, now: Instant) {
        let (before, since) = (self.reported, self.last);
        if self.due(now) {
            self.reported = done;
            let recent = rate(done.saturating_sub(before), now.saturating_duration_since(since));
            let all = rate(done, now.saturating_duration_since(self.start));
            let left = total.and_then(|total| left(total.saturating_sub(done), all)).unwrap_or_default();
            say(&format!("{}, {:.1} MB/s{left}", status::progress(done, total), recent / 1e6));
        }
    }

    /// The line for the whole image, unless it was the last one.
    pub fn complete(&self, read: u64) {
        if self.reported != read {
            say(&status::progress(read, Some(read)));
        }
    }

    fn due(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
    }
}

/// In bytes a second.
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64().max(0.001)
}

/// `None` as long as nothing arrives.
fn left(bytes: u64, rate: f64) -> Option<String> {
    let seconds = (rate >= 1.0).then(|| (bytes as f64 / rate).ceil() as u64)?;
    Some(match seconds {
        0..120 => format!(", {seconds} s left"),
        120..7200 => format!(", {} min left", seconds.div_ceil(60)),
        _ => format!(", {} h left", seconds.div_ceil(3600)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_in_units_that_a_person_reads() {
        for (bytes, rate, expected) in [
            (1_000_000, 100_000.0, Some(", 10 s left")),
            (0, 100_000.0, Some(", 0 s left")),
            (30_000_000, 100_000.0, Some(", 5 min left")),
            (3_000_000_000, 100_000.0, Some(", 9 h left")),
            (1, 0.0, None),
        ] {
            assert_eq!(left(bytes, rate).as_deref(), expected, "{bytes} at {rate}");
        }
    }

    #[test]
    fn lines_keep_their_distance() {
        let start = Instant::now();
        let mut progress = Progress::new(Duration::from_secs(3), start);
        let due: Vec<_> = [1, 3, 4, 5, 6].map(|second| progress.due(start + Duration::from_secs(second))).into();
        assert_eq!(due, [false, true, false, false, true]);
    }
}
