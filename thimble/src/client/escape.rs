//! What machines and files say, made fit for a terminal: text, JSON and YAML without characters that act on one.

use anyhow::Context;
use machine::is_harmless;
use serde::Serialize;

/// One line. Line breaks, control characters and marks that turn the direction of text are shown as their escapes.
pub fn clean(text: &str) -> String {
    escaped(text, "")
}

/// Several lines, which stay lines.
pub fn clean_lines(text: &str) -> String {
    escaped(text, "\n")
}

fn escaped(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(' '),
            other if kept.contains(other) || is_fine(other) => out.push(other),
            other => out.extend(other.escape_default()),
        }
    }
    out
}

fn is_fine(letter: char) -> bool {
    is_harmless(letter.encode_utf8(&mut [0; 4]))
}

/// JSON with a line for each field, or on one line.
pub fn json<T: Serialize>(value: &T, on_one_line: bool) -> anyhow::Result<String> {
    let text = if on_one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    Ok(in_json(&text.context("cannot write JSON")?))
}

/// Outside of its texts JSON has no such characters, and in them each has an escape.
fn in_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\n' || is_fine(letter) {
            out.push(letter);
        } else {
            letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// YAML, which ends with a line break. JSON is YAML too, and it has an escape for every character.
pub fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value).context("cannot write YAML")?;
    if text.chars().all(|letter| matches!(letter, '\n' | '\t') || is_fine(letter)) {
        return Ok(text);
    }
    Ok(json(value, false)? + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        for (text, line, lines) in [
            ("plain größer 😀", "plain größer 😀", "plain größer 😀"),
            ("\u{1b}[2J", "\\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m\u{7}\u{7f}", "\\u{9b}31m\\u{7}\\u{7f}", "\\u{9b}31m\\u{7}\\u{7f}"),
            ("a\r\nb\tc", "a\\r\\nb c", "a\\r\nb c"),
            ("\u{202e}fdp.exe\u{2066}", "\\u{202e}fdp.exe\\u{2066}", "\\u{202e}fdp.exe\\u{2066}"),
            ("a\u{2028}b", "a\\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!((clean(text).as_str(), clean_lines(text).as_str()), (line, lines), "{text:?}");
        }
    }

    #[test]
    fn json_and_yaml_say_the_same_with_escapes() {
        for text in ["plain", "a\nb\n", "\u{1b}]0;title\u{7}", "\u{9b}2J", "x\u{202e}y", "tab\there", "\u{feff}"] {
            let object = value!({"metadata": {"name": text}, "n": [1, text]});
            let (pretty, line, yaml) = (json(&object, false).unwrap(), json(&object, true).unwrap(), yaml(&object).unwrap());
            for written in [&pretty, &line, &yaml] {
                let acts = |letter: char| !matches!(letter, '\n' | '\t') && !is_fine(letter);
                assert!(!written.contains(acts), "{text:?}: {written:?}");
            }
            assert_eq!(line.lines().count(), 1);
            assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), object);
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), object);
            assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), object, "{yaml}");
        }
    }
}
