//! One datagram as a message: RFC 5424, RFC 3164, and what devices send instead. Any bytes are a message.

/// Longer texts are cut; RFC 5424 asks receivers for 2 KiB.
const MAX_TEXT: usize = 8 * 1024;
/// `user.notice`, for datagrams without a priority (RFC 3164 section 4.3.3).
const DEFAULT_PRIORITY: u8 = 13;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub facility: u8,
    /// 0 is an emergency, 7 debug.
    pub severity: u8,
    pub host: Option<String>,
    /// The program, without its process number.
    pub tag: String,
    pub text: String,
}

#[must_use]
pub fn parse(datagram: &[u8]) -> Message {
    let text = String::from_utf8_lossy(datagram);
    let text = text.trim_end_matches(['\0', '\n', '\r']);
    let (priority, rest) = priority(text).unwrap_or((DEFAULT_PRIORITY, text));
    let (host, tag, text) = rfc5424(rest).unwrap_or_else(|| rfc3164(rest));
    Message { facility: priority >> 3, severity: priority & 7, host: host.map(clean), tag: clean(tag), text: clean(text) }
}

type Parts<'a> = (Option<&'a str>, &'a str, &'a str);

fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let digits = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority = number.parse().ok().filter(|&priority: &u8| digits && priority <= 191)?;
    Some((priority, rest))
}

/// `1 TIMESTAMP HOST APP PROCID MSGID SD [BOM]TEXT`; `-` stands for nothing.
fn rfc5424(text: &str) -> Option<Parts<'_>> {
    let mut fields = text.strip_prefix("1 ")?.splitn(6, ' ');
    let (_timestamp, host, app) = (fields.next()?, fields.next()?, fields.next()?);
    let (_process, _id, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let text = structured_data_end(rest).trim_start_matches(' ').trim_start_matches('\u{feff}');
    let given = |field: &'static str| move |text: &&str| *text != field;
    Some((Some(host).filter(given("-")), Some(app).filter(given("-")).unwrap_or_default(), text))
}

/// The text after `-` or `[id name="value"]…`. In a value, `\` escapes.
fn structured_data_end(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('-') {
        return rest;
    }
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if inside => quoted = !quoted,
            '[' if !inside => inside = true,
            ']' if inside && !quoted => inside = false,
            _ if !inside => return text.get(at..).unwrap_or_default(),
            _ => {}
        }
    }
    if inside { text } else { "" }
}

/// `[Mmm dd hh:mm:ss [HOST ]]TAG[PID]: TEXT`, with any part missing.
fn rfc3164(text: &str) -> Parts<'_> {
    let (host, rest) = match after_timestamp(text) {
        Some(rest) => match rest.split_once(' ') {
            // A word with a colon at its end is already the tag; the host is missing.
            Some((host, rest)) if !host.ends_with(':') && !host.contains('[') => (Some(host), rest),
            _ => (None, rest),
        },
        None => (None, text),
    };
    let is_tag = |tag: &str| !tag.is_empty() && tag.len() <= 48 && !tag.contains(char::is_whitespace);
    match rest.split_once(':').filter(|(tag, _)| is_tag(tag)) {
        Some((tag, text)) => {
            let tag = tag.split_once('[').map_or(tag, |(name, _)| name);
            (host, tag, text.strip_prefix(' ').unwrap_or(text))
        }
        None => (host, "", rest),
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn after_timestamp(text: &str) -> Option<&str> {
    let month = text.get(..3)?;
    let stamp = text.get(..16)?.as_bytes();
    let is_time = matches!(stamp, [_, _, _, b' ', _, _, b' ', _, _, b':', _, _, b':', _, _, b' ']);
    if MONTHS.contains(&month) && is_time { text.get(16..) } else { None }
}

/// Control characters would let a machine write to an operator's terminal. The limit is of bytes: a byte that is not text becomes
/// a character of three.
fn clean(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    let text = text.get(..end).unwrap_or_default();
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(facility: u8, severity: u8, host: Option<&str>, tag: &str, text: &str) -> Message {
        Message { facility, severity, host: host.map(str::to_owned), tag: tag.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn messages_are_read_as_they_come() {
        for (case, datagram, result) in [
            (
                "RFC 5424 with structured data",
                &b"<165>1 2003-10-11T22:14:15.003Z m1 agent - ID47 [x@1 a=\"]\\\"\" b=\"2\"] \xef\xbb\xbfhello"[..],
                message(20, 5, Some("m1"), "agent", "hello"),
            ),
            (
                "an action's line",
                b"<133>1 2026-01-02T03:04:05.678901Z 02:00:00:00:00:01 thimble 7 stream/stdout - A| hello",
                message(16, 5, Some("02:00:00:00:00:01"), "thimble", "A| hello"),
            ),
            ("RFC 5424 without", b"<34>1 - - - - - - hello", message(4, 2, None, "", "hello")),
            ("RFC 5424 without text", b"<34>1 - m1 su - - -", message(4, 2, Some("m1"), "su", "")),
            ("structured data without end", b"<34>1 - m1 su - - [a b=\"c", message(4, 2, Some("m1"), "su", "[a b=\"c")),
            ("RFC 3164", b"<34>Oct 11 22:14:15 m1 su[12]: failed: no\n", message(4, 2, Some("m1"), "su", "failed: no")),
            ("RFC 3164 with a short day", b"<34>Oct  1 22:14:15 m1 su: failed", message(4, 2, Some("m1"), "su", "failed")),
            ("RFC 3164 without host", b"<34>Oct 11 22:14:15 su[1]: failed", message(4, 2, None, "su", "failed")),
            ("iPXE", b"<4>ipxe: Could not open net0", message(0, 4, None, "ipxe", "Could not open net0")),
            ("a bare line", b"hello there: world", message(1, 5, None, "", "hello there: world")),
            ("a priority out of range", b"<999>x: y", message(1, 5, None, "<999>x", "y")),
            ("no end of priority", b"<13", message(1, 5, None, "", "<13")),
            ("nothing", b"", message(1, 5, None, "", "")),
            ("terminal escapes", b"<13>a: \x1b[31mred\x07", message(1, 5, None, "a", "[31mred")),
            ("bytes that are not text", b"<13>a: \xff\xfe", message(1, 5, None, "a", "\u{fffd}\u{fffd}")),
        ] {
            assert_eq!(parse(datagram), result, "{case}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(parse(&[b'x'; 32 * 1024]).text.len(), MAX_TEXT);
        let text = parse(&[0xff; 32 * 1024]).text;
        assert!(text.len() <= MAX_TEXT && text.len() > MAX_TEXT - 3, "{} bytes", text.len());
    }
}
