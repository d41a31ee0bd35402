//! The earliest time that the clock may show. A machine with an empty RTC battery starts in 1970, before any certificate
//! is valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::boot::Boot;
use crate::build_date::BUILT;
use crate::{PathError, StepError};

/// Sets a clock that is behind the build, or behind the boot server's `thimble.time`.
pub fn not_before_build(boot: &mut Boot) -> Result<(), StepError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let Some((floor, source)) = step(now, boot.arguments.time) else { return Ok(()) };
    clock_settime(ClockId::Realtime, Timespec { tv_sec: i64::try_from(floor)?, tv_nsec: 0 })
        .map_err(PathError::new("cannot set", format!("the clock to {floor}")))?;
    log::info!("the clock was {} s behind {source}, so it is set to that", floor - now);
    Ok(())
}

fn step(now: u64, announced: Option<u64>) -> Option<(u64, &'static str)> {
    let floors = [Some((BUILT, "the build of this ramdisk")), announced.map(|time| (time, "the boot server"))];
    floors.into_iter().flatten().max_by_key(|(time, _)| *time).filter(|(time, _)| *time > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_only_set_forward() {
        for (case, now, announced, expected) in [
            ("a good clock stays", BUILT + 5, None, None),
            ("1970 becomes the build", 100, None, Some((BUILT, "the build of this ramdisk"))),
            ("the server's time is later than the build", 100, Some(BUILT + 9), Some((BUILT + 9, "the boot server"))),
            ("a server with a dead clock is ignored", 100, Some(200), Some((BUILT, "the build of this ramdisk"))),
            ("a clock ahead of the server stays", BUILT + 9, Some(BUILT + 5), None),
        ] {
            assert_eq!(step(now, announced), expected, "{case}");
        }
    }
}
