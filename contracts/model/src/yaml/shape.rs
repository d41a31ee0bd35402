//! What a place of a document may hold. The check turns nodes into JSON of that shape and notes every mistake.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::scalar::{boolean, integer};
use super::{Content, Node, plain_value};
use crate::mistake::nearest;
use crate::{Mac, Mistake};

pub enum Shape {
    /// A single value, taken as it was written.
    Text,
    /// The same where an empty text or null is meant as such, not as absent.
    Raw,
    Bool,
    Int(i64, i64),
    Mac,
    Ip,
    Cidr,
    Choice(&'static [&'static str]),
    List(&'static Shape),
    /// A list of the one, or the other.
    ListOr(&'static Shape, &'static Shape),
    /// Free keys.
    Map(&'static Shape),
    Record(&'static [Field]),
    /// Anything at all, kept.
    Any,
    /// Kubernetes has it; it is accepted and dropped.
    Dropped,
}

pub struct Field {
    pub key: &'static str,
    pub shape: Shape,
    pub required: bool,
}

impl Field {
    #[must_use]
    pub const fn new(key: &'static str, shape: Shape) -> Self {
        Self { key, shape, required: false }
    }

    #[must_use]
    pub const fn required(key: &'static str, shape: Shape) -> Self {
        Self { key, shape, required: true }
    }
}

/// The node as JSON of the shape. An absent or null part is left out, and so is a part that does not fit: a mistake.
pub(crate) fn check(node: &Node, shape: &Shape, path: &str, file: &str, mistakes: &mut Vec<Mistake>) -> Option<Value> {
    Check { file, mistakes }.value(node, shape, path)
}

struct Check<'c> {
    file: &'c str,
    mistakes: &'c mut Vec<Mistake>,
}

impl Check<'_> {
    fn value(&mut self, node: &Node, shape: &Shape, path: &str) -> Option<Value> {
        match shape {
            Shape::Dropped => None,
            Shape::Any => Some(plain_value(node)).filter(|value| !value.is_null()),
            Shape::Raw if node.is_null() => Some(Value::from("")),
            _ if node.is_null() => None,
            Shape::List(of) => self.list(node, of, path),
            Shape::ListOr(of, _) if matches!(node.content, Content::List(_)) => self.list(node, of, path),
            Shape::ListOr(_, single) => self.value(node, single, path),
            Shape::Map(of) => self.map(node, of, path),
            Shape::Record(fields) => self.record(node, fields, path),
            single => self.single(node, single, path),
        }
    }

    fn list(&mut self, node: &Node, of: &Shape, path: &str) -> Option<Value> {
        let Content::List(items) = &node.content else { return self.wrong(node, path, "a list") };
        let values = items.iter().enumerate().map(|(index, item)| {
            let value = self.value(item, of, &format!("{path}[{index}]"));
            if value.is_none() && item.is_null() {
                self.note(item, &format!("{path}[{index}]"), "this entry of the list is empty".to_owned(), None);
            }
            value
        });
        Some(values.flatten().collect())
    }

    fn map(&mut self, node: &Node, of: &Shape, path: &str) -> Option<Value> {
        let Content::Map(entries) = &node.content else { return self.wrong(node, path, "a mapping") };
        let values =
            entries.iter().filter_map(|(key, value)| Some((key.text.clone(), self.value(value, of, &join(path, &key.text))?)));
        Some(Value::Object(values.collect()))
    }

    fn record(&mut self, node: &Node, fields: &[Field], path: &str) -> Option<Value> {
        let Content::Map(entries) = &node.content else { return self.wrong(node, path, "a mapping") };
        let mut found = Map::new();
        for (key, value) in entries {
            let Some(field) = fields.iter().find(|field| field.key == key.text) else {
                if key.text.starts_with("x-") {
                    continue; // a place for anchors, as Docker's Compose has it
                }
                let hint = unknown_hint(&key.text, fields);
                let mut mistake = key.place.mistake(self.file, path, format!("unknown key {:?}", key.text));
                mistake.hint = Some(hint);
                self.mistakes.push(mistake);
                continue;
            };
            if let Some(value) = self.value(value, &field.shape, &join(path, field.key)) {
                found.insert(field.key.to_owned(), value);
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            match node.get(field.key) {
                Some(value) if matches!(&value.content, Content::Scalar { text, .. } if text.is_empty()) || value.is_null() => {
                    self.note(value, path, format!("{} is empty", field.key), None);
                }
                Some(_) => {}
                None => drop(self.note(node, path, format!("{} is missing", field.key), None)),
            }
        }
        Some(Value::Object(found))
    }

    fn single(&mut self, node: &Node, shape: &Shape, path: &str) -> Option<Value> {
        let Content::Scalar { text, plain } = &node.content else { return self.wrong(node, path, "a single value") };
        if text.is_empty() && !matches!(shape, Shape::Text | Shape::Raw) {
            return None; // `gateway: ""` is how several tools write "none"
        }
        let refused = match shape {
            Shape::Bool => match boolean(text).filter(|_| *plain) {
                Some(truth) => return Some(Value::Bool(truth)),
                None => format!("{text:?} is not true or false"),
            },
            Shape::Int(least, most) => match integer(text).filter(|_| *plain) {
                Some(number) if (*least..=*most).contains(&number) => return Some(Value::from(number)),
                Some(number) => format!("{number} is not between {least} and {most}"),
                None if !plain => format!("{text:?} is text; write the number without quotes"),
                None => format!("{text:?} is not a whole number"),
            },
            Shape::Mac => match text.parse::<Mac>() {
                Ok(mac) => return Some(Value::from(mac.to_string())),
                Err(error) => error.to_string(),
            },
            Shape::Ip if text.parse::<IpAddr>().is_err() => format!("{text:?} is not an IP address"),
            Shape::Cidr if !is_cidr(text) => format!("{text:?} is not a network such as 10.0.0.0/8"),
            Shape::Choice(words) if !words.contains(&text.as_str()) => {
                let hint = nearest(text, words.iter().copied())
                    .map_or_else(|| format!("one of {}", words.join(", ")), |near| format!("did you mean {near:?}?"));
                return self.note(node, path, format!("{text:?} is not known here"), Some(hint));
            }
            _ => return Some(Value::from(text.clone())),
        };
        self.note(node, path, refused, None)
    }

    fn wrong(&mut self, node: &Node, path: &str, wanted: &str) -> Option<Value> {
        self.note(node, path, format!("{wanted} is expected here, found {}", node.kind()), None)
    }

    fn note(&mut self, node: &Node, path: &str, message: String, hint: Option<String>) -> Option<Value> {
        let mut mistake = node.place.mistake(self.file, path, message);
        mistake.hint = hint;
        self.mistakes.push(mistake);
        None
    }
}

fn unknown_hint(word: &str, fields: &[Field]) -> String {
    let known = || fields.iter().filter(|field| !matches!(field.shape, Shape::Dropped)).map(|field| field.key);
    match nearest(word, known()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}
