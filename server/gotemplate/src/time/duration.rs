//! Durations as text.

use super::parse::quoted;

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
                return Err(format!("time: unknown unit {} in duration {quoted}", super::parse::quoted(unit)));
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
