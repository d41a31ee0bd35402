//! How long a call for work is held: as long as its caller says that it waits. A call costs processor time each time it begins
//! again, most of it for TLS. Pure.

use std::time::Duration;
use tonic::metadata::MetadataMap;

/// A caller that waits for longer is held so many times the usual time at most.
pub const LONGER: u32 = 4;
/// For the answer to reach a caller that gives up at its deadline.
const WAY: Duration = Duration::from_secs(10);
/// gRPC over HTTP/2, "Timeout".
const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// After which the caller gives up. Tinkerbell's agents never do.
pub fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    parse(metadata.get(HEADER)?.to_str().ok()?)
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// How long to hold a call whose caller gives up after `deadline`.
pub fn limit(usual: Duration, deadline: Option<Duration>) -> Duration {
    match deadline {
        None => usual,
        Some(deadline) => deadline.saturating_sub(WAY.min(deadline / 4)).min(usual * LONGER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        for (text, expected) in [
            ("240S", Some(Duration::from_secs(240))),
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("10", None),
            ("+1S", None),
            ("999999999S", None),
            ("1s", None),
            ("1\u{df}", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_call_is_held_until_its_caller_would_give_up_and_no_longer_than_four_times_the_usual_time() {
        let usual = Duration::from_secs(55);
        for (deadline, expected) in [(None, 55.0), (Some(240), 220.0), (Some(100), 90.0), (Some(20), 15.0), (Some(0), 0.0)] {
            assert_eq!(limit(usual, deadline.map(Duration::from_secs)).as_secs_f64(), expected, "{deadline:?}");
        }
        assert_eq!(limit(usual, Some(Duration::from_secs(1_000_000))), Duration::from_secs(220));
    }
}
