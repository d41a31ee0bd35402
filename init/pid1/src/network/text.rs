//! Texts that other hosts have sent, for a line of the log.

/// Characters that are shown of one text.
const MOST: usize = 80;

/// Without control characters, and bounded.
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
    fn what_a_host_sends_is_bounded_and_cannot_move_the_cursor() {
        for (text, expected) in [("no lease", "no lease"), ("a\x1b[2J\nb", "a\\u{1b}[2J\\nb"), ("ä\"", "\\u{e4}\\\"")] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(&"x".repeat(90)), "x".repeat(80) + "...");
    }
}
