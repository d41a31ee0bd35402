//! The lines `progress P% DONE/TOTAL bytes`, which the agent and the demo read.

use crate::say;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Progress {
    every: Duration,
    last: Instant,
    reported: u64,
}

impl Progress {
    pub fn new(every: Duration, now: Instant) -> Self {
        Self { every, last: now, reported: 0 }
    }

    /// `done` and `total` count downloaded bytes. Some servers do not give the total.
    pub fn report(&mut self, done: u64, total: Option<u64>, now: Instant) {
        if self.due(now) {
            self.reported = done;
            say(&line(done, total));
        }
    }

    /// The line for the whole image, unless it was the last one.
    pub fn complete(&self, read: u64) {
        if self.reported != read {
            say(&line(read, Some(read)));
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

fn line(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => {
            let percent = u128::from(done) * 100 / u128::from(total.max(1));
            format!("progress {}% {done}/{total} bytes", percent.min(100))
        }
        None => format!("progress ?% {done}/? bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_percent_and_bytes() {
        for (done, total, expected) in [
            (0, Some(200), "progress 0% 0/200 bytes"),
            (199, Some(200), "progress 99% 199/200 bytes"),
            (200, Some(200), "progress 100% 200/200 bytes"),
            (0, Some(0), "progress 0% 0/0 bytes"),
            (77, None, "progress ?% 77/? bytes"),
        ] {
            assert_eq!(line(done, total), expected);
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
