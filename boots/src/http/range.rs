//! Which bytes of a file a request asks for (RFC 9110 sections 13 and 14). Pure.

use http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What distinguishes one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub etag: String,
    pub modified: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// `start` to `end`, both included.
    Part {
        start: u64,
        end: u64,
    },
    NotModified,
    Unsatisfiable,
}

/// What a GET or HEAD asks for, of a file of `size` bytes.
#[must_use]
pub fn wanted(headers: &HeaderMap, version: &Version, size: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let not_modified = match (text(header::IF_NONE_MATCH), text(header::IF_MODIFIED_SINCE)) {
        (Some(tags), _) => tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == version.etag),
        (None, Some(date)) => parse_date(date).is_some_and(|date| version.modified.as_second() <= date.as_second()),
        (None, None) => false,
    };
    if not_modified {
        return Wanted::NotModified;
    }
    let same_version = text(header::IF_RANGE).is_none_or(|condition| is_version(condition, version));
    match text(header::RANGE) {
        Some(range) if same_version => part(range, size),
        _ => Wanted::Whole,
    }
}

/// A strong tag, or exactly the date of the file.
fn is_version(condition: &str, version: &Version) -> bool {
    let condition = condition.trim();
    condition == version.etag || parse_date(condition).is_some_and(|date| date.as_second() == version.modified.as_second())
}

/// One range of bytes. The whole file answers several ranges, other units and nonsense.
fn part(range: &str, size: u64) -> Wanted {
    let Some((unit, set)) = range.split_once('=') else { return Wanted::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::Whole;
    }
    let number = |text: &str| -> Option<u64> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX)) // more digits are beyond any file
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(start), Some(end)) if start <= end => (start, end),
        (Some(start), None) if last.trim().is_empty() => (start, u64::MAX),
        (None, Some(0)) if first.trim().is_empty() => return Wanted::Unsatisfiable,
        (None, Some(suffix)) if first.trim().is_empty() => (size.saturating_sub(suffix), u64::MAX),
        _ => return Wanted::Whole,
    };
    if start >= size { Wanted::Unsatisfiable } else { Wanted::Part { start, end: end.min(size - 1) } }
}

const DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

#[must_use]
pub fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime(DATE).to_string()
}

pub fn parse_date(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime(DATE, text.trim()).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version { etag: "\"v1\"".to_owned(), modified: Timestamp::from_second(784_111_777).unwrap() }
    }

    fn asked(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        let part = |start, end| Wanted::Part { start, end };
        for (range, size, result) in [
            ("bytes=0-9", 100, part(0, 9)),
            ("bytes=90-200", 100, part(90, 99)),
            ("bytes=99-", 100, part(99, 99)),
            ("bytes=-10", 100, part(90, 99)),
            ("bytes=-200", 100, part(0, 99)),
            ("Bytes= 5 - 6 ", 100, part(5, 6)),
            ("bytes=100-", 100, Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", 100, Wanted::Unsatisfiable),
            ("bytes=-0", 100, Wanted::Unsatisfiable),
            ("bytes=0-", 0, Wanted::Unsatisfiable),
            ("bytes=-5", 0, Wanted::Unsatisfiable),
            ("bytes=0-1,5-6", 100, Wanted::Whole),
            ("bytes=9-5", 100, Wanted::Whole),
            ("bytes=-", 100, Wanted::Whole),
            ("bytes=+1-5", 100, Wanted::Whole),
            ("bytes=a-5", 100, Wanted::Whole),
            ("lines=0-5", 100, Wanted::Whole),
            ("bytes", 100, Wanted::Whole),
        ] {
            assert_eq!(wanted(&asked(&[("range", range)]), &version(), size), result, "{range} of {size}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_the_whole_file() {
        for (condition, is_part) in [
            ("\"v1\"", true),
            ("\"v0\"", false),
            ("W/\"v1\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("yesterday", false),
        ] {
            let wanted = wanted(&asked(&[("range", "bytes=1-2"), ("if-range", condition)]), &version(), 10);
            assert_eq!(wanted == Wanted::Part { start: 1, end: 2 }, is_part, "{condition}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        for (case, headers, result) in [
            ("its tag", asked(&[("if-none-match", "\"v0\", W/\"v1\"")]), Wanted::NotModified),
            ("any tag", asked(&[("if-none-match", "*")]), Wanted::NotModified),
            ("another tag", asked(&[("if-none-match", "\"v0\"")]), Wanted::Whole),
            (
                "a tag before a date",
                asked(&[("if-none-match", "\"v0\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
                Wanted::Whole,
            ),
            ("its date", asked(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]), Wanted::NotModified),
            ("an older date", asked(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]), Wanted::Whole),
            ("no date", asked(&[("if-modified-since", "soon")]), Wanted::Whole),
        ] {
            assert_eq!(wanted(&headers, &version(), 10), result, "{case}");
        }
    }

    #[test]
    fn dates_are_written_as_http_wants_them() {
        assert_eq!(date(version().modified), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
