//! Compares the host's clock with the time that passes, to detect that the clock was set by hand or by NTP.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A smaller step does not matter for deadlines.
const STEP: SignedDuration = SignedDuration::from_secs(5);

/// The clock at the last check.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    shown: Timestamp,
    at: Instant,
}

impl Clock {
    #[must_use]
    pub const fn new(shown: Timestamp, at: Instant) -> Self {
        Self { shown, at }
    }

    /// How far the clock was set since the last check.
    pub fn moved(&mut self, shown: Timestamp, at: Instant) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(at.saturating_duration_since(self.at)).unwrap_or_default();
        let by = shown.duration_since(self.shown).checked_sub(passed).unwrap_or_default();
        *self = Self { shown, at };
        (by.abs() > STEP).then_some(by)
    }
}

/// The time of the last call, corrected for the step of the clock. It is never in the future.
#[must_use]
pub fn heard_after(at: Timestamp, by: SignedDuration, now: Timestamp) -> Timestamp {
    // After a step back, a time that is not in the future was already taken from the new clock.
    if by.is_negative() && at <= now {
        return at;
    }
    at.checked_add(by).unwrap_or(now).min(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_is_the_difference_between_the_clock_and_the_time_that_passed() {
        let (time, start) = (Timestamp::from_second(1_000_000).unwrap(), Instant::now());
        let second = SignedDuration::from_secs(1);
        let mut clock = Clock::new(time, start);
        let mut at = 0;
        for (case, passed, shown, expected) in [
            ("a second", 1, 1, None),
            ("a busy hour", 3600, 3600, None),
            ("a correction by NTP", 1, 3, None),
            ("a day forward", 1, 86_401, Some(86_400)),
            ("a second after it", 1, 1, None),
            ("a day back", 1, -86_399, Some(-86_400)),
        ] {
            at += passed;
            let shown = clock.shown + second * shown;
            let moved = clock.moved(shown, start + Duration::from_secs(at));
            assert_eq!(moved.map(|by| by.as_secs()), expected, "{case}");
        }
    }

    #[test]
    fn the_age_of_a_call_does_not_change() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        for (case, heard, by, now, expected) in [
            ("a day forward", -10, 86_400, 86_400, 86_390),
            ("a day forward, and a call since", 86_400, 86_400, 86_401, 86_401),
            ("a day back", -10, -86_400, -86_400, -86_410),
            ("a day back, and a call since", -86_400, -86_400, -86_399, -86_400),
        ] {
            assert_eq!(heard_after(at(heard), SignedDuration::from_secs(by), at(now)), at(expected), "{case}");
        }
    }
}
