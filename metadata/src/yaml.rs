//! Text as a double-quoted scalar of YAML.

/// What cloud-init's parser does not take as it is becomes an escape.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => out += &format!("\\u{:04x}", u32::from(letter)),
            letter if letter.is_control() => out += &format!("\\u{:04x}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_quotes_or_its_line() {
        for (text, expected) in [
            ("m1", r#""m1""#),
            ("a\": b\nc\\", r#""a\": b\u000ac\\""#),
            ("é\u{85}\u{2028}\u{7f}", r#""é\u0085\u2028\u007f""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
