//! Syslog messages as RFC 5424 writes them, one per UDP packet (RFC 5426).

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::Level;

/// Whose line it is, for MSGID. With it one action's lines can be followed on the server.
#[derive(Debug, Clone, Copy)]
pub struct ActionLine<'a> {
    pub action: &'a str,
    pub stream: &'a str,
}

pub struct Message<'a> {
    pub level: Level,
    pub now: SystemTime,
    pub hostname: &'a str,
    pub text: &'a str,
    pub origin: Option<ActionLine<'a>>,
}

/// Where a syslog server listens unless the settings say otherwise (RFC 5426, 3.3).
pub const PORT: u16 = 514;
/// Receivers must take 480 bytes and should take 2048 (RFC 5426, 3.2).
const MAX: usize = 2048;
pub const FACILITY_LOCAL0: u8 = 16;
/// Characters that MSGID may have (RFC 5424, 6.2.7).
const ID_MAX: usize = 32;

/// Without structured data: smee hides a line that has some, and rsyslog's files leave it out.
pub fn render(message: &Message<'_>) -> Vec<u8> {
    let severity = match message.level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug | Level::Trace => 7,
    };
    let mut out = format!("<{}>1 {}", FACILITY_LOCAL0 * 8 + severity, timestamp(message.now));
    let _ = write!(out, " {} thimble {}", header(message.hostname), std::process::id());
    let _ = write!(out, " {} - ", message.origin.map_or_else(|| "-".to_owned(), id));
    out.extend(message.text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    out.truncate(out.floor_char_boundary(MAX));
    out.into_bytes()
}

/// Header fields are printable ASCII without spaces, `-` when empty.
fn header(text: &str) -> String {
    let clean: String = text.chars().filter(char::is_ascii_graphic).take(255).collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}

/// `ACTION/STREAM`. A long name of the action is cut.
fn id(origin: ActionLine<'_>) -> String {
    let graphic = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let room = ID_MAX.saturating_sub(origin.stream.len() + 1);
    let name: String = origin.action.chars().map(graphic).take(room).collect();
    format!("{name}/{}", origin.stream)
}

/// RFC 3339 in UTC with microseconds.
pub fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", since.subsec_micros())
}

/// Days since 1970 as a date of the Gregorian calendar, by 400-year eras that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_calendars() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn an_action_line_names_its_action_and_has_no_structured_data() {
        let origin = ActionLine { action: "a \"b\"]", stream: "stdout" };
        let message =
            Message { level: Level::Info, now: UNIX_EPOCH, hostname: "02:00:00:00:00:01", text: "A| hi", origin: Some(origin) };
        let text = String::from_utf8(render(&message)).unwrap();
        assert!(text.starts_with("<133>1 1970-01-01T00:00:00.000000Z 02:00:00:00:00:01 thimble "), "{text}");
        assert!(text.ends_with(r#" a_"b"]/stdout - A| hi"#), "{text}");
    }

    #[test]
    fn a_hostname_cannot_break_the_header_and_length_is_bounded() {
        let text = "ü".repeat(5000);
        let message = Message { level: Level::Warn, now: UNIX_EPOCH, hostname: "a b\nc", text: &text, origin: None };
        let rendered = String::from_utf8(render(&message)).unwrap();
        assert!(rendered.contains(" abc thimble ") && rendered.len() <= MAX);
    }
}
