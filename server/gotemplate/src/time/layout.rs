//! The elements of a layout.

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Chunk {
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
pub(super) fn next_chunk(layout: &str) -> Option<(&str, Chunk, &str)> {
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
