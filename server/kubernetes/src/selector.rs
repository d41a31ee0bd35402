//! Which objects a list, a watch or a delete of many concerns.

use std::collections::BTreeMap;

use model::Selector;
use serde_json::Value;

use crate::resources::Resource;
use crate::status::Status;

/// Labels and fields; both must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    labels: Selector,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    /// Where the value is, for example `.metadata.name`.
    path: String,
    value: String,
    equal: bool,
}

impl Filter {
    /// # Errors
    /// 400 with what is not a selector, or not a field that can be selected by.
    pub fn parse(resource: &Resource, labels: Option<&str>, fields: Option<&str>) -> Result<Self, Status> {
        let labels = labels.unwrap_or_default().parse::<Selector>();
        let labels = labels.map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
        let parts = split(fields.unwrap_or_default());
        let fields = parts.iter().map(|part| requirement(resource, part)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the metadata of an object says all that counts.
    #[must_use]
    pub fn is_of_metadata(&self) -> bool {
        self.fields.iter().all(|one| one.path.starts_with(".metadata."))
    }

    /// The only name that can match, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.fields.iter().find(|one| one.equal && one.path == ".metadata.name").map(|one| one.value.as_str())
    }

    #[must_use]
    pub fn selects(&self, object: &Value) -> bool {
        self.fields.iter().all(|one| (text_at(object, &one.path).unwrap_or_default() == one.value) == one.equal)
            && (self.labels.is_empty() || self.labels.selects(&labels_of(object)))
    }
}

fn labels_of(object: &Value) -> BTreeMap<String, String> {
    let labels = object.get("metadata").and_then(|metadata| metadata.get("labels")).and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The value at a path such as `.spec.templateRef` or `.spec.interfaces[0].dhcp.mac`.
#[must_use]
pub fn at<'o>(object: &'o Value, path: &str) -> Option<&'o Value> {
    path.split('.').skip(1).try_fold(object, |value, key| match key.split_once('[') {
        Some((key, index)) => value.get(key)?.get(index.trim_end_matches(']').parse::<usize>().ok()?),
        None => value.get(key),
    })
}

#[must_use]
pub fn text_at<'o>(object: &'o Value, path: &str) -> Option<&'o str> {
    at(object, path)?.as_str()
}

/// At the commas that are not escaped.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let Some(part) = parts.last_mut() else { break };
        match letter {
            '\\' => part.extend(['\\'].into_iter().chain(letters.next())),
            ',' => parts.push(String::new()),
            letter => part.push(letter),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(resource: &Resource, part: &str) -> Result<Requirement, Status> {
    let (label, value, equal) = if let Some((label, value)) = part.split_once("!=") {
        (label, value, false)
    } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (label, value, true)
    } else {
        return Err(Status::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")));
    };
    let label = label.trim();
    let path = match label {
        "metadata.name" => Some(".metadata.name"),
        "metadata.namespace" => Some(".metadata.namespace"),
        _ => resource.fields.iter().find(|(known, _)| *known == label).map(|(_, path)| *path),
    };
    let path = path.ok_or_else(|| Status::bad_request(format!("field label not supported: {label}")))?;
    Ok(Requirement { path: path.to_owned(), value: unescaped(value), equal })
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut found = String::new();
    while let Some(letter) = letters.next() {
        found.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn fields_and_labels_select_together() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let object = json!({"metadata": {"name": "m1", "namespace": "a", "labels": {"rack": "7"}}});
        for (labels, fields, expected) in [
            ("", "", true),
            ("rack=7", "metadata.name=m1", true),
            ("rack=8", "metadata.name=m1", false),
            ("rack", "metadata.name!=m1", false),
            ("", "metadata.name==m1,metadata.namespace=a", true),
            ("", "metadata.namespace=b", false),
        ] {
            let filter = Filter::parse(hardware, Some(labels), Some(fields)).unwrap();
            assert_eq!(filter.selects(&object), expected, "{labels} {fields}");
        }
        let filter = Filter::parse(hardware, None, Some("metadata.name=m1")).unwrap();
        assert_eq!((filter.name(), Filter::default().name()), (Some("m1"), None));
        let workflows = find("tinkerbell.org", "v1alpha1", "workflows").unwrap();
        for (fields, expected) in [("", true), ("metadata.name=m1", true), ("metadata.name=m1,status.state=FAILED", false)] {
            let filter = Filter::parse(workflows, Some("rack=7"), Some(fields)).unwrap();
            assert_eq!(filter.is_of_metadata(), expected, "{fields}");
        }
    }

    #[test]
    fn workflows_are_selected_by_what_they_do() {
        let workflows = find("tinkerbell.org", "v1alpha1", "workflows").unwrap();
        let object = json!({"metadata": {"name": "w"}, "spec": {"hardwareRef": "m1"}, "status": {"state": "FAILED"}});
        for (fields, expected) in [
            ("status.state=FAILED", true),
            ("status.state!=SUCCESS,spec.hardwareRef=m1", true),
            ("status.state=", false),
            ("status.agentID=", true),
        ] {
            assert_eq!(Filter::parse(workflows, None, Some(fields)).unwrap().selects(&object), expected, "{fields}");
        }
    }

    #[test]
    fn a_path_finds_an_item_of_a_list() {
        let object = json!({"a": [{"b": 1}, {"b": 2}]});
        for (path, expected) in [(".a[1].b", Some(2)), (".a[2].b", None), (".a[x].b", None), (".a[].b", None), (".c[0].b", None)]
        {
            assert_eq!(at(&object, path).and_then(Value::as_u64), expected, "{path}");
        }
    }

    #[test]
    fn a_field_that_cannot_be_selected_by_is_refused() {
        let secrets = find("", "v1", "secrets").unwrap();
        for (fields, message) in
            [("spec.x=1", "field label not supported: spec.x"), ("type", "invalid selector: 'type'; can't understand 'type'")]
        {
            assert_eq!(Filter::parse(secrets, None, Some(fields)).unwrap_err().message, message);
        }
        let escaped = Filter::parse(secrets, None, Some("type=a\\,b\\=c")).unwrap();
        assert!(escaped.selects(&json!({"type": "a,b=c"})));
        assert_eq!(Filter::parse(secrets, Some("a b"), None).unwrap_err().code, 400);
    }
}
