//! `wildcard` and `shellstyle`: literal texts with any text between them.

/// The literal texts between the stars. A pattern without a star has one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl Glob {
    /// Parses a pattern in which only `*` is special.
    pub fn shellstyle(text: &str) -> Result<Self, &'static str> {
        if text.contains("**") {
            return Err(ADJACENT);
        }
        Ok(Self(text.split('*').map(str::to_owned).collect()))
    }

    /// Parses a pattern in which `\*` and `\\` are literal.
    pub fn wildcard(text: &str) -> Result<Self, &'static str> {
        let mut texts = vec![String::new()];
        let mut after_star = false;
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let literal = match letter {
                '*' if after_star => return Err(ADJACENT),
                '*' => None,
                '\\' => match letters.next() {
                    Some(escaped @ ('*' | '\\')) => Some(escaped),
                    Some(_) => return Err("'\\' must be followed by '*' or '\\'"),
                    None => return Err("'\\' at the end has nothing to escape"),
                },
                other => Some(other),
            };
            after_star = literal.is_none();
            match (literal, texts.last_mut()) {
                (Some(literal), Some(last)) => last.push(literal),
                _ => texts.push(String::new()),
            }
        }
        Ok(Self(texts))
    }

    pub fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), Some(last)) = (self.0.split_first(), self.0.last()) else { return false };
        let Some((_, between)) = rest.split_last() else { return text == first };
        let Some(mut text) = text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str())) else {
            return false;
        };
        for literal in between {
            let Some((_, behind)) = text.split_once(literal.as_str()) else { return false };
            text = behind;
        }
        true
    }
}

const ADJACENT: &str = "two '*' in a row";
