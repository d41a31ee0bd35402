//! Sets of fields, and who owns them: `metadata.managedFields`.
//!
//! A leaf is a scalar, a list, or an empty map. Lists of these kinds are atomic, except `finalizers`, which is a set, and
//! `ownerReferences`, which is known by uid.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Elements as `fieldsV1` writes them: `f:spec`, `v:"x/y"`, `k:{"uid":"1"}`.
pub type Path = Vec<String>;
/// Paths of leaves.
pub type Set = BTreeSet<Path>;

/// Nothing that a client may send is nested more deeply.
const MAX_DEPTH: usize = 64;

/// Fields that the server sets. They have no owner.
const SERVERS: [&str; 12] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generateName",
    "selfLink",
    "clusterName",
];

/// The leaves of an object and their values. With `status` those of the status, otherwise all the others.
#[must_use]
pub fn leaves(object: &Value, status: bool) -> Vec<(Path, &Value)> {
    let mut found = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        let path = vec![format!("f:{key}")];
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "status" if status => collect(value, path, &mut found),
            "status" => {}
            _ if status => {}
            "metadata" => {
                for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| !SERVERS.contains(&key.as_str())) {
                    collect(value, vec!["f:metadata".to_owned(), format!("f:{key}")], &mut found);
                }
            }
            _ => collect(value, path, &mut found),
        }
    }
    found
}

fn collect<'o>(value: &'o Value, path: Path, found: &mut Vec<(Path, &'o Value)>) {
    match (value, path.get(1).map(String::as_str)) {
        _ if path.len() > MAX_DEPTH => found.push((path, value)),
        (Value::Object(fields), _) if !fields.is_empty() && !is_atomic(&path) => {
            for (key, value) in fields {
                let mut path = path.clone();
                path.push(format!("f:{key}"));
                collect(value, path, found);
            }
        }
        (Value::Array(items), Some("f:finalizers" | "f:ownerReferences")) if path.len() == 2 && is_metadata(&path) => {
            found.extend(items.iter().map(|item| {
                let mut path = path.clone();
                path.push(item_key(item));
                (path, item)
            }));
        }
        _ => found.push((path, value)),
    }
}

fn is_metadata(path: &[String]) -> bool {
    path.first().is_some_and(|first| first == "f:metadata")
}

fn item_key(item: &Value) -> String {
    match item.get("uid") {
        Some(uid) => format!("k:{}", json!({"uid": uid})),
        None => format!("v:{item}"),
    }
}

/// References that are replaced as a whole.
fn is_atomic(path: &[String]) -> bool {
    matches!(path, [spec, last] if spec == "f:spec" && last == "f:bmcRef")
        || path.last().is_some_and(|last| last == "f:authSecretRef")
}

/// The value at a path.
#[must_use]
pub fn at<'o>(object: &'o Value, path: &[String]) -> Option<&'o Value> {
    path.iter().try_fold(object, |value, element| match element.strip_prefix("f:") {
        Some(key) => value.get(key),
        None => value.as_array()?.iter().find(|item| item_key(item) == *element),
    })
}

/// Removes what is at a path, and maps that are empty then.
pub fn remove(object: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(key) = first.strip_prefix("f:") else {
        if let Value::Array(items) = object {
            items.retain(|item| item_key(item) != *first);
        }
        return;
    };
    let Value::Object(fields) = object else { return };
    if rest.is_empty() {
        fields.remove(key);
        return;
    }
    let Some(inner) = fields.get_mut(key) else { return };
    remove(inner, rest);
    let empty = inner.as_object().is_some_and(Map::is_empty) || inner.as_array().is_some_and(Vec::is_empty);
    if empty {
        fields.remove(key);
    }
}

/// `.spec.userData`, as conflicts name fields.
#[must_use]
pub fn shown(path: &[String]) -> String {
    path.iter()
        .map(|element| match element.strip_prefix("f:") {
            Some(key) => format!(".{key}"),
            None => format!("[{}]", element.get(2..).unwrap_or_default()),
        })
        .collect()
}

/// A set as `fieldsV1`.
#[must_use]
pub fn encode(set: &Set) -> Value {
    let mut tree = Map::new();
    for path in set {
        let mut place = &mut tree;
        for element in path {
            match place.entry(element.clone()).or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(inner) => place = inner,
                _ => break,
            }
        }
    }
    Value::Object(tree)
}

