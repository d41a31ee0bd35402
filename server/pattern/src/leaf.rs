//! One alternative of a leaf, and the values it matches.

use serde_json::Value;

use crate::fold::equals_ignoring_case;
use crate::glob::Glob;
use crate::regexp::Regexp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alternative {
    Text(String),
    /// The bits of a 64-bit float.
    Number(u64),
    Bool(bool),
    Null,
    Prefix(String),
    /// `wildcard` and `shellstyle`.
    Glob(Glob),
    EqualsIgnoreCase(String),
    AnythingBut(Vec<String>),
    Exists(bool),
    Regexp(Regexp),
}

impl Alternative {
    pub fn matches(&self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Text(wanted) => text == Some(wanted),
            Self::Number(wanted) => value.as_f64().is_some_and(|number| number.to_bits() == *wanted),
            Self::Bool(wanted) => value.as_bool() == Some(*wanted),
            Self::Null => value.is_null(),
            // quamina includes the quotation mark after the text.
            Self::Prefix(prefix) => {
                text.is_some_and(|text| text.starts_with(prefix.as_str()) || prefix.strip_suffix('"') == Some(text))
            }
            Self::Glob(glob) => text.is_some_and(|text| glob.matches(text)),
            Self::EqualsIgnoreCase(wanted) => text.is_some_and(|text| equals_ignoring_case(wanted, text)),
            // Numbers, true, false and null differ from every text.
            Self::AnythingBut(texts) => text.is_none_or(|text| texts.iter().all(|other| other != text)),
            Self::Exists(wanted) => *wanted,
            Self::Regexp(regexp) => text.is_some_and(|text| regexp.matches(text)),
        }
    }
}
