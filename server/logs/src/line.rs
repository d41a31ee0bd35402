//! Lines as bytes of a segment: one JSON object and a line feed. What is not a whole line is not a line.

use api::LogLine;
use machine::is_harmless;

/// The most characters of a line's text. A longer line is cut.
pub const MAX_TEXT: usize = 4 << 10;
/// The most characters of a name in a line.
const MAX_NAME: usize = 253;

/// Text without effects on a terminal or a log: what would have one is shown as its escape, such as `\u{1b}`. A tab becomes
/// a space. At most `most` characters of the text count.
#[must_use]
pub fn escaped(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut buffer = [0; 4];
    for letter in text.trim_end().chars().take(most) {
        match letter {
            '\t' => out.push(' '),
            other if is_harmless(other.encode_utf8(&mut buffer)) => out.push(other),
            other => out.extend(other.escape_default()),
        }
    }
    out
}

/// The line as it is stored. All its texts are bounded and escaped.
pub fn encode(mut line: LogLine, out: &mut Vec<u8>) {
    line.text = escaped(&line.text, MAX_TEXT);
    line.from = escaped(&line.from, MAX_NAME);
    line.action = escaped(&line.action, MAX_NAME);
    let start = out.len();
    match serde_json::to_writer(&mut *out, &line) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(start), // never: writing to memory does not fail
    }
}

/// The lines in these bytes. Others than those of `encode` are skipped, and their texts are escaped again: a file may have
/// been changed by hand.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = LogLine> + '_ {
    let whole = bytes.get(..whole(bytes)).unwrap_or_default();
    whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).filter_map(|line| {
        let mut line: LogLine = serde_json::from_slice(line).ok()?;
        for (text, most) in [(&mut line.text, usize::MAX), (&mut line.from, MAX_NAME), (&mut line.action, MAX_NAME)] {
            if !is_harmless(text) {
                *text = escaped(text, most);
            }
        }
        Some(line)
    })
}

/// How many of these bytes are whole lines.
#[must_use]
pub fn whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use api::LogStream;
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> LogLine {
        let (from, action) = ("02:00:00:00:00:01".to_owned(), "stream".to_owned());
        LogLine { time: Timestamp::UNIX_EPOCH, from, action, stream: LogStream::Stdout, text: text.to_owned() }
    }

    fn stored(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(line(text), &mut out);
        out
    }

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_its_escape() {
        for (text, shown) in [
            ("  indented\tand tabbed \n", "  indented and tabbed"),
            ("Größe 😀 \\n", "Größe 😀 \\n"),
            ("\u{1b}[31mred\u{7}\u{9b}2J", "\\u{1b}[31mred\\u{7}\\u{9b}2J"),
            ("one\ntwo\rthree\0", "one\\ntwo\\rthree\\u{0}"),
            ("a\u{202e}b\u{2028}c", "a\\u{202e}b\\u{2028}c"),
        ] {
            assert_eq!(escaped(text, 100), shown, "{text:?}");
            assert_eq!(escaped(shown, 100), shown, "once escaped, it stays the same");
        }
        assert_eq!(escaped("abcdef", 3), "abc");
    }

    #[test]
    fn a_line_is_one_object_in_one_line() {
        let bytes = stored("a\n\u{1b}[2J\"b\"");
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00Z\",\"from\":\"02:00:00:00:00:01\",\"action\":\"stream\",\"stream\":\"stdout\",\
             \"text\":\"a\\\\n\\\\u{1b}[2J\\\"b\\\"\"}\n"
        );
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_its_whole_lines() {
        let one = [stored("one"), stored("two"), stored("three \u{1b}")].concat();
        let ends: Vec<usize> = one.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        for cut in 0..=one.len() {
            let expected = ends.iter().filter(|end| **end <= cut).count();
            let kept = one.get(..cut).unwrap();
            assert_eq!(decode(kept).count(), expected, "cut at {cut}");
            assert_eq!(whole(kept), ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_line_is_skipped_and_a_line_from_elsewhere_is_escaped() {
        let raw = "{\"time\":\"1970-01-01T00:00:00Z\",\"from\":\"m\",\"stream\":\"syslog\",\"text\":\"\\u001b[2J\"}\n";
        let bytes = [b"\0\0\0\n{}\n[]\n\xff\n\n".as_slice(), raw.as_bytes(), &stored("x")].concat();
        let texts: Vec<String> = decode(&bytes).map(|line| line.text).collect();
        assert_eq!(texts, ["\\u{1b}[2J", "x"]);
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was_escaped(text: String) {
            let bytes = stored(&text);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            let back: Vec<LogLine> = decode(&bytes).collect();
            prop_assert_eq!(back, vec![line(&escaped(&text, MAX_TEXT))]);
        }

        #[test]
        fn any_bytes_are_lines_without_effects(bytes: Vec<u8>) {
            for line in decode(&bytes) {
                prop_assert!(is_harmless(&line.text) && is_harmless(&line.from) && is_harmless(&line.action));
            }
        }
    }
}
