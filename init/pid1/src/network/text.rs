//! Texts from other hosts, prepared for a line of the log.

/// How many characters of one text are shown.
const MOST: usize = 80;

/// The text without control characters, and cut.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_default).collect();
    if text.chars().nth(MOST).is_some() {
        shown += "...";
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_a_host_is_bounded_and_cannot_move_the_cursor() {
        for (text, expected) in [("no lease", "no lease"), ("a\x1b[2J\nb", "a\\u{1b}[2J\\nb"), ("ä\"", "\\u{e4}\\\"")] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"x".repeat(90)), "x".repeat(80) + "...");
    }
}
