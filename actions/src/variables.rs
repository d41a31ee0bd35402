//! An action's settings: environment variables under Tinkerbell's names, checked before anything happens.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: BTreeMap<OsString, OsString>,
    words: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VariableError {
    #[error("{0} is not set")]
    Missing(&'static str),
    #[error("{name}=\"{value}\" is not usable: wanted {wanted}")]
    Invalid { name: &'static str, value: String, wanted: &'static str },
    #[error("{name}=\"{value}\" is not usable: {reason}")]
    Unusable { name: &'static str, value: String, reason: String },
}

impl Variables {
    pub fn of_process() -> Self {
        Self { values: std::env::vars_os().collect(), words: Vec::new() }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.into(), value.into());
    }

    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Self {
        Self { values: values.iter().map(|(name, value)| (name.into(), value.into())).collect(), words: Vec::new() }
    }

    #[cfg(test)]
    pub fn of_all<'v>(values: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        Self { values: values.into_iter().map(|(name, value)| (name.into(), value.into())).collect(), words: Vec::new() }
    }

    /// With the words after the action's name, which only rootio reads.
    #[must_use]
    pub fn with_words(self, words: Vec<String>) -> Self {
        Self { words, ..self }
    }

    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// An empty value counts as absent: templates render absent fields to "".
    pub fn optional(&self, name: &'static str) -> Option<&OsStr> {
        self.values.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &'static str) -> Result<&OsStr, VariableError> {
        self.optional(name).ok_or(VariableError::Missing(name))
    }

    /// The value as it is, even if empty.
    pub fn raw(&self, name: &'static str) -> Option<&OsStr> {
        self.values.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    pub fn text(&self, name: &'static str) -> Result<String, VariableError> {
        let value = self.required(name)?;
        value.to_str().map(str::to_owned).ok_or_else(|| invalid(name, value, "UTF-8 text"))
    }

    pub fn absolute_path(&self, name: &'static str) -> Result<PathBuf, VariableError> {
        let value = self.required(name)?;
        let path = PathBuf::from(value);
        if path.is_absolute() { Ok(path) } else { Err(invalid(name, value, "a path that begins with /")) }
    }

    /// The spellings that Go accepts: templates were written for Go programs.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, VariableError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        match value.to_str() {
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(Some(false)),
            _ => Err(invalid(name, value, "true or false")),
        }
    }

    pub fn seconds(&self, name: &'static str, default: u64) -> Result<Duration, VariableError> {
        Ok(Duration::from_secs(self.number(name, 10, "a number of seconds")?.map_or(default, u64::from)))
    }

    pub fn minutes(&self, name: &'static str, default: u64) -> Result<Duration, VariableError> {
        let minutes = self.number(name, 10, "a number of minutes")?.map_or(default, u64::from);
        Ok(Duration::from_secs(minutes.saturating_mul(60)))
    }

    /// A user's or group's number.
    pub fn id(&self, name: &'static str) -> Result<u32, VariableError> {
        self.number(name, 10, "a number")?.ok_or(VariableError::Missing(name))
    }

    /// Permission bits in octal, with or without a leading 0 or 0o.
    pub fn permissions(&self, name: &'static str) -> Result<u32, VariableError> {
        const WANTED: &str = "permissions in octal such as 0644";
        let bits = self.number(name, 8, WANTED)?.ok_or(VariableError::Missing(name))?;
        if bits > 0o7777 {
            return Err(invalid(name, self.required(name)?, WANTED));
        }
        Ok(bits)
    }

    /// A number within `range`, or the default.
    pub fn count(&self, name: &'static str, default: u32, range: RangeInclusive<u32>) -> Result<u32, VariableError> {
        let number = self.number(name, 10, "a number")?.unwrap_or(default);
        if range.contains(&number) {
            return Ok(number);
        }
        let reason = format!("wanted a number from {} to {}", range.start(), range.end());
        Err(unusable_because(name, &number.to_string(), &reason))
    }

    /// A number of bytes.
    pub fn bytes(&self, name: &'static str) -> Result<Option<u64>, VariableError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let text = value.to_str().map(str::trim).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = text.and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| invalid(name, value, "a number of bytes"))
    }

    fn number(&self, name: &'static str, radix: u32, wanted: &'static str) -> Result<Option<u32>, VariableError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        let digits = if radix == 8 { text.strip_prefix("0o").unwrap_or(text) } else { text };
        let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let number = plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten();
        number.map(Some).ok_or_else(|| invalid(name, value, wanted))
    }
}

fn invalid(name: &'static str, value: &OsStr, wanted: &'static str) -> VariableError {
    VariableError::Invalid { name, value: value.to_string_lossy().into_owned(), wanted }
}

/// For a check of one action.
pub(crate) fn unusable(name: &'static str, value: &str, wanted: &'static str) -> VariableError {
    VariableError::Invalid { name, value: value.to_owned(), wanted }
}

/// For a value with a grammar of its own.
pub(crate) fn unusable_because(name: &'static str, value: &str, reason: &impl std::fmt::Display) -> VariableError {
    VariableError::Unusable { name, value: value.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal() {
        for (text, expected) in [
            ("0644", Some(0o644)),
            ("755", Some(0o755)),
            ("0o1777", Some(0o1777)),
            ("0x1ff", None),
            ("0888", None),
            ("10000", None),
            ("-1", None),
            ("+7", None),
        ] {
            assert_eq!(Variables::of([("MODE", text)]).permissions("MODE").ok(), expected, "{text}");
        }
    }

    #[test]
    fn flags_are_spelt_as_in_go() {
        let flag = |text| Variables::of([("COMPRESSED", text)]).flag("COMPRESSED");
        assert_eq!(flag("true"), Ok(Some(true)));
        assert_eq!(flag("F"), Ok(Some(false)));
        assert_eq!(flag(""), Ok(None));
        assert_eq!(flag("yes").unwrap_err().to_string(), "COMPRESSED=\"yes\" is not usable: wanted true or false");
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(Variables::of([]).text("IMG_URL").unwrap_err().to_string(), "IMG_URL is not set");
        assert_eq!(Variables::of([("UID", "")]).id("UID"), Err(VariableError::Missing("UID")));
        assert!(Variables::of([("UID", "-3")]).id("UID").is_err());
    }

    #[test]
    fn durations_have_defaults() {
        assert_eq!(Variables::of([]).minutes("RETRY_DURATION_MINUTES", 10).unwrap(), Duration::from_secs(600));
        assert_eq!(Variables::of([("X", "5")]).seconds("X", 3).unwrap(), Duration::from_secs(5));
    }
}