/// The leaves of a `fieldsV1`.
#[must_use]
pub fn decode(tree: &Value) -> Set {
    let mut found = Set::new();
    descend(tree, &mut Vec::new(), &mut found);
    found
}

fn descend(tree: &Value, path: &mut Path, found: &mut Set) {
    let Some(fields) = tree.as_object().filter(|_| path.len() <= MAX_DEPTH) else { return };
    let inner: Vec<_> = fields.iter().filter(|(key, _)| *key != ".").collect();
    if inner.is_empty() || fields.contains_key(".") && !path.is_empty() && inner.is_empty() {
        if !path.is_empty() {
            found.insert(path.clone());
        }
        return;
    }
    for (key, value) in inner {
        path.push(key.clone());
        descend(value, path, found);
        path.pop();
    }
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub manager: String,
    pub apply: bool,
    pub api_version: String,
    pub time: String,
    pub subresource: String,
    pub fields: Set,
}

impl Entry {
    /// Entries that cannot be read are forgotten.
    #[must_use]
    pub fn read(metadata: &Value) -> Vec<Self> {
        let entries = metadata.get("managedFields").and_then(Value::as_array).into_iter().flatten();
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        entries
            .filter_map(|entry| {
                Some(Self {
                    manager: text(entry, "manager"),
                    apply: text(entry, "operation") == "Apply",
                    api_version: text(entry, "apiVersion"),
                    time: text(entry, "time"),
                    subresource: text(entry, "subresource"),
                    fields: decode(entry.get("fieldsV1")?),
                })
            })
            .collect()
    }

    fn value(&self) -> Value {
        let operation = if self.apply { "Apply" } else { "Update" };
        let mut entry = json!({
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": encode(&self.fields),
        });
        if let (false, Some(entry)) = (self.subresource.is_empty(), entry.as_object_mut()) {
            entry.insert("subresource".to_owned(), json!(self.subresource));
        }
        entry
    }

    /// Puts the entries into `metadata`; those without fields go.
    pub fn write(entries: &[Self], metadata: &mut Map<String, Value>) {
        let entries: Vec<Value> = entries.iter().filter(|entry| !entry.fields.is_empty()).map(Self::value).collect();
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_what_a_manager_owns() {
        let object = json!({
            "apiVersion": "a", "kind": "k", "status": {"state": "x"},
            "metadata": {"name": "m", "uid": "u", "labels": {"rack": "7"}, "finalizers": ["x/y"], "ownerReferences": [{"uid": "1"}]},
            "spec": {"userData": "u", "interfaces": [{"dhcp": {}}], "bmcRef": {"kind": "Machine", "name": "b"}, "resources": {}},
        });
        let paths: Vec<String> = leaves(&object, false).iter().map(|(path, _)| shown(path)).collect();
        let expected = [
            ".metadata.finalizers[\"x/y\"]",
            ".metadata.labels.rack",
            ".metadata.ownerReferences[{\"uid\":\"1\"}]",
            ".spec.bmcRef",
            ".spec.interfaces",
            ".spec.resources",
            ".spec.userData",
        ];
        assert_eq!(paths, expected);
        assert_eq!(leaves(&object, true).len(), 1);
        let set: Set = leaves(&object, false).into_iter().map(|(path, _)| path).collect();
        assert_eq!(decode(&encode(&set)), set);
        for path in &set {
            assert!(at(&object, path).is_some(), "{path:?}");
        }
    }

    #[test]
    fn removing_a_leaf_removes_maps_that_are_empty_then() {
        let mut object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x/y"]}, "spec": {"a": 1, "b": 2}});
        for path in
            [["f:metadata", "f:labels", "f:a"].as_slice(), &["f:metadata", "f:finalizers", "v:\"x/y\""], &["f:spec", "f:a"]]
        {
            let path: Path = path.iter().map(|element| (*element).to_owned()).collect();
            remove(&mut object, &path);
        }
        assert_eq!(object, json!({"spec": {"b": 2}}));
    }

    #[test]
    fn dots_of_foreign_entries_are_not_fields_of_their_own() {
        let tree = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:list": {".": {}}}});
        let paths: Vec<String> = decode(&tree).iter().map(|path| shown(path)).collect();
        assert_eq!(paths, [".metadata.labels.a", ".spec.list"]);
    }
}
