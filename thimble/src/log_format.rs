//! The log of the daemons on standard error: lines for people, or one JSON object a line for programs.

use std::io::Write;
use std::str::FromStr;

use env_logger::{Builder, Env};
use jiff::Timestamp;
use log::{Level, Record};
use machine::{chains_in, is_harmless};
use serde_json::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        }
    }
}

/// Starts the log of this process.
pub fn start(format: LogFormat) {
    let mut builder = Builder::from_env(Env::default().default_filter_or("info"));
    match format {
        LogFormat::Text => builder.format(|out, record| {
            let (time, level) = (out.timestamp(), record.level());
            writeln!(out, "[{time} {level:<5}] {}", plain(&record.args().to_string()))
        }),
        LogFormat::Json => builder.format(|out, record| writeln!(out, "{}", line(record, Timestamp::now()))),
    };
    builder.init();
}

fn line(record: &Record<'_>, now: Timestamp) -> String {
    let (message, errors) = chains_in(|| record.args().to_string());
    let mut object =
        json!({"time": format!("{now:.6}"), "level": word(record.level()), "target": record.target(), "message": message});
    if let Some(object) = object.as_object_mut().filter(|_| !errors.is_empty()) {
        object.insert("errors".to_owned(), json!(errors));
    }
    escaped(&object.to_string())
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Reasons, reports and names come from machines and from operators. A line stays one line, and acts on no terminal.
fn plain(text: &str) -> String {
    if is_harmless(text) {
        return text.to_owned();
    }
    let letter = |letter: char| {
        let mut own = [0; 4];
        let own: &str = letter.encode_utf8(&mut own);
        if letter == '\t' || is_harmless(own) { own.to_owned() } else { letter.escape_default().to_string() }
    };
    text.chars().map(letter).collect()
}

/// JSON permits letters that act on a terminal or turn the direction of text. They occur in strings only.
fn escaped(json: &str) -> String {
    if is_harmless(json) {
        return json.to_owned();
    }
    let letter = |letter: char| {
        let mut text = [0; 4];
        let text = letter.encode_utf8(&mut text);
        if is_harmless(text) { text.to_owned() } else { format!("\\u{:04x}", u32::from(letter)) }
    };
    json.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use machine::Chain;
    use serde_json::Value;

    use super::*;

    fn logged(args: std::fmt::Arguments<'_>) -> String {
        let record = Record::builder().args(args).level(Level::Warn).target("server::work").build();
        line(&record, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_line_is_one_object_with_the_errors_one_by_one() {
        let error = anyhow::Error::new(std::io::Error::other("no route")).context("cannot ask the server");
        let value: Value = serde_json::from_str(&logged(format_args!("mac=x {}", Chain(error.as_ref())))).unwrap();
        let expected = json!({
            "time": "1970-01-01T00:00:00.000000Z", "level": "warn", "target": "server::work",
            "message": "mac=x cannot ask the server: no route", "errors": ["cannot ask the server", "no route"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_machines_say_stays_in_its_line() {
        for (said, expected) in [
            ("a\r\nERROR all is lost", "a\\r\\nERROR all is lost"),
            ("\u{1b}[2J\u{9b}31m\u{202e}", "\\u{1b}[2J\\u{9b}31m\\u{202e}"),
            ("Größe 😀, a\tb", "Größe 😀, a\tb"),
        ] {
            assert_eq!(plain(said), expected);
        }
    }

    #[test]
    fn what_machines_say_stays_in_its_string() {
        for said in
            ["\n{\"level\":\"error\"}", "\u{1b}[2J\u{9b}31m", "a\u{202e}b\u{2028}c\u{feff}", "\"}\\", "\u{7f}", "Größe 😀"]
        {
            let line = logged(format_args!("{said}"));
            assert!(is_harmless(&line), "{said:?} is {line}");
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["message"], said, "a program gets it back");
        }
    }
}
