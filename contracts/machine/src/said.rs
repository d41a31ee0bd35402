//! What other parties say, made fit for a log, a store and a terminal: one line of bounded length.

/// Control characters, line separators and marks that turn the direction of text are replaced. At most `most` characters.
#[must_use]
pub fn said(text: &str, most: usize) -> String {
    text.trim().chars().take(most).map(harmless).collect()
}

/// Whether `said` would change nothing but the length.
#[must_use]
pub fn is_harmless(text: &str) -> bool {
    text.chars().all(|letter| harmless(letter) == letter)
}

fn harmless(letter: char) -> char {
    match letter {
        '\t' | '\n' | '\r' => ' ',
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '?',
        other if other.is_control() => '?',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_harmless, said};

    #[test]
    fn one_line_without_effects_on_a_terminal_is_left() {
        for (text, most, expected) in [
            ("disk is full", 80, "disk is full"),
            (" Größe 😀 ", 80, "Größe 😀"),
            ("a\nb\tc\r\n", 80, "a b c"),
            ("\u{1b}[31mred\u{7}\u{9b}", 80, "?[31mred??"),
            ("a\u{202e}b\u{2028}c\u{2066}", 80, "a?b?c?"),
            ("abcdef", 3, "abc"),
        ] {
            assert_eq!(said(text, most), expected, "{text:?}");
            assert_eq!(is_harmless(text.trim()), said(text, 80) == text.trim(), "{text:?}");
        }
    }
}
