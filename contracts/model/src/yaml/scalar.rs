//! What a plain scalar means where no type is given: the rules of go-yaml v3, which Tinkerbell uses.

use serde_json::Value;

use super::{Content, Node};

/// Node to JSON with every plain scalar resolved: for free-form parts and for `fromYaml`.
#[must_use]
pub fn plain_value(node: &Node) -> Value {
    match &node.content {
        _ if node.is_null() => Value::Null,
        Content::Scalar { text, plain: false } => Value::String(text.clone()),
        Content::Scalar { text, plain: true } => resolve(text),
        Content::List(items) => items.iter().map(|item| plain_value(item)).collect(),
        Content::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.text.clone(), plain_value(value))).collect())
        }
    }
}

fn resolve(text: &str) -> Value {
    if let Some(truth) = boolean(text) {
        return Value::Bool(truth);
    }
    if let Some(number) = integer(text) {
        return Value::from(number);
    }
    let numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::from(number),
        _ => Value::String(text.to_owned()),
    }
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Decimal, `0x`, `0b`, `0o` and, as in YAML 1.1, a leading zero for octal; `_` may group digits.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    let plausible =
        digits.bytes().next()?.is_ascii_alphanumeric() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plausible.then(|| i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_go_does() {
        for (text, value) in [
            ("0644", Value::from(420)),
            ("0o17", Value::from(15)),
            ("0x1F", Value::from(31)),
            ("-1_000", Value::from(-1000)),
            ("0", Value::from(0)),
            ("089", Value::from(89.0)),
            ("1e3", Value::from(1000.0)),
            ("1.5", Value::from(1.5)),
            ("true", Value::from(true)),
            ("yes", Value::from("yes")),
            ("1.2.3.4", Value::from("1.2.3.4")),
            ("52:54:00:12:34:56", Value::from("52:54:00:12:34:56")),
            ("0x", Value::from("0x")),
            ("-", Value::from("-")),
            ("é1", Value::from("é1")),
            ("inf", Value::from("inf")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
