//! Go's `time`: layouts in both directions, and durations. The local zone is UTC, as in Tinkerbell's containers.

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

#[derive(Debug, Clone, Copy, PartialEq)]
enum Chunk {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    Pm,
    LowerPm,
    Zone,
    /// Flags: `Z` for UTC, colons, seconds, hours only.
    Offset(bool, bool, bool, bool),
    /// The number of digits, and whether trailing zeros are dropped.
    Fraction(usize, bool),
}

/// The text before the first element of the layout, the element, and what follows.
fn next_chunk(layout: &str) -> Option<(&str, Chunk, &str)> {
    const ELEMENTS: &[(&str, Chunk)] = &[
        ("January", Chunk::LongMonth),
        ("Jan", Chunk::Month),
        ("Monday", Chunk::LongWeekday),
        ("Mon", Chunk::Weekday),
        ("MST", Chunk::Zone),
        ("002", Chunk::ZeroYearDay),
        ("01", Chunk::ZeroMonth),
        ("02", Chunk::ZeroDay),
        ("03", Chunk::ZeroHour12),
        ("04", Chunk::ZeroMinute),
        ("05", Chunk::ZeroSecond),
        ("06", Chunk::Year),
        ("15", Chunk::Hour),
        ("1", Chunk::NumMonth),
        ("2006", Chunk::LongYear),
        ("2", Chunk::Day),
        ("__2", Chunk::UnderYearDay),
        ("_2006", Chunk::LongYear),
        ("_2", Chunk::UnderDay),
        ("3", Chunk::Hour12),
        ("4", Chunk::Minute),
        ("5", Chunk::Second),
        ("PM", Chunk::Pm),
        ("pm", Chunk::LowerPm),
        ("-07:00:00", Chunk::Offset(false, true, true, false)),
        ("-070000", Chunk::Offset(false, false, true, false)),
        ("-07:00", Chunk::Offset(false, true, false, false)),
        ("-0700", Chunk::Offset(false, false, false, false)),
        ("-07", Chunk::Offset(false, false, false, true)),
        ("Z07:00:00", Chunk::Offset(true, true, true, false)),
        ("Z070000", Chunk::Offset(true, false, true, false)),
        ("Z07:00", Chunk::Offset(true, true, false, false)),
        ("Z0700", Chunk::Offset(true, false, false, false)),
        ("Z07", Chunk::Offset(true, false, false, true)),
    ];
    for (at, letter) in layout.char_indices() {
        let rest = layout.get(at..).unwrap_or_default();
        let before = layout.get(..at).unwrap_or_default();
        for (text, chunk) in ELEMENTS {
            let Some(after) = rest.strip_prefix(text) else { continue };
            if *text == "Jan" && after.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                continue;
            }
            if *text == "Mon" && after.starts_with(|letter: char| letter.is_ascii_lowercase()) {
                continue;
            }
            if *text == "_2006" {
                // the underscore is text, and the year follows it
                return Some((layout.get(..=at).unwrap_or_default(), *chunk, after));
            }
            return Some((before, *chunk, after));
        }
        if matches!(letter, '.' | ',')
            && let Some(digit) = rest.get(1..2).filter(|digit| matches!(*digit, "0" | "9"))
        {
            let body = rest.get(1..).unwrap_or_default();
            let count = body.len() - body.trim_start_matches(digit).len();
            let after = body.get(count..).unwrap_or_default();
            if !after.starts_with(|letter: char| letter.is_ascii_digit()) {
                return Some((before, Chunk::Fraction(count, digit == "9"), after));
            }
        }
    }
    None
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

struct Parse<'t> {
    layout: &'t str,
    text: &'t str,
    rest: &'t str,
    year: i64,
    month: i64,
    day: i64,
    year_day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    pm: Option<bool>,
    offset: Option<i64>,
    zone: Option<&'t str>,
    utc: bool,
    /// The part of a zone's offset that is too large.
    wrong_offset: Option<&'static str>,
}

