//! The time of the boot server. The dates of the server's certificate fit it, and the machine's clock may be years off.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use trust::rustls::pki_types::UnixTime;
use trust::rustls::time_provider::TimeProvider;

/// Goes on from the Unix time that the boot server wrote into the kernel arguments, seconds before the kernel started.
#[derive(Debug)]
pub struct BootServerClock(pub u64);

impl TimeProvider for BootServerClock {
    fn current_time(&self) -> Option<UnixTime> {
        let up = Duration::try_from(clock_gettime(ClockId::Boottime)).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0).checked_add(up)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_from_the_boot_and_has_no_time_beyond_all_numbers() {
        let time = BootServerClock(1_700_000_000).current_time().unwrap().as_secs();
        assert!(time > 1_700_000_000, "{time}");
        assert_eq!(BootServerClock(u64::MAX).current_time(), None);
    }
}
