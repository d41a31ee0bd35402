//! Tables with aligned columns.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};

/// A longer cell shifts the rest of its row. Rust's formatting panics at 65,536.
const MAX_WIDTH: usize = 200;

/// Prints rows below their headings. The last column is not padded. Control characters never reach the terminal.
pub(super) fn print<const N: usize>(out: &mut dyn Write, headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| clean(cell))).collect();
    let mut widths = headings.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count()).min(MAX_WIDTH);
        }
    }
    let mut line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", padded.trim_end())
    };
    line(headings)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

pub(super) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
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

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn columns_line_up_and_terminals_are_safe() {
        let mut out = Vec::new();
        let rows = [["a".to_owned(), "x\u{1b}[31m".to_owned()], ["größer".to_owned(), String::new()]];
        print(&mut out, ["NAME", "TEXT"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME    TEXT\na       x [31m\ngrößer\n");
    }

    #[test]
    fn an_age_has_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (ago, text) in [(5, "5s"), (119, "119s"), (180, "3m"), (8000, "2h"), (200_000, "2d"), (-5, "0s")] {
            assert_eq!(age(Timestamp::from_second(1_000_000 - ago).ok(), now), text);
        }
        assert_eq!(age(None, now), "-");
    }
}