impl<'t> Parse<'t> {
    fn new(layout: &'t str, text: &'t str) -> Self {
        Self {
            layout,
            text,
            rest: text,
            year: 0,
            month: -1,
            day: -1,
            year_day: -1,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            pm: None,
            offset: None,
            zone: None,
            utc: false,
            wrong_offset: None,
        }
    }

    fn failed(&self, value: &str, element: &str) -> String {
        let quote = quoted;
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.text),
            quote(self.layout),
            quote(value),
            quote(element)
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        let quote = quoted;
        format!("parsing time {}: {what} out of range", quote(self.text))
    }

    fn run(mut self) -> Result<Time, String> {
        let mut layout = self.layout;
        while let Some((before, chunk, after)) = next_chunk(layout) {
            let element = layout.get(before.len()..layout.len() - after.len()).unwrap_or_default();
            let hold = self.rest;
            self.skip(before)?;
            let value = self.rest;
            let read = self.element(chunk, after);
            if let Some(part) = self.wrong_offset {
                return Err(self.out_of_range(part));
            }
            read.ok_or_else(|| self.failed(if matches!(chunk, Chunk::LongYear | Chunk::Zone) { hold } else { value }, element))?;
            self.range(chunk)?;
            layout = after;
        }
        self.skip(layout)?;
        if !self.rest.is_empty() {
            let quote = quoted;
            return Err(format!("parsing time {}: extra text: {}", quote(self.text), quote(self.rest)));
        }
        self.finish()
    }

    /// Skips the text between two elements. Spaces match any number of spaces.
    fn skip(&mut self, prefix: &str) -> Result<(), String> {
        let mut left = prefix;
        while let Some(letter) = left.chars().next() {
            if letter == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return Err(self.failed(self.rest, prefix));
                }
                left = left.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
                continue;
            }
            match self.rest.strip_prefix(letter) {
                Some(rest) => self.rest = rest,
                None => return Err(self.failed(self.rest, prefix)),
            }
            left = left.get(letter.len_utf8()..).unwrap_or_default();
        }
        Ok(())
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let number = self.rest.get(..count)?.parse().ok()?;
        self.rest = self.rest.get(count..)?;
        Some(number)
    }

    fn name(&mut self, names: &[&str], length: usize) -> Option<i64> {
        for (index, name) in names.iter().enumerate() {
            let name = name.get(..length.min(name.len()))?;
            if self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                self.rest = self.rest.get(name.len()..)?;
                return i64::try_from(index).ok();
            }
        }
        None
    }

    fn element(&mut self, chunk: Chunk, after: &str) -> Option<()> {
        match chunk {
            Chunk::LongYear => self.year = self.digits(4, 4)?,
            Chunk::Year => {
                // A sign counts as one of the two.
                let year: i64 = self.rest.get(..2)?.parse().ok()?;
                self.rest = self.rest.get(2..)?;
                self.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Chunk::LongMonth => self.month = self.name(&MONTHS, 9)? + 1,
            Chunk::Month => self.month = self.name(&MONTHS, 3)? + 1,
            Chunk::NumMonth => self.month = self.digits(1, 2)?,
            Chunk::ZeroMonth => self.month = self.digits(2, 2)?,
            Chunk::LongWeekday => drop(self.name(&DAYS, 9)?),
            Chunk::Weekday => drop(self.name(&DAYS, 3)?),
            Chunk::Day | Chunk::UnderDay => {
                if chunk == Chunk::UnderDay {
                    self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                }
                self.day = self.digits(1, 2)?;
            }
            Chunk::ZeroDay => self.day = self.digits(2, 2)?,
            Chunk::UnderYearDay | Chunk::ZeroYearDay => {
                for _ in 0..if chunk == Chunk::UnderYearDay { 2 } else { 0 } {
                    self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
                }
                self.year_day = self.digits(if chunk == Chunk::ZeroYearDay { 3 } else { 1 }, 3)?;
            }
            Chunk::Hour => self.hour = self.digits(1, 2)?,
            Chunk::Hour12 => self.hour = self.digits(1, 2)?,
            Chunk::ZeroHour12 => self.hour = self.digits(2, 2)?,
            Chunk::Minute => self.minute = self.digits(1, 2)?,
            Chunk::ZeroMinute => self.minute = self.digits(2, 2)?,
            Chunk::Second | Chunk::ZeroSecond => {
                self.second = self.digits(if chunk == Chunk::Second { 1 } else { 2 }, 2)?;
                // A fraction may follow even if the layout has none.
                if !matches!(next_chunk(after), Some(("", Chunk::Fraction(..), _))) {
                    self.fraction(None)?;
                }
            }
            Chunk::Pm | Chunk::LowerPm => {
                let word = self.rest.get(..2)?;
                self.pm = Some(match (chunk, word) {
                    (Chunk::Pm, "PM") | (Chunk::LowerPm, "pm") => true,
                    (Chunk::Pm, "AM") | (Chunk::LowerPm, "am") => false,
                    _ => return None,
                });
                self.rest = self.rest.get(2..)?;
            }
            Chunk::Fraction(digits, false) => self.fraction(Some(digits))?,
            Chunk::Fraction(_, true) => self.fraction(None)?,
            Chunk::Zone => self.zone()?,
            Chunk::Offset(z, colons, seconds, hours) => self.offset(Offset { z, colons, seconds, hours })?,
        }
        Some(())
    }

    fn fraction(&mut self, exact: Option<usize>) -> Option<()> {
        let Some(body) = self.rest.strip_prefix(['.', ',']) else { return if exact.is_some() { None } else { Some(()) } };
        let count = body.bytes().take_while(u8::is_ascii_digit).count();
        let count = exact.map_or(count, |exact| exact.min(count.max(exact)));
        if count == 0 {
            return if exact.is_some() { None } else { Some(()) };
        }
        let figures = body.get(..count)?;
        if !figures.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.nanos = format!("{:0<9}", figures.get(..figures.len().min(9))?).parse().ok()?;
        self.rest = body.get(count..)?;
        Some(())
    }

    fn zone(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.strip_prefix("UTC") {
            self.utc = true;
            self.rest = rest;
            return Some(());
        }
        let letters = self.rest.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
        let good = match letters {
            3 => true,
            4 => self.rest.as_bytes().get(3) == Some(&b'T') || self.rest.starts_with("WITA"),
            5 => self.rest.as_bytes().get(4) == Some(&b'T'),
            _ => false,
        };
        if !good {
            return None;
        }
        self.zone = self.rest.get(..letters);
        self.rest = self.rest.get(letters..)?;
        Some(())
    }

    fn offset(&mut self, Offset { z, colons, seconds, hours }: Offset) -> Option<()> {
        if z && let Some(rest) = self.rest.strip_prefix('Z') {
            self.utc = true;
            self.rest = rest;
            return Some(());
        }
        // The sign is looked at last.
        let sign = self.rest.get(..1)?;
        self.rest = self.rest.get(1..)?;
        let (mut total, mut wrong) = (0, None);
        let parts =
            [(3600, 24, "time zone offset hour"), (60, 60, "time zone offset minute"), (1, 60, "time zone offset second")];
        for (index, (unit, most, name)) in parts.into_iter().take(if hours { 1 } else { 2 + usize::from(seconds) }).enumerate() {
            if colons && index > 0 {
                self.rest = self.rest.strip_prefix(':')?;
            }
            let part = self.digits(2, 2)?;
            if part > most {
                wrong = Some(name);
            }
            total += part * unit;
        }
        self.wrong_offset = wrong;
        self.offset = Some(match sign {
            "+" => total,
            "-" => -total,
            _ => return None,
        });
        Some(())
    }

    fn range(&self, chunk: Chunk) -> Result<(), String> {
        let bad = if self.month != -1 && !(1..=12).contains(&self.month) {
            "month"
        } else if self.hour > 23 || (matches!(chunk, Chunk::Hour12 | Chunk::ZeroHour12) && self.hour > 12) {
            "hour"
        } else if self.minute > 59 {
            "minute"
        } else if self.second > 59 {
            "second"
        } else {
            return Ok(());
        };
        Err(self.out_of_range(bad))
    }

    fn finish(mut self) -> Result<Time, String> {
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if self.year_day >= 0 {
            let most = 365 + i64::from(days_in(self.year, 2) == 29);
            if !(1..=most).contains(&self.year_day) {
                return Err(self.out_of_range("day-of-year"));
            }
            let (_, month, day) = civil_from_days(days_from_civil(self.year, 1, 1) + self.year_day - 1);
            (self.month, self.day) = (month, day);
        }
        let month = if self.month < 0 { 1 } else { self.month };
        let day = if self.day < 0 { 1 } else { self.day };
        if day < 1 || day > days_in(self.year, month) {
            return Err(self.out_of_range("day"));
        }
        let local = days_from_civil(self.year, month, day) * 86_400 + self.hour * 3600 + self.minute * 60 + self.second;
        let offset = if self.utc { 0 } else { self.offset.unwrap_or(0) };
        let zone = match (self.utc, self.offset, self.zone) {
            (false, Some(offset), zone) if offset != 0 || zone.is_some() => zone.unwrap_or("").to_owned(),
            (false, None, Some(zone)) => zone.to_owned(),
            _ => "UTC".to_owned(),
        };
        let local_zone = !self.utc && zone == "UTC" && offset == 0;
        Ok(Time { seconds: local - offset, nanos: self.nanos, offset, zone, local: local_zone })
    }
}

