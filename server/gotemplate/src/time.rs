//! Go's `time`: layouts in both directions, and durations. The local zone is UTC, as in Tinkerbell's containers.

mod duration;
mod layout;
mod parse;

pub(crate) use self::duration::{duration_text, parse_duration};
use self::layout::{Chunk, next_chunk};
use self::parse::Parse;

use std::fmt;

/// A moment, and the zone to show it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
    offset: i64,
    zone: String,
    /// Go shows the local zone as UTC, and names it in `GoString`.
    local: bool,
}

struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Time {
    pub(crate) fn zero() -> Self {
        Self { seconds: days_from_civil(1, 1, 1) * 86_400, nanos: 0, offset: 0, zone: "UTC".to_owned(), local: false }
    }

    pub(crate) fn moment(&self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }

    fn total(&self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// Since 1970 in units of which a second has so many.
    pub(crate) fn unix(&self, unit: i64) -> i64 {
        self.seconds.wrapping_mul(unit).wrapping_add(i64::from(self.nanos) / (1_000_000_000 / unit))
    }

    pub(crate) fn in_utc(&self, local: bool) -> Self {
        Self { offset: 0, zone: "UTC".to_owned(), local, ..*self }
    }

    /// `Time.Sub`: what does not fit is the longest duration.
    pub(crate) fn since(&self, other: &Self) -> i64 {
        let nanos = self.total() - other.total();
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    /// `Time.Truncate` and `Time.Round`, which count from year 1.
    pub(crate) fn rounded(&self, unit: i64, round: bool) -> Self {
        if unit <= 0 {
            return self.clone();
        }
        let left = (self.total() - Self::zero().total()).rem_euclid(unit.into());
        let left = i64::try_from(left).unwrap_or(0);
        if round && left.saturating_mul(2) >= unit { self.add(unit - left) } else { self.add(-left) }
    }

    /// `Time.AddDate`: months and days beyond their ends go into the next ones.
    pub(crate) fn add_date(&self, years: i64, months: i64, days: i64) -> Option<Self> {
        const MOST: i64 = 10_000_000;
        if [years, months, days].iter().any(|part| part.unsigned_abs() > MOST.unsigned_abs()) {
            return None;
        }
        let civil = self.civil();
        let month = civil.month - 1 + months;
        let (year, month) = (civil.year + years + month.div_euclid(12), month.rem_euclid(12) + 1);
        let day = days_from_civil(year, month, 1) + civil.day - 1 + days;
        let seconds = day * 86_400 + (self.seconds + self.offset).rem_euclid(86_400) - self.offset;
        (year.abs() <= MOST).then(|| Self { seconds, ..self.clone() })
    }

    /// The name of its `Location`.
    pub(crate) fn location(&self) -> String {
        if self.local { "Local".to_owned() } else { self.zone.clone() }
    }

    /// `Time.GoString`.
    pub(crate) fn go_text(&self) -> String {
        let civil = self.civil();
        let zone = match (self.local, self.zone.as_str()) {
            (true, _) => "time.Local".to_owned(),
            (false, "UTC") if self.offset == 0 => "time.UTC".to_owned(),
            (false, zone) => format!("time.Location({})", crate::strconv::quote(zone.as_bytes(), false)),
        };
        format!(
            "time.Date({}, time.{}, {}, {}, {}, {}, {}, {zone})",
            civil.year,
            month_name(civil.month),
            civil.day,
            civil.hour,
            civil.minute,
            civil.second,
            self.nanos
        )
    }

    pub(crate) fn add(&self, nanos: i64) -> Self {
        let total = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos) + i128::from(nanos);
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).unwrap_or(self.seconds);
        let nanos = u32::try_from(total.rem_euclid(1_000_000_000)).unwrap_or(0);
        Self { seconds, nanos, ..self.clone() }
    }

    fn civil(&self) -> Civil {
        let local = self.seconds + self.offset;
        let (days, of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        Civil { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }

    pub(crate) fn part(&self, name: &str) -> i64 {
        let civil = self.civil();
        match name {
            "Year" => civil.year,
            "Month" => civil.month,
            "Weekday" => (self.seconds + self.offset).div_euclid(86_400).wrapping_add(4).rem_euclid(7),
            "Day" => civil.day,
            "Hour" => civil.hour,
            "Minute" => civil.minute,
            "Second" => civil.second,
            "YearDay" => days_from_civil(civil.year, civil.month, civil.day) - days_from_civil(civil.year, 1, 1) + 1,
            _ => i64::from(self.nanos),
        }
    }

    fn offset_text(&self, Offset { z, colons, seconds, hours }: Offset) -> String {
        if z && self.offset == 0 {
            return "Z".to_owned();
        }
        let (sign, size) = if self.offset < 0 { ('-', -self.offset) } else { ('+', self.offset) };
        let colon = if colons { ":" } else { "" };
        let mut out = format!("{sign}{:02}", size / 3600);
        if !hours {
            out.push_str(&format!("{colon}{:02}", size / 60 % 60));
        }
        if seconds {
            out.push_str(&format!("{colon}{:02}", size % 60));
        }
        out
    }

    pub(crate) fn format(&self, layout: &str) -> String {
        let mut out = String::new();
        let mut rest = layout;
        let civil = self.civil();
        let (weekday, month_name) = (weekday_name(self.part("Weekday")), month_name(civil.month));
        let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
        let year_day = self.part("YearDay");
        while let Some((before, chunk, after)) = next_chunk(rest) {
            out.push_str(before);
            let separator = if rest.get(before.len()..).is_some_and(|element| element.starts_with(',')) { ',' } else { '.' };
            rest = after;
            out.push_str(&match chunk {
                Chunk::LongMonth => month_name.clone(),
                Chunk::Month => month_name.chars().take(3).collect(),
                Chunk::NumMonth => civil.month.to_string(),
                Chunk::ZeroMonth => format!("{:02}", civil.month),
                Chunk::LongWeekday => weekday.clone(),
                Chunk::Weekday => weekday.chars().take(3).collect(),
                Chunk::Day => civil.day.to_string(),
                Chunk::UnderDay => format!("{:2}", civil.day),
                Chunk::ZeroDay => format!("{:02}", civil.day),
                Chunk::UnderYearDay => format!("{year_day:3}"),
                Chunk::ZeroYearDay => format!("{year_day:03}"),
                Chunk::Hour => format!("{:02}", civil.hour),
                Chunk::Hour12 => hour12.to_string(),
                Chunk::ZeroHour12 => format!("{hour12:02}"),
                Chunk::Minute => civil.minute.to_string(),
                Chunk::ZeroMinute => format!("{:02}", civil.minute),
                Chunk::Second => civil.second.to_string(),
                Chunk::ZeroSecond => format!("{:02}", civil.second),
                Chunk::LongYear if civil.year < 0 => format!("-{:04}", -civil.year),
                Chunk::LongYear => format!("{:04}", civil.year),
                Chunk::Year => format!("{:02}", civil.year.rem_euclid(100)),
                Chunk::Pm => if civil.hour >= 12 { "PM" } else { "AM" }.to_owned(),
                Chunk::LowerPm => if civil.hour >= 12 { "pm" } else { "am" }.to_owned(),
                Chunk::Zone if !self.zone.is_empty() => self.zone.clone(),
                Chunk::Zone => self.offset_text(Offset { z: false, colons: false, seconds: false, hours: false }),
                Chunk::Offset(z, colons, seconds, hours) => self.offset_text(Offset { z, colons, seconds, hours }),
                Chunk::Fraction(digits, trim) => {
                    let figures: String = format!("{:09}", self.nanos).chars().take(digits).collect();
                    let figures = if trim { figures.trim_end_matches('0') } else { &figures };
                    if figures.is_empty() { String::new() } else { format!("{separator}{figures}") }
                }
            });
        }
        out.push_str(rest);
        out
    }

    pub(crate) fn rfc3339(&self) -> String {
        self.format("2006-01-02T15:04:05.999999999Z07:00")
    }

    /// `time.Parse`, with Go's error.
    pub(crate) fn parse(layout: &str, text: &str) -> Result<Self, String> {
        Parse::new(layout, text).run()
    }

    /// A timestamp of YAML 1.1.
    pub(crate) fn of_yaml(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 4 || text.as_bytes().get(4) != Some(&b'-') {
            return None;
        }
        const LAYOUTS: [&str; 4] =
            ["2006-1-2T15:4:5.999999999Z07:00", "2006-1-2t15:4:5.999999999Z07:00", "2006-1-2 15:4:5.999999999", "2006-1-2"];
        LAYOUTS.iter().find_map(|layout| Self::parse(layout, text).ok())
    }
}

struct Offset {
    z: bool,
    colons: bool,
    seconds: bool,
    hours: bool,
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// `Month.String`.
pub(crate) fn month_name(month: i64) -> String {
    let name = usize::try_from(month - 1).ok().and_then(|index| MONTHS.get(index));
    name.map_or_else(|| format!("%!Month({month})"), |name| (*name).to_owned())
}

/// `Weekday.String`.
pub(crate) fn weekday_name(day: i64) -> String {
    let name = usize::try_from(day).ok().and_then(|index| DAYS.get(index));
    name.map_or_else(|| format!("%!Weekday({day})"), |name| (*name).to_owned())
}
