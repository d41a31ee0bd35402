//! `Retry-After` in both of its forms (RFC 9110, section 10.2.3). Pure.

use std::time::{Duration, SystemTime};

/// The pause that a server asks for, in seconds or until a date. The server's `Date` header is preferred to the machine's
/// clock, which may be wrong.
pub fn pause(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX >> 1)));
    }
    let until = seconds(text)?;
    let now = date.and_then(seconds).or_else(|| now.duration_since(SystemTime::UNIX_EPOCH).ok().map(|now| now.as_secs()))?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}

/// Seconds since 1970 of an HTTP date in any of its three forms.
fn seconds(date: &str) -> Option<u64> {
    let words: Vec<&str> = date.split([' ', ',', '-']).filter(|word| !word.is_empty()).collect();
    // `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`
    let (day, month, year, clock) = match words[..] {
        [_, day, month, year, clock, "GMT" | "UTC" | "Z"] => (day, month, year, clock),
        [_, month, day, clock, year] => (day, month, year, clock),
        _ => return None,
    };
    let year: u64 = match year.len() {
        2 => year.parse::<u64>().ok().map(|year| if year < 70 { 2000 + year } else { 1900 + year })?,
        _ => year.parse().ok().filter(|year| (1970..10_000).contains(year))?,
    };
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))? as u64 + 1;
    let day: u64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 in the Gregorian calendar, with years that begin in March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_all_dates_of_http_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        const DATE: Option<&str> = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        for (text, date, want) in [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999999", None, Some(u64::MAX >> 1)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", None, Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", None, Some(10)),
            ("Sun Nov  6 08:49:47 1994", None, Some(10)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", DATE, Some(47)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", None, Some(0)),
            ("Mon, 29 Feb 2016 00:00:00 GMT", Some("Sun, 28 Feb 2016 23:59:59 GMT"), Some(1)),
            ("-1", None, None),
            ("1.5", None, None),
            ("soon", None, None),
            ("Sun, 99 Nov 1994 08:49:47 GMT", None, None),
            ("", None, None),
        ] {
            assert_eq!(pause(text, date, now).map(|pause| pause.as_secs()), want, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", date in "[A-Za-z]{3}, [0-9]{1,12} [JFN][aeo][nbv] [0-9]{1,25} [0-9:]{0,9} GMT") {
            let _ = (pause(&text, Some(&date), SystemTime::UNIX_EPOCH), pause(&date, Some(&text), SystemTime::UNIX_EPOCH));
        }
    }
}