/// The quotes of the package `time`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='\x7f' => out.push(letter),
            _ => {
                let mut bytes = [0; 4];
                letter.encode_utf8(&mut bytes).bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
            }
        }
    }
    out.push('"');
    out
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

/// `Duration.String`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let (sign, size) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    let decimal = |value: u64, unit: u64| {
        let (whole, part) = (value / unit, value % unit);
        let width = unit.to_string().len() - 1;
        let figures = format!("{part:0width$}");
        let figures = figures.trim_end_matches('0');
        if part == 0 { whole.to_string() } else { format!("{whole}.{figures}") }
    };
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(size, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 1_000_000)),
        _ => {
            let seconds = size / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = decimal(size % 60_000_000_000, 1_000_000_000);
            match (hours, seconds / 60) {
                (0, 0) => format!("{sign}{rest}s"),
                (0, _) => format!("{sign}{minutes}m{rest}s"),
                _ => format!("{sign}{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// `time.ParseDuration`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let quoted = quoted(text);
    let invalid = || format!("time: invalid duration {quoted}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (figures, after) = rest.split_at(whole);
        let mut after = after;
        let mut fraction = "";
        if let Some(body) = after.strip_prefix('.') {
            let count = body.bytes().take_while(u8::is_ascii_digit).count();
            (fraction, after) = body.split_at(count);
        }
        if figures.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_length);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {quoted}")),
            _ => {
                return Err(format!("time: unknown unit {} in duration {quoted}", self::quoted(unit)));
            }
        };
        let figures: i128 = if figures.is_empty() { 0 } else { figures.parse::<u64>().map_err(|_| invalid())?.into() };
        total += figures * scale;
        if !fraction.is_empty() {
            let kept = fraction.get(..fraction.len().min(18)).unwrap_or_default();
            let value: i128 = kept.parse().unwrap_or(0);
            total += value * scale / 10_i128.pow(u32::try_from(kept.len()).unwrap_or(0));
        }
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}
