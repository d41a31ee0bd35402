//! The body of a request as JSON: from JSON, YAML, or the protobuf that clients send for Kubernetes' own kinds.

use std::fmt;

use model::yaml::{self, Twice};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::protobuf;
use crate::request::media_type;
use crate::resources::Resource;
use crate::status::Status;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    pub object: Map<String, Value>,
    /// Fields that it has twice. The last one counts.
    pub twice: Vec<String>,
}

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// A message never names more.
const MOST_NAMED: usize = 32;

/// # Errors
/// 400 or 415, with what is wrong.
pub fn decode(content_type: &str, bytes: &[u8], resource: &Resource) -> Result<Body, Status> {
    match media_type(content_type).0 {
        "application/vnd.kubernetes.protobuf" if resource.native => {
            let object = protobuf::decode(bytes)
                .map_err(|error| Status::bad_request(format!("the protobuf body cannot be read: {error}")))?;
            Ok(Body { object, twice: Vec::new() })
        }
        "application/json" | "" | "text/json" => json(bytes),
        "application/yaml" | "application/apply-patch+yaml" | "text/yaml" => json(bytes).or_else(|_| yaml(bytes)),
        _ => Err(Status::unsupported_media_type(ACCEPTED)),
    }
}

/// # Errors
/// 400 with what is wrong.
pub fn json(bytes: &[u8]) -> Result<Body, Status> {
    let mut twice = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { path: String::new(), twice: &mut twice }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    match value.map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))? {
        Value::Object(object) => Ok(Body { object, twice }),
        _ => Err(Status::bad_request("the body is not an object")),
    }
}

fn yaml(bytes: &[u8]) -> Result<Body, Status> {
    let text = std::str::from_utf8(bytes).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
    let (documents, mistakes) = yaml::documents(text, "body", Twice::LastWins);
    if let Some(mistake) = mistakes.first() {
        return Err(Status::bad_request(format!("error decoding YAML: {mistake}")));
    }
    match documents.as_slice() {
        [one] => match yaml::plain_value(one) {
            Value::Object(object) => Ok(Body { object, twice: Vec::new() }),
            _ => Err(Status::bad_request("the body is not an object")),
        },
        _ => Err(Status::bad_request("the body is not one YAML document")),
    }
}

/// Reads a value and notes keys that come twice.
struct Seed<'s> {
    path: String,
    twice: &'s mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Go writes whole numbers of some fields as 1e+06.
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, found.len());
            match items.next_element_seed(Seed { path, twice: &mut *self.twice })? {
                Some(item) => found.push(item),
                None => return Ok(Value::Array(found)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if found.contains_key(&key) && self.twice.len() < MOST_NAMED {
                self.twice.push(path.clone());
            }
            let value = entries.next_value_seed(Seed { path, twice: &mut *self.twice })?;
            found.insert(key, value);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn json_and_yaml_are_read_and_doubled_fields_are_named() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let read = |content_type: &str, text: &str| decode(content_type, text.as_bytes(), hardware);
        let doubled = read("application/json", r#"{"spec": {"a": [{"b": 1, "b": 2}]}, "spec2": 1.5}"#).unwrap();
        assert_eq!(doubled.twice, ["spec.a[0].b"]);
        assert_eq!(Value::Object(doubled.object), json!({"spec": {"a": [{"b": 2}]}, "spec2": 1.5}));
        assert_eq!(read("application/apply-patch+yaml", "spec:\n  a: 1\n").unwrap().object["spec"], json!({"a": 1}));
        for (content_type, text, code) in [
            ("application/json", "[]", 400),
            ("application/json", "{} x", 400),
            ("application/json", "", 400),
            ("application/yaml", "a: [", 400),
            ("application/yaml", "a: 1\n---\nb: 1\n", 400),
            ("application/vnd.kubernetes.protobuf", "", 415),
            ("application/cbor", "{}", 415),
        ] {
            assert_eq!(read(content_type, text).unwrap_err().code, code, "{content_type} {text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert_eq!(read("application/json", &deep).unwrap_err().code, 400);
    }
}
