//! Label selectors as Kubernetes writes them: `rack=7,role!=db,zone in (a, b),gpu,!old`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What is longer is refused.
const MAX_LEN: usize = 4096;

/// All its requirements must hold. An empty selector selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// The label is there.
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// Without the label this holds, too.
    NotIn(BTreeSet<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("the label selector has {0} bytes, and {MAX_LEN} are the most")]
    TooLong(usize),
    #[error(
        "{0:?} is not a requirement of a label selector; write KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A, B) or KEY notin (A, B)"
    )]
    NotARequirement(String),
    #[error("{0:?} is not a label's key; write [PREFIX/]NAME with letters, digits, '-', '_' and '.'")]
    NotAKey(String),
    #[error("{0:?} is not a label's value; write up to 63 letters, digits, '-', '_' and '.'")]
    NotAValue(String),
}

impl Selector {
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.wanted {
                Wanted::Exists => value.is_some(),
                Wanted::Absent => value.is_none(),
                Wanted::In(values) => value.is_some_and(|value| values.contains(value)),
                Wanted::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }

    /// Whether it selects everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LEN {
            return Err(SelectorError::TooLong(text.len()));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        requirements(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

/// Split at the commas outside of parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|letter| {
        inside = match letter {
            '(' => true,
            ')' => false,
            _ => inside,
        };
        letter == ',' && !inside
    })
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, SelectorError> {
    let text = text.trim();
    let (key, wanted) = if let Some((key, value)) = text.split_once("!=") {
        (key, Wanted::NotIn(values([value])?))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Wanted::In(values([value])?))
    } else if let Some(rest) = text.strip_suffix(')') {
        set(rest).ok_or_else(|| SelectorError::NotARequirement(text.to_owned()))??
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Wanted::Absent)
    } else {
        (text, Wanted::Exists)
    };
    let key = key.trim();
    if !is_key(key) {
        let error = if key.contains(char::is_whitespace) { SelectorError::NotARequirement } else { SelectorError::NotAKey };
        return Err(error(if key.is_empty() { text } else { key }.to_owned()));
    }
    Ok(Requirement { key: key.to_owned(), wanted })
}

/// `KEY in (A, B` and `KEY notin (A, B`.
fn set(text: &str) -> Option<Result<(&str, Wanted), SelectorError>> {
    let (head, list) = text.split_once('(')?;
    let (key, word) = head.trim_end().rsplit_once(char::is_whitespace)?;
    let values = |wanted: fn(BTreeSet<String>) -> Wanted| values(list.split(',')).map(|values| (key, wanted(values)));
    match word {
        "in" => Some(values(Wanted::In)),
        "notin" => Some(values(Wanted::NotIn)),
        _ => None,
    }
}

fn values<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<BTreeSet<String>, SelectorError> {
    let value = |text: &str| {
        let text = text.trim();
        if text.is_empty() || is_qualified(text) { Ok(text.to_owned()) } else { Err(SelectorError::NotAValue(text.to_owned())) }
    };
    texts.into_iter().map(value).collect()
}

/// Why an object cannot have this label.
///
/// # Errors
/// What is not a key, or not a value.
pub fn check_label(key: &str, value: &str) -> Result<(), SelectorError> {
    match (is_key(key), value.is_empty() || is_qualified(value)) {
        (false, _) => Err(SelectorError::NotAKey(key.to_owned())),
        (true, false) => Err(SelectorError::NotAValue(value.to_owned())),
        (true, true) => Ok(()),
    }
}

fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => crate::object::is_name(prefix) && is_qualified(name),
        None => is_qualified(text),
    }
}

/// A label's value, and the name in its key.
fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, wanted }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match wanted {
                Wanted::Exists => write!(out, "{comma}{key}")?,
                Wanted::Absent => write!(out, "{comma}!{key}")?,
                Wanted::In(values) => write!(out, "{comma}{key} in ({})", list(values))?,
                Wanted::NotIn(values) => write!(out, "{comma}{key} notin ({})", list(values))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let selector: Selector = selector.parse().unwrap();
        assert_eq!(selector.to_string().parse(), Ok(selector.clone()), "{selector}");
        selector.selects(&labels)
    }

    #[test]
    fn each_form_selects_as_kubernetes_does() {
        let machine = [("rack", "7"), ("example.org/role", "web"), ("empty", "")];
        for (selector, expected) in [
            ("", true),
            ("rack=7", true),
            ("rack == 7", true),
            ("rack=8", false),
            ("zone=a", false),
            ("rack!=8", true),
            ("rack!=7", false),
            ("zone!=a", true),
            ("rack", true),
            ("zone", false),
            ("!zone", true),
            ("!rack", false),
            ("rack in (6, 7)", true),
            ("rack in (6)", false),
            ("rack notin (6,8)", true),
            ("rack notin (7)", false),
            ("zone notin (a)", true),
            ("example.org/role=web, rack=7", true),
            ("example.org/role=web,rack=8", false),
            ("empty=", true),
            ("rack in (7),example.org/role in (web,db),!zone", true),
        ] {
            assert_eq!(selects(selector, &machine), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused_and_named() {
        for (text, expected) in [
            ("rack=7,", "\"\" is not a label's key"),
            ("rack = a b", "\"a b\" is not a label's value"),
            ("rack within (a)", "\"rack within (a)\" is not a requirement"),
            ("rack 7", "\"rack 7\" is not a requirement"),
            ("-rack=7", "\"-rack\" is not a label's key"),
            ("a/b/c=7", "\"a/b/c\" is not a label's key"),
            ("rack in (a", "is not a requirement"),
            ("=", "\"=\" is not a label's key"),
        ] {
            let refused = text.parse::<Selector>().unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert_eq!("a".repeat(5000).parse::<Selector>(), Err(SelectorError::TooLong(5000)));
    }
}
