//! How long to wait for an acknowledgement: as long as this client takes, by RFC 6298 with the bounds of a local network.

use std::time::Duration;

/// Before the first answer. Firmware opens its file and prints a line first.
const UNKNOWN: Duration = Duration::from_millis(250);
/// A lost packet costs this much on a fast network. Firmware that polls its card every 10 ms does not look slow.
const SHORTEST: Duration = Duration::from_millis(20);
/// Each further wait is twice as long, up to this or to the timeout that the client asked for.
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Pace {
    longest: Duration,
    /// The smoothed time of a round trip, and its variation.
    round_trip: Option<(Duration, Duration)>,
}

impl Pace {
    /// `timeout` is the option of RFC 2349.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { longest: timeout.max(LONGEST), round_trip: None }
    }

    /// An acknowledgement came so long after what it acknowledges.
    pub fn measured(&mut self, took: Duration) {
        self.round_trip = Some(match self.round_trip {
            None => (took, took / 2),
            Some((mean, variation)) => ((mean * 7 + took) / 8, (variation * 3 + mean.abs_diff(took)) / 4),
        });
    }

    /// The usual time of a round trip, 0 before the first.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.round_trip.map(|(mean, _)| mean).unwrap_or_default()
    }

    /// How long to wait after this many waits in vain.
    #[must_use]
    pub fn wait(&self, in_vain: u32) -> Duration {
        let first = self.round_trip.map_or(UNKNOWN, |(mean, variation)| (mean + variation * 4).max(SHORTEST));
        first.saturating_mul(2_u32.saturating_pow(in_vain)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_wait_follows_the_client() {
        let mut pace = Pace::new(ms(1000));
        assert_eq!((pace.wait(0), pace.wait(1), pace.wait(9)), (ms(250), ms(500), ms(5000)), "before the first answer");
        pace.measured(ms(1));
        assert_eq!((pace.wait(0), pace.wait(1), pace.wait(3)), (ms(20), ms(40), ms(160)), "a fast client");
        for _ in 0..50 {
            pace.measured(ms(300));
        }
        assert!(pace.wait(0) > ms(290) && pace.wait(0) < ms(450), "{:?} for a slow client", pace.wait(0));
        assert!(pace.round_trip() > ms(290));
        assert_eq!(Pace::new(ms(9000)).wait(30), ms(9000), "a client that asks for more time");
    }
}
