//! Growing pauses with jitter, so that a rack of machines does not come back in step.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

pub const FIRST: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, next: first, max }
    }

    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause to make now; `random` is in 0..1. The next one is half as long again, up to the limit.
    pub fn pause(&mut self, random: f64) -> Duration {
        let pause = jitter(self.next.min(self.max), random);
        self.next = self.next.mul_f64(1.5).min(self.max);
        pause
    }
}

/// Half to one and a half of `pause`.
pub fn jitter(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.5 + random.clamp(0.0, 1.0))
}

/// A number in 0..1, good enough to spread machines over time: every `RandomState` has different keys.
pub fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_half_up_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(5));
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause(0.5).as_millis()).collect();
        assert_eq!(pauses, [500, 750, 1125, 1687, 2531, 3796, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0), Duration::from_millis(250));
    }

    #[test]
    fn random_numbers_differ_and_stay_in_range() {
        let numbers: Vec<f64> = (0..50).map(|_| random()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        assert!(numbers.windows(2).any(|w| w[0] != w[1]));
    }
}
