//! The grammar of smee's syslog receiver, for tests: what an operator of smee sees of a datagram at its default level.
//!
//! Written after `internal/syslog` of Tinkerbell's smee. It reads RFC 5424 with `-` in place of structured data, and RFC
//! 3164 without a time of the sender. Everything else is "unparseable", which it logs at its debug level only.
#![allow(dead_code)]

/// smee's buffer before it moved to Tinkerbell's repository; a longer datagram is cut there.
const BUFFER: usize = 2048;
/// `2006-01-02T15:04:05.999999Z07:00`
const LONGEST_TIMESTAMP: usize = 32;
const DEBUG: u8 = 7;

#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub severity: u8,
    pub host: Option<String>,
    pub app: Option<String>,
    pub process: Option<String>,
    pub id: Option<String>,
    pub text: String,
}

/// What smee logs of the datagram at its default level. `None` if it stays hidden.
pub fn shown(datagram: &[u8]) -> Option<Line> {
    let datagram = &datagram[..datagram.len().min(BUFFER)];
    let line = parse(&String::from_utf8_lossy(datagram))?;
    // A text that looks like JSON but is not leaves an empty line there.
    (line.severity != DEBUG && !line.text.is_empty() && !line.text.starts_with('{')).then_some(line)
}

fn parse(text: &str) -> Option<Line> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let priority: u8 = Some(number).filter(|n| n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let severity = priority % 8;
    match rest.strip_prefix("1 ") {
        Some(rest) => rfc5424(rest, severity),
        None => Some(rfc3164(rest, severity)),
    }
}

fn rfc5424(rest: &str, severity: u8) -> Option<Line> {
    let parts: Vec<&str> = rest.splitn(6, ' ').collect();
    let [time, host, app, process, id, rest] = parts[..] else { return None };
    if time.len() > LONGEST_TIMESTAMP || !is_rfc3339(time) {
        return None;
    }
    let given = |field: &str| Some(field.to_owned()).filter(|field| field != "-");
    let text = rest.strip_prefix("- ")?.to_owned();
    Some(Line { severity, host: given(host), app: given(app), process: given(process), id: given(id), text })
}

fn is_rfc3339(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return time == "-" };
    let zone = rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches('0'));
    matches!(zone, "Z" | "+00:00" | "-00:00")
}

fn rfc3164(rest: &str, severity: u8) -> Line {
    let is_tag = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    let end = rest.find(|c| !is_tag(c));
    let (app, rest) = end.map_or((None, rest), |end| (Some(rest[..end].to_owned()), &rest[end..]));
    let (process, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((process, rest)) => (Some(process.to_owned()), rest),
        None => (None, rest),
    };
    let text = rest.strip_prefix(": ").unwrap_or(rest).to_owned();
    Line { severity, host: None, app, process, id: None, text }
}
