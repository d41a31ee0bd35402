//! Which of a machine's lines smee's syslog receiver shows at its default level.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/smee.rs"]
mod smee;

use std::time::{Duration, UNIX_EPOCH};

use log::Level;
use machine::syslog::{ActionLine, Message, render};

fn message<'a>(text: &'a str, origin: Option<ActionLine<'a>>) -> Message<'a> {
    let now = UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_456);
    Message { level: Level::Info, now, hostname: "02:00:00:00:00:01", text, origin }
}

#[test]
fn smee_shows_every_line_of_the_machine_and_of_its_actions() {
    let long = "x".repeat(5000);
    for (case, action, stream, text) in [
        ("a plain line", "stream", "stdout", "A| hello"),
        ("an error", "stream", "stderr", "A| disk is full"),
        ("a name with blanks and brackets", "a \"b\"] c", "stdout", "A| hi"),
        ("a name beyond ASCII", "gr\u{fc}n", "stdout", "A| hi"),
        ("no name", "", "stdout", "A| hi"),
        ("a name of 199 characters", &long[..199], "stderr", "A| hi"),
        ("JSON", "stream", "stdout", "A| {\"a\": 1"),
        ("a line of any length", "stream", "stdout", &long),
    ] {
        let origin = ActionLine { action, stream };
        let line = smee::shown(&render(&message(text, Some(origin))));
        let line = line.unwrap_or_else(|| panic!("{case}: smee hides it"));
        assert!(text.starts_with(&line.text), "{case}: {line:?}");
        let id = line.id.unwrap();
        assert!(id.len() <= 32 && id.ends_with(stream), "RFC 5424 bounds MSGID: {id:?}");
    }
    let line = smee::shown(&render(&message("waiting for work", None))).unwrap();
    assert_eq!((line.text.as_str(), line.host.as_deref()), ("waiting for work", Some("02:00:00:00:00:01")));
}

#[test]
fn the_receiver_of_the_test_is_as_strict_as_smee() {
    for (case, datagram, shown) in [
        ("RFC 5424", &b"<133>1 2026-01-02T03:04:05.678901Z h a 1 i - text"[..], true),
        ("no time", b"<133>1 - h a 1 i - text", true),
        ("structured data", b"<133>1 2026-01-02T03:04:05Z h a 1 i [x@1 a=\"b\"] text", false),
        ("nothing after the header", b"<133>1 2026-01-02T03:04:05Z h a 1 i -", false),
        ("a wrong time", b"<133>1 yesterday h a 1 i - text", false),
        ("debug", b"<135>1 - h a 1 i - text", false),
        ("no priority", b"text", false),
        ("the old form", b"<13>app[7]: text", true),
    ] {
        assert_eq!(smee::shown(datagram).is_some(), shown, "{case}");
    }
}
