//! One word of a kernel command line, split and unquoted exactly as the kernel's `next_arg()` does it.

use std::fmt;

/// `name` or `name=value`. `Debug` hides the value of words that look like secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Word {
    pub name: String,
    pub value: Option<String>,
}

impl Word {
    pub fn flag(name: impl Into<String>) -> Self {
        Self { name: name.into(), value: None }
    }

    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }

    /// Whether a kernel command line can carry this word. A quote cannot be escaped, and a control character would end
    /// the line in a boot script.
    pub fn is_renderable(&self) -> bool {
        let bad = |c: char| c == '"' || c.is_control() || (c.is_whitespace() && !c.is_ascii());
        !self.name.is_empty()
            && !self.name.starts_with('=')
            && !self.name.chars().any(|c| bad(c) || c.is_whitespace())
            && !self.name.contains('=')
            && !self.value.as_ref().is_some_and(|value| value.chars().any(bad))
    }

    /// The text as it stands on a command line, in quotes where a space needs them.
    pub fn render(&self) -> String {
        match &self.value {
            None => self.name.clone(),
            Some(value) if value.contains(' ') => format!("{}=\"{value}\"", self.name),
            Some(value) => format!("{}={value}", self.name),
        }
    }

    pub(crate) fn is_secret(&self) -> bool {
        let name = self.name.to_ascii_lowercase();
        let by_name = ["password", "passwd", "secret", "token", "pwhash"].iter().any(|part| name.contains(part));
        by_name || matches!(name.as_str(), "http_proxy" | "https_proxy") // the URL may carry a password
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(_) if self.is_secret() => write!(f, "{}=***", self.name),
            _ => f.write_str(&self.render()),
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// Splits a command line. A quote keeps spaces together wherever it stands; it is removed only around a whole word
/// or a whole value.
pub fn words(line: &str) -> Vec<Word> {
    let mut rest = skip_spaces(line);
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, after) = next_word(rest);
        words.push(word);
        rest = skip_spaces(after);
    }
    words
}

fn next_word(text: &str) -> (Word, &str) {
    let (text, quoted) = match text.strip_prefix('"') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let mut in_quote = quoted;
    let mut equals = None;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match c {
            c if is_space(c) && !in_quote => {
                end = at;
                break;
            }
            // For the kernel, an `=` at the very start of a word does not separate.
            '=' if equals.is_none() && at > 0 => equals = Some(at),
            '"' => in_quote = !in_quote,
            _ => {}
        }
    }
    let (token, after) = text.split_at_checked(end).unwrap_or((text, ""));
    let unquote = |text: &str| text.strip_suffix('"').unwrap_or(text).to_owned();
    let word = match equals.and_then(|at| Some((token.get(..at)?, token.get(at + 1..)?))) {
        None if quoted => Word::flag(unquote(token)),
        None => Word::flag(token),
        Some((name, value)) => match value.strip_prefix('"') {
            Some(inner) => Word::new(name, unquote(inner)),
            None if quoted => Word::new(name, unquote(value)),
            None => Word::new(name, value),
        },
    };
    (word, after)
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

fn skip_spaces(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_the_kernel_splits_them() {
        let word = |name: &str, value: Option<&str>| Word { name: name.to_owned(), value: value.map(str::to_owned) };
        for (case, line, expected) in [
            ("an empty line has no words", "", vec![]),
            ("spaces and a newline are not words", "  \t\n", vec![]),
            ("bare words are fine anywhere", "quiet a=1 ro\n", vec![word("quiet", None), word("a", Some("1")), word("ro", None)]),
            ("only the first = separates", "a=b=c", vec![word("a", Some("b=c"))]),
            ("an empty value is a value", "a=", vec![word("a", Some(""))]),
            ("quotes around a value keep its spaces", "a=\"b c\" d", vec![word("a", Some("b c")), word("d", None)]),
            ("quotes around the word as well", "\"a=b c\" d", vec![word("a", Some("b c")), word("d", None)]),
            ("a quote inside stays", "a=b\"c d\"e f", vec![word("a", Some("b\"c d\"e")), word("f", None)]),
            ("an open quote takes the rest", "a=\"b c", vec![word("a", Some("b c"))]),
            ("a lone quote is an empty word", "\"", vec![word("", None)]),
            ("= at the start belongs to the name", "=a=b", vec![word("=a", Some("b"))]),
            ("text is not cut inside a character", "ä=ö ü", vec![word("ä", Some("ö")), word("ü", None)]),
        ] {
            assert_eq!(words(line), expected, "{case}");
        }
    }

    #[test]
    fn a_secret_word_shows_no_value() {
        assert_eq!(Word::new("my_token", "t0p").to_string(), "my_token=***");
        assert_eq!(format!("{:?}", Word::new("pwhash", "t0p")), "\"pwhash=***\"");
        assert_eq!(Word::new("http_proxy", "http://joe:t0p@proxy").to_string(), "http_proxy=***");
        assert_eq!(Word::new("NO_PROXY", "10.0.0.0/8").to_string(), "NO_PROXY=10.0.0.0/8");
        assert_eq!(Word::new("console", "tty0").to_string(), "console=tty0");
    }
}
