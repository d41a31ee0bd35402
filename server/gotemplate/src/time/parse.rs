//! A text back to a time, by its layout.

use super::layout::{Chunk, next_chunk};
use super::{DAYS, MONTHS, Offset, Time, civil_from_days, days_from_civil, days_in};

pub(super) struct Parse<'t> {
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
    pub(super) fn new(layout: &'t str, text: &'t str) -> Self {
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

    pub(super) fn run(mut self) -> Result<Time, String> {
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
pub(super) fn quoted(text: &str) -> String {
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
