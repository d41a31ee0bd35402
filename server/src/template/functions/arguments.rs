//! Arguments of a template function. An error says which function wanted what.

use gotmpl::{TemplateError, Value};

/// A text a function may build: more than a whole rendered template is a mistake.
pub(super) const MAX_TEXT: usize = 256 << 10;
/// A list a function may build.
pub(super) const MAX_LIST: usize = 65_536;

pub(super) struct Arguments<'a> {
    pub name: &'static str,
    pub values: &'a [Value],
}

impl<'a> Arguments<'a> {
    pub(super) fn error(&self, message: impl std::fmt::Display) -> TemplateError {
        TemplateError::Exec(format!("{}: {message}", self.name))
    }

    pub(super) fn at(&self, index: usize) -> Result<&'a Value, TemplateError> {
        self.values.get(index).ok_or_else(|| self.error(format!("argument {} is missing", index + 1)))
    }

    /// What a pipeline hands over.
    pub(super) fn last(&self) -> Result<&'a Value, TemplateError> {
        self.values.last().ok_or_else(|| self.error("an argument is missing"))
    }

    pub(super) fn text(&self, index: usize) -> Result<String, TemplateError> {
        Ok(shown(self.at(index)?))
    }

    pub(super) fn int(&self, index: usize) -> Result<i64, TemplateError> {
        let value = self.at(index)?;
        to_int(value).ok_or_else(|| self.error(format!("{} is not a number", shown(value))))
    }

    pub(super) fn count(&self, index: usize) -> Result<usize, TemplateError> {
        let number = self.int(index)?;
        usize::try_from(number).map_err(|_| self.error(format!("{number} is negative")))
    }

    pub(super) fn list(&self, index: usize) -> Result<&'a [Value], TemplateError> {
        match self.at(index)? {
            Value::List(items) => Ok(items),
            Value::Nil => Ok(&[]),
            other => Err(self.error(format!("a list is expected, not {}", other.type_name()))),
        }
    }

    pub(super) fn map(&self, index: usize) -> Result<&'a std::collections::BTreeMap<std::sync::Arc<str>, Value>, TemplateError> {
        match self.at(index)? {
            Value::Map(map) => Ok(map),
            other => Err(self.error(format!("a dict is expected, not {}", other.type_name()))),
        }
    }

    pub(super) fn bounded(&self, text: String) -> Result<Value, TemplateError> {
        if text.len() > MAX_TEXT {
            Err(self.error(format!("the result has more than {MAX_TEXT} bytes")))
        } else {
            Ok(Value::String(text.into()))
        }
    }
}

/// As Go prints it; nothing is an empty text.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

#[allow(clippy::cast_possible_truncation)] // Go's conversion cuts, too
pub(super) fn to_int(value: &Value) -> Option<i64> {
    match value {
        Value::Nil => Some(0),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Float(number) => Some(*number as i64),
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
