//! JSON text, for what the actions print and send. Values go in as they are found, so that no tree is built.

use std::fmt::Write;

/// A string with its quotes.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c)); // a String takes everything
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// An object that grows by its members.
#[derive(Debug, Default)]
pub struct Object {
    members: Vec<String>,
}

impl Object {
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.members.push(format!("{}:{}", quoted(name), quoted(value)));
        self
    }

    /// Left out if it is empty.
    pub fn known(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.text(name, value) }
    }

    /// A number, a boolean, or JSON that was rendered before.
    pub fn plain(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.members.push(format!("{}:{value}", quoted(name)));
        self
    }

    pub fn render(&self) -> String {
        format!("{{{}}}", self.members.join(","))
    }
}

pub fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_reserves_is_escaped() {
        assert_eq!(quoted("a\"b\\c\n\u{1}ä"), r#""a\"b\\c\n\u0001ä""#);
        let object = Object::default().text("a", "1").known("b", "").plain("c", 2).plain("d", array(["3".to_owned()]));
        assert_eq!(object.render(), r#"{"a":"1","c":2,"d":[3]}"#);
    }
}
