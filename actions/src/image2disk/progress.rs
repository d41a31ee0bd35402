//! When an action says how far it is: now and then, and at the end.

use std::time::{Duration, Instant};

use machine::status;

use crate::say;

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
            say(&status::progress(done, total));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_distance() {
        let start = Instant::now();
        let mut progress = Progress::new(Duration::from_secs(3), start);
        let due: Vec<_> = [1, 3, 4, 5, 6].map(|second| progress.due(start + Duration::from_secs(second))).into();
        assert_eq!(due, [false, true, false, false, true]);
    }
}
