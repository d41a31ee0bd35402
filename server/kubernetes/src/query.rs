//! The query of a URL, decoded.

use std::collections::BTreeMap;

/// The last value of each key, as Kubernetes takes single parameters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(key, true), decoded(value, true))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// None if it is absent or empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| matches!(value, "true" | "1" | "True" | "TRUE" | "t" | "T"))
    }
}

/// Undoes percent encoding. What is not UTF-8 becomes the replacement character.
#[must_use]
pub fn decoded(text: &str, plus_is_space: bool) -> String {
    let mut rest = text.as_bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (*byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                found.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (b'+', _) if plus_is_space => found.push(b' '),
            (byte, _) => found.push(byte),
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

fn digit(byte: u8) -> u8 {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28d%29&limit=500&limit=2&watch=1&empty=&flag&bad=%zz%4");
        for (key, value) in [
            ("labelSelector", Some("a=b,c in (d)")),
            ("limit", Some("2")),
            ("empty", None),
            ("flag", None),
            ("bad", Some("%zz%4")),
        ] {
            assert_eq!(query.get(key), value, "{key}");
        }
        assert!(query.is_true("watch") && !query.is_true("limit"));
        assert_eq!(decoded("a+b%2Fc", false), "a+b/c");
    }
}
