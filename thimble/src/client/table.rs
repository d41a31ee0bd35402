//! Tables with aligned columns, and the forms in which people read times, ages and sizes.

use std::cmp::Ordering;
use std::io::{self, IsTerminal, Write};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use unicode_width::UnicodeWidthStr;

pub(super) use super::escape::clean;

/// A longer cell shifts the rest of its row.
const MAX_WIDTH: usize = 200;

/// Whether words of state have their colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Paint {
    pub is_on: bool,
}

impl Paint {
    /// As this program's output and its environment want it.
    pub(super) fn of_this_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let is_on = wants_colour(io::stdout().is_terminal(), variable("NO_COLOR").as_deref(), variable("TERM").as_deref());
        Self { is_on }
    }

    /// The text in the colour of its meaning, if it has one.
    pub(super) fn word(self, text: &str) -> String {
        match colour(text).filter(|_| self.is_on) {
            Some(number) => format!("\u{1b}[{number}m{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }

    pub(super) fn line(self, text: &str, number: u8) -> String {
        if self.is_on { format!("\u{1b}[{number}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// <https://no-color.org>: any value but an empty one switches colours off.
fn wants_colour(is_terminal: bool, no_colour: Option<&str>, terminal: Option<&str>) -> bool {
    is_terminal && no_colour.is_none_or(str::is_empty) && terminal != Some("dumb")
}

pub(super) const GREEN: u8 = 32;
pub(super) const RED: u8 = 31;
const YELLOW: u8 = 33;
const CYAN: u8 = 36;

fn colour(word: &str) -> Option<u8> {
    match word {
        "SUCCESS" | "succeeded" | "done" => Some(GREEN),
        "FAILED" | "TIMEOUT" | "failed" | "stopped" => Some(RED),
        "RUNNING" | "POST" | "running" | "install" => Some(CYAN),
        "PENDING" | "not ready" | "hold" | "discover" | "rescue" | "paused" | "Warning" => Some(YELLOW),
        _ => None,
    }
}

/// A table that may grow: later rows keep the widths of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Grid {
    widths: Vec<usize>,
    paint: Paint,
}

impl Grid {
    pub(super) fn new(paint: Paint) -> Self {
        Self { widths: Vec::new(), paint }
    }

    /// Prints rows. The last column is not padded, and nothing in a cell acts on the terminal.
    pub(super) fn print(&mut self, out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width()).min(MAX_WIDTH);
            }
        }
        rows.iter().try_for_each(|row| writeln!(out, "{}", self.line(row)))
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (number, (cell, width)) in cells.iter().zip(&self.widths).enumerate().take(last + 1) {
            line.push_str(&self.paint.word(cell));
            if number < last {
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
        }
        line
    }
}

/// Prints rows below their headings.
pub fn print<const N: usize>(out: &mut dyn Write, headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(headings).chain(rows.iter().map(|row| row.to_vec())).collect();
    Grid::new(Paint::of_this_process()).print(out, &all)
}

/// How long ago something was, in one unit, like `kubectl`.
pub(super) fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "-".to_owned() };
    let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time as people of this zone write it.
pub fn local(time: Timestamp) -> String {
    in_zone(time, &TimeZone::system())
}

pub(super) fn in_zone(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%F %T").to_string()
}

/// A size in the largest unit of which there is one.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = (bytes.max(1).ilog2() / 10).checked_sub(1) else { return format!("{bytes} B") };
    let index = usize::try_from(power).unwrap_or(0);
    let unit = UNITS.get(index).copied().unwrap_or_default();
    let tenths = u128::from(bytes) * 10 / (1_u128 << (10 * (power + 1)));
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// Compares texts as people do: `node-2` is before `node-10`.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let (left_part, left_rest) = part(left);
        let (right_part, right_rest) = part(right);
        let order = match (number(left_part), number(right_part)) {
            (Some(one), Some(other)) => one.len().cmp(&other.len()).then_with(|| one.cmp(other)),
            _ => left_part.cmp(right_part),
        };
        if order != Ordering::Equal || left_part.is_empty() {
            return order.then_with(|| one.cmp(other));
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The digits at the beginning, or what is before the first digit.
fn part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|letter: char| letter.is_ascii_digit());
    text.split_at(text.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(text.len()))
}

fn number(part: &str) -> Option<&str> {
    part.starts_with(|letter: char| letter.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn printed(paint: Paint, rows: &[&[&str]]) -> String {
        let mut out = Vec::new();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        Grid::new(paint).print(&mut out, &rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_terminals_are_safe() {
        let plain = Paint::default();
        for (case, rows, expected) in [
            ("escapes", &[&["NAME", "TEXT"][..], &["a", "x\u{1b}[31m"]][..], "NAME  TEXT\na     x\\u{1b}[31m\n"),
            ("umlauts", &[&["NAME", "TEXT"], &["größer", "x"]], "NAME    TEXT\ngrößer  x\n"),
            ("wide letters", &[&["機械", "x"], &["node", "y"]], "機械  x\nnode  y\n"),
            ("empty cells at the end", &[&["A", "B", "C"], &["a", "", ""]], "A  B  C\na\n"),
            ("an empty cell between", &[&["A", "B", "C"], &["a", "", "c"]], "A  B  C\na     c\n"),
        ] {
            assert_eq!(printed(plain, rows), expected, "{case}");
        }
        assert!(printed(plain, &[&[&"x".repeat(70_000), "y"]]).ends_with("x  y\n"), "a long cell shifts its row only");
    }

    #[test]
    fn a_colour_is_only_around_its_word() {
        let rows: &[&[&str]] = &[&["W", "STATE", "AGE"], &["w", "FAILED", "1s"]];
        assert_eq!(printed(Paint { is_on: true }, rows), "W  STATE   AGE\nw  \u{1b}[31mFAILED\u{1b}[0m  1s\n");
        assert_eq!(printed(Paint::default(), rows), "W  STATE   AGE\nw  FAILED  1s\n");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (is_terminal, no_colour, terminal, expected) in [
            (true, None, Some("xterm"), true),
            (true, Some(""), None, true),
            (true, Some("1"), Some("xterm"), false),
            (true, Some("0"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            assert_eq!(wants_colour(is_terminal, no_colour, terminal), expected, "{is_terminal} {no_colour:?} {terminal:?}");
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (ago, text) in [(5, "5s"), (119, "119s"), (180, "3m"), (8000, "2h"), (200_000, "2d"), (-5, "0s")] {
            assert_eq!(age(Timestamp::from_second(1_000_000 - ago).ok(), now), text);
        }
        assert_eq!(age(None, now), "-");
    }

    #[test]
    fn a_time_is_shown_in_the_zone_of_its_reader() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(in_zone("2026-01-02T03:04:05.678Z".parse().unwrap(), &zone), "2026-01-01 22:04:05");
    }

    #[test]
    fn a_size_has_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (20 << 30, "20 GiB"),
            (13_421_772_800, "12.5 GiB"),
            (500_107_862_016, "465 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["node-10", "node-2", "node-02", "a", "10.0.0.9", "10.0.0.10", "node-", "", "node-2-b"];
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(names, ["", "10.0.0.9", "10.0.0.10", "a", "node-", "node-02", "node-2", "node-2-b", "node-10"]);
    }
}
