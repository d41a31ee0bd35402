//! How long to keep trying: as long as the image advances, and then for a limited time.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    furthest: u64,
    since: Instant,
    pause: Duration,
}

impl Patience {
    /// A limit of zero allows one attempt only.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, furthest: 0, since: now, pause: FIRST_PAUSE }
    }

    /// So many bytes have arrived since the image's start. Only more than ever before are progress.
    pub fn reached(&mut self, delivered: u64, now: Instant) {
        if delivered > self.furthest {
            self.furthest = delivered;
            self.since = now;
            self.pause = FIRST_PAUSE;
        }
    }

    /// The wait before the next attempt, or `None` if the time is over.
    pub fn pause(&mut self, now: Instant) -> Option<Duration> {
        let left = self.limit.checked_sub(now.saturating_duration_since(self.since)).filter(|left| !left.is_zero())?;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_bytes_arrive() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(600), start);
        let pauses: Vec<_> = (0..9).filter_map(|_| patience.pause(start)).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        patience.reached(1, start);
        assert_eq!(patience.pause(start), Some(FIRST_PAUSE));
    }

    #[test]
    fn the_limit_counts_from_the_last_new_byte() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(Duration::from_secs(60), start);
        patience.reached(100, at(50));
        assert!(patience.pause(at(100)).is_some());
        patience.reached(100, at(105)); // the same bytes again after a new start
        assert_eq!(patience.pause(at(110)), None);
    }

    #[test]
    fn without_retries_the_first_failure_is_the_last() {
        let start = Instant::now();
        assert_eq!(Patience::new(Duration::ZERO, start).pause(start), None);
    }
}
