//! How often and how long a pull is tried again.

use std::time::{Duration, Instant};

use machine::backoff::{self, Backoff};

use super::request::{Hope, RequestError};

/// If a server asks for a longer pause than this (`Retry-After`), it is tried earlier.
const ASKED_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Patience {
    /// The number of attempts if the registry answers with errors.
    pub attempts: u32,
    /// How long a registry may be unreachable.
    pub absence: Duration,
    pub first_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 5, absence: Duration::from_secs(120), first_pause: backoff::FIRST }
    }
}

/// The failures in a row since the last success.
pub struct Retry {
    patience: Patience,
    backoff: Backoff,
    failures: u32,
    since: Option<Instant>,
}

impl Retry {
    pub fn new(patience: &Patience) -> Self {
        let backoff = Backoff::new(patience.first_pause, Duration::from_secs(5));
        Self { patience: patience.clone(), backoff, failures: 0, since: None }
    }

    pub fn progress(&mut self) {
        *self = Self::new(&self.patience);
    }

    /// The pause before the next attempt, or `None` to stop trying.
    pub fn after(&mut self, error: &RequestError, now: Instant) -> Option<Duration> {
        let pause = self.hoping(error.hope(), now)?;
        Some(error.retry_after().map_or(pause, |asked| pause.max(asked.min(ASKED_MAX))))
    }

    fn hoping(&mut self, hope: Hope, now: Instant) -> Option<Duration> {
        self.failures += 1;
        let since = *self.since.get_or_insert(now);
        let again = match hope {
            Hope::None => false,
            Hope::Failing => self.failures < self.patience.attempts,
            Hope::Absent => self.failures < self.patience.attempts || now.duration_since(since) < self.patience.absence,
        };
        again.then(|| self.backoff.pause(backoff::random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(hope: Hope, step: Duration) -> u32 {
        let mut retry = Retry::new(&Patience::default());
        let mut now = Instant::now();
        let mut count = 1;
        while retry.hoping(hope, now).is_some() {
            count += 1;
            now += step;
        }
        count
    }

    #[test]
    fn an_absent_registry_gets_two_minutes_and_a_failing_one_five_attempts() {
        assert_eq!(attempts(Hope::None, Duration::ZERO), 1);
        assert_eq!(attempts(Hope::Failing, Duration::from_secs(1)), 5);
        assert_eq!(attempts(Hope::Absent, Duration::from_secs(5)), 25);
        assert_eq!(attempts(Hope::Absent, Duration::from_secs(60)), 5, "slow failures have all their attempts, too");
    }

    #[test]
    fn progress_forgives() {
        let mut retry = Retry::new(&Patience { attempts: 2, ..Patience::default() });
        let now = Instant::now();
        assert!(retry.hoping(Hope::Failing, now).is_some());
        retry.progress();
        assert!(retry.hoping(Hope::Failing, now).is_some());
        assert!(retry.hoping(Hope::Failing, now).is_none());
    }
}
