//! A body against the fields that its kind has: unknown fields are pruned and named, wrong types are refused.

use model::yaml::{Field, Shape};
use serde_json::{Map, Value};

use crate::resources::Resource;
use crate::shapes::{Top, top};
use crate::status::{Cause, INVALID, NOT_SUPPORTED, REQUIRED, WRONG_TYPE};

/// A message never names more fields.
const MOST_NAMED: usize = 32;

/// What was found in a body.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    /// Paths of fields that the kind does not have. They are gone.
    pub unknown: Vec<String>,
    pub wrong: Vec<Cause>,
}

/// Prunes an object in place.
pub fn check(resource: &Resource, object: &mut Map<String, Value>) -> Findings {
    let mut findings = Findings::default();
    let fields = top(resource.family);
    let known = |key: &str| matches!(key, "apiVersion" | "kind") || fields.iter().any(|field| field.key == key);
    findings.drop_unknown(object, "", known);
    for Top { key, shape, required } in fields {
        match object.get_mut(key) {
            Some(Value::Null) => drop(object.remove(key)),
            Some(value) => findings.value(value, shape, key),
            None => {}
        }
        if required && !object.contains_key(key) {
            findings.wrong(REQUIRED, key, "");
        }
    }
    findings
}

impl Findings {
    fn wrong(&mut self, reason: &'static str, path: &str, message: impl Into<String>) {
        if self.wrong.len() < MOST_NAMED {
            self.wrong.push(Cause::new(reason, path, message));
        }
    }

    fn drop_unknown(&mut self, object: &mut Map<String, Value>, path: &str, known: impl Fn(&str) -> bool) {
        if object.keys().all(|key| known(key)) {
            return;
        }
        let unknown: Vec<String> = object.keys().filter(|key| !known(key)).cloned().collect();
        for key in unknown {
            object.remove(&key);
            if self.unknown.len() < MOST_NAMED {
                self.unknown.push(join(path, &key));
            }
        }
    }

    fn value(&mut self, value: &mut Value, shape: &Shape, path: &str) {
        match (shape, &mut *value) {
            (Shape::Any | Shape::Dropped, _) => {}
            (Shape::Record(fields), Value::Object(object)) => self.record(object, fields, path),
            (Shape::Map(of), Value::Object(object)) => {
                object.retain(|_, value| !value.is_null());
                for (key, value) in object {
                    self.value(value, of, &join(path, key));
                }
            }
            (Shape::List(of) | Shape::ListOr(of, _), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, of, &format!("{path}[{index}]"));
                }
            }
            (Shape::ListOr(_, single), _) => self.value(value, single, path),
            (Shape::Bool, Value::Bool(_)) => {}
            (Shape::Int(least, most), Value::Number(number)) => match number.as_i64() {
                Some(number) if (*least..=*most).contains(&number) => {}
                Some(number) => self.wrong(INVALID, path, format!("{number}: must be between {least} and {most}")),
                None => self.wrong(WRONG_TYPE, path, format!("{number}: must be an integer")),
            },
            (Shape::Choice(words), Value::String(text)) => {
                if !words.contains(&text.as_str()) {
                    self.wrong(NOT_SUPPORTED, path, format!("{text:?}: supported values: {}", words.join(", ")));
                }
            }
            (Shape::Text | Shape::Raw | Shape::Mac | Shape::Ip | Shape::Cidr, Value::String(_)) => {}
            (shape, value) => {
                let message = format!("must be of type {}: found {}", wanted(shape), found(value));
                self.wrong(WRONG_TYPE, path, message);
            }
        }
    }

    fn record(&mut self, object: &mut Map<String, Value>, fields: &[Field], path: &str) {
        self.drop_unknown(object, path, |key| fields.iter().any(|field| field.key == key));
        for field in fields {
            match object.get_mut(field.key) {
                Some(Value::Null) => drop(object.remove(field.key)),
                Some(value) => self.value(value, &field.shape, &join(path, field.key)),
                None => {}
            }
            if field.required && object.get(field.key).is_none_or(|value| value.as_str() == Some("")) {
                self.wrong(REQUIRED, &join(path, field.key), "");
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

const fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "boolean",
        Shape::Int(..) => "integer",
        Shape::List(_) | Shape::ListOr(..) => "array",
        Shape::Map(_) | Shape::Record(_) | Shape::Any | Shape::Dropped => "object",
        _ => "string",
    }
}

const fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn unknown_fields_go_and_wrong_types_are_named() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let object = |spec: Value| json!({"apiVersion": "a", "kind": "k", "metadata": {"name": "m"}, "spec": spec});
        for (case, spec, unknown, wrong) in [
            ("known fields", json!({"disks": [{"device": "/dev/sda"}]}), vec![], vec![]),
            ("a slip", json!({"interfaces": [{"dhcp": {"hostnam": "x"}}]}), vec!["spec.interfaces[0].dhcp.hostnam"], vec![]),
            ("text for a flag", json!({"interfaces": [{"disableDhcp": "no"}]}), vec![], vec!["spec.interfaces[0].disableDhcp"]),
            ("a missing device", json!({"disks": [{}]}), vec![], vec!["spec.disks[0].device"]),
            ("an object for a list", json!({"disks": {}}), vec![], vec!["spec.disks"]),
            ("null is absent", json!({"disks": null, "userData": null}), vec![], vec![]),
            ("a number for a text", json!({"userData": 7}), vec![], vec!["spec.userData"]),
            ("free keys", json!({"resources": {"a": "1", "b": null}}), vec![], vec![]),
            (
                "too large a number",
                json!({"interfaces": [{"dhcp": {"lease_time": -1}}]}),
                vec![],
                vec!["spec.interfaces[0].dhcp.lease_time"],
            ),
        ] {
            let mut value = object(spec);
            let findings = check(hardware, value.as_object_mut().unwrap());
            let fields: Vec<&str> = findings.wrong.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!((findings.unknown, fields), (unknown.iter().map(|one| (*one).to_owned()).collect(), wrong), "{case}");
            assert!(check(hardware, value.as_object_mut().unwrap()).unknown.is_empty(), "{case}");
        }
    }
}
