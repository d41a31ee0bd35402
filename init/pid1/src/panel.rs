//! The status as a panel at the top of a virtual terminal. Pure: text and the terminal's escape sequences.

use machine::Status;

/// The lines of the panel, including the rule below it.
const HEIGHT: usize = 7;
const BAR: usize = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Size {
    pub fn has_room(self) -> bool {
        self.columns >= 40 && self.rows >= 2 * HEIGHT
    }
}

/// Reserves the upper lines for the panel. The log scrolls below it, and continues at the bottom.
pub fn divide(size: Size) -> String {
    format!("\x1b[{};{}r\x1b[{};1H", HEIGHT + 1, size.rows, size.rows)
}

/// Draws every line and returns the cursor to the log.
pub fn draw(status: &Status, size: Size) -> String {
    let mut text = String::from("\x1b7");
    for (index, line) in lines(status, size.columns).iter().enumerate() {
        let (on, off) = if index == 0 { ("\x1b[7m", "\x1b[27m") } else { ("", "") };
        text += &format!("\x1b[{};1H{on}{line}{off}", index + 1);
    }
    text + "\x1b8"
}

fn lines(status: &Status, columns: usize) -> [String; HEIGHT] {
    let or = |value: &Option<String>, otherwise: &str| value.clone().unwrap_or_else(|| otherwise.to_owned());
    let title = format!(" Thimble {}   {}", env!("CARGO_PKG_VERSION"), or(&status.mac, ""));
    let network = match (&status.interface, &status.address) {
        (Some(interface), Some(address)) => format!("{interface} {address}"),
        _ => "none yet".to_owned(),
    };
    let action = match (&status.action, &status.state) {
        (Some(action), Some(state)) => format!("{action}: {state}{}", bar(status.percent)),
        (None, Some(state)) => state.clone(),
        _ => "none yet".to_owned(),
    };
    [
        title,
        format!(" network   {network}"),
        format!(" server    {}", or(&status.server, "not connected")),
        format!(" workflow  {}", or(&status.workflow, "none yet")),
        format!(" action    {action}"),
        format!(" error     {}", or(&status.error, "none")),
        "\u{2500}".repeat(columns),
    ]
    .map(|line| fit(&line, columns))
}

fn bar(percent: Option<u8>) -> String {
    let Some(percent) = percent else { return String::new() };
    let full = usize::from(percent.min(100)) * BAR / 100;
    format!("  [{}{}] {percent} %", "#".repeat(full), ".".repeat(BAR - full))
}

/// Cuts or fills the line to the terminal's width, so that it covers earlier text. Control characters are replaced.
fn fit(line: &str, columns: usize) -> String {
    let clean = line.chars().map(|c| if c.is_control() { '?' } else { c });
    let mut fitted: String = clean.take(columns).collect();
    let missing = columns - fitted.chars().count();
    fitted.extend(std::iter::repeat_n(' ', missing));
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let action = Some("a\x1b[2J".to_owned());
        let text = "interface=eth0\naddress=10.0.0.5/24\nworkflow=d/w\nstate=running\npercent=50\n";
        Status { action, ..Status::parse(text) }
    }

    #[test]
    fn every_line_covers_the_width_and_nothing_more() {
        for columns in [40, 80, 200] {
            for line in lines(&status(), columns) {
                assert_eq!(line.chars().count(), columns, "{line:?}");
                assert!(!line.contains('\x1b'), "{line:?}");
            }
        }
    }

    #[test]
    fn the_panel_shows_the_action_and_its_progress() {
        let text = lines(&status(), 120).join("\n");
        for part in ["eth0 10.0.0.5/24", "d/w", "running  [###############...............] 50 %", "not connected"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_log_continues_below_the_panel() {
        let size = Size { columns: 80, rows: 25 };
        assert_eq!(divide(size), "\x1b[8;25r\x1b[25;1H");
        let drawn = draw(&Status::default(), size);
        assert!(drawn.starts_with("\x1b7") && drawn.ends_with("\x1b8"));
        assert!(!Size { columns: 80, rows: 10 }.has_room());
    }
}
