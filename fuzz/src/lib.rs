//! What several targets share: the input as fields or as words of a grammar, and the check of what people are shown.

/// The input as fields. A byte 0xff, which no UTF-8 text has, ends each.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0xff).unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        field
    }

    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// `None` for an empty field.
    pub fn maybe(&mut self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty())
    }
}

/// Each byte as a word of a grammar, so that the fuzzer need not spell the words.
#[must_use]
pub fn spelled(words: &[&str], bytes: &[u8]) -> String {
    bytes.iter().map(|byte| words[usize::from(*byte) % words.len()]).collect()
}

/// What people are shown acts on no terminal, and stays in its line.
pub fn assert_harmless(text: &str) {
    assert!(machine::is_harmless(text), "{text:?}");
}
