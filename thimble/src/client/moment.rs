//! Times as people write them on a command line.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A span of time: 90s, 10m, 2h, 3d.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub SignedDuration);

/// A moment, given as how long ago it was or as a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(SignedDuration),
    Time(Timestamp),
}

impl Since {
    pub fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.checked_sub(span).unwrap_or(Timestamp::MIN),
            Self::Time(time) => time,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAMoment(String);

impl fmt::Display for NotAMoment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} is neither a time span such as 90s, 10m, 2h or 3d, nor a time such as 2026-11-29T11:00:00Z", self.0)
    }
}

impl std::error::Error for NotAMoment {}

impl FromStr for Since {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        text.parse().map(|Span(span)| Self::Ago(span)).map_err(|NotASpan(text)| NotAMoment(text))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotASpan(String);

impl fmt::Display for NotASpan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} is not a time span such as 90s, 10m, 2h or 3d", self.0)
    }
}

impl std::error::Error for NotASpan {}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let span = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            let number: u32 = number.parse().ok()?;
            Some(Self(SignedDuration::from_secs(i64::from(number) * seconds)))
        };
        span().ok_or_else(|| NotASpan(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_span_or_a_time() {
        let ago = |seconds| Ok(Since::Ago(SignedDuration::from_secs(seconds)));
        for (text, expected) in [
            ("90s", ago(90)),
            ("10m", ago(600)),
            ("2h", ago(7200)),
            ("3d", ago(259_200)),
            ("2026-11-29T11:00:00Z", Ok(Since::Time("2026-11-29T11:00:00Z".parse().unwrap()))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "m", "10", "-1m", "1.5h", "10 m", "9999999999s", "yesterday", "ü"] {
            let error = text.parse::<Since>().unwrap_err().to_string();
            assert!(error.contains("such as 90s"), "{error}");
        }
    }
}
