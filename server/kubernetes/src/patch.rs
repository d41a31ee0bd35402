//! Patches of an object: JSON Patch, JSON Merge Patch, and strategic merge for Kubernetes' own kinds.

use serde_json::{Map, Value};

use crate::resources::Resource;
use crate::status::{Cause, INVALID, Status};

/// Operations of one JSON patch. Kubernetes has the same limit.
const MOST_OPERATIONS: usize = 10_000;

/// # Errors
/// 422 when the patch does not fit the object, 400 when it is not a patch.
pub fn json(resource: &Resource, name: &str, object: &mut Value, bytes: &[u8]) -> Result<(), Status> {
    let patch: json_patch::Patch =
        serde_json::from_slice(bytes).map_err(|error| Status::bad_request(format!("the body is not a JSON patch: {error}")))?;
    if patch.0.len() > MOST_OPERATIONS {
        return Err(Status::bad_request(format!("a JSON patch has at most {MOST_OPERATIONS} operations")));
    }
    json_patch::patch(object, &patch)
        .map_err(|error| Status::invalid(resource, name, &[Cause::new(INVALID, "", error.to_string())]))
}

/// # Errors
/// 400 when it is not an object.
pub fn merge(object: &mut Value, bytes: &[u8]) -> Result<(), Status> {
    let patch: Value = parsed(bytes)?;
    json_patch::merge(object, &patch);
    Ok(())
}

/// Merge, where the lists `finalizers` and `ownerReferences` are merged by their entries, and directives are obeyed.
///
/// # Errors
/// 400 when it is not an object, or has a directive that is not known.
pub fn strategic(object: &mut Value, bytes: &[u8]) -> Result<(), Status> {
    let patch = parsed(bytes)?;
    merge_strategic(object, &patch, "")
}

fn parsed(bytes: &[u8]) -> Result<Value, Status> {
    match serde_json::from_slice(bytes) {
        Ok(patch @ Value::Object(_)) => Ok(patch),
        Ok(_) => Err(Status::bad_request("the patch is not an object")),
        Err(error) => Err(Status::bad_request(format!("the patch is not JSON: {error}"))),
    }
}

fn merge_strategic(target: &mut Value, patch: &Value, path: &str) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("the directive $patch: {other} is not known"))),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return Ok(()) };
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        fields.retain(|key, _| kept.iter().any(|one| one.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            remove_entries(fields, list, value);
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (path.as_str(), value) {
            (_, Value::Null) => drop(fields.remove(key)),
            (_, Value::Object(inner)) if inner.get("$patch").and_then(Value::as_str) == Some("delete") => {
                drop(fields.remove(key))
            }
            ("metadata.finalizers", Value::Array(added)) => merge_list(fields, key, added, |entry| Some(entry.clone())),
            ("metadata.ownerReferences", Value::Array(added)) => {
                merge_list(fields, key, added, |entry| entry.get("uid").cloned());
            }
            _ => merge_strategic(fields.entry(key.clone()).or_insert(Value::Null), value, &path)?,
        }
    }
    Ok(())
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch.iter().filter(|(key, _)| !key.starts_with('$')).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn remove_entries(fields: &mut Map<String, Value>, list: &str, removed: &Value) {
    let (Some(Value::Array(items)), Value::Array(removed)) = (fields.get_mut(list), removed) else { return };
    items.retain(|item| !removed.contains(item));
}

/// Entries with a known key replace those with the same one; `$patch: delete` removes them.
fn merge_list(fields: &mut Map<String, Value>, list: &str, added: &[Value], key: impl Fn(&Value) -> Option<Value>) {
    let target = fields.entry(list.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(items) = target else { return };
    for entry in added {
        let deletes = entry.get("$patch").and_then(Value::as_str) == Some("delete");
        let found = items.iter().position(|item| key(item).is_some() && key(item) == key(entry));
        match (found, deletes) {
            (Some(index), true) => drop(items.remove(index)),
            (Some(index), false) => {
                if let Some(item) = items.get_mut(index) {
                    json_patch::merge(item, entry);
                }
            }
            (None, true) => {}
            (None, false) => items.push(entry.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::find;

    #[test]
    fn a_strategic_merge_obeys_its_directives() {
        let object = json!({"metadata": {"finalizers": ["x/y", "z/w"], "ownerReferences": [{"uid": "1", "name": "a"}]}, "data": {"a": "1", "b": "2"}});
        for (case, patch, expected) in [
            ("a value", json!({"data": {"a": "9"}}), json!({"data": {"a": "9", "b": "2"}})),
            ("null removes", json!({"data": {"a": null}}), json!({"data": {"b": "2"}})),
            (
                "finalizers are a set",
                json!({"metadata": {"finalizers": ["z/w", "n/n"]}}),
                json!({"metadata": {"finalizers": ["x/y", "z/w", "n/n"]}}),
            ),
            (
                "one is taken out",
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"], "$setElementOrder/finalizers": ["z/w"]}}),
                json!({"metadata": {"finalizers": ["z/w"]}}),
            ),
            (
                "owners are known by uid",
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "b"}, {"uid": "2"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "b"}, {"uid": "2"}]}}),
            ),
            (
                "an owner goes",
                json!({"metadata": {"ownerReferences": [{"uid": "1", "$patch": "delete"}]}}),
                json!({"metadata": {"ownerReferences": []}}),
            ),
            ("replace", json!({"data": {"$patch": "replace", "c": "3"}}), json!({"data": {"c": "3"}})),
            ("retain", json!({"data": {"$retainKeys": ["b"]}}), json!({"data": {"b": "2"}})),
        ] {
            let mut found = object.clone();
            strategic(&mut found, patch.to_string().as_bytes()).unwrap();
            let mut whole = object.clone();
            for (key, value) in expected.as_object().unwrap() {
                match key.as_str() {
                    "metadata" => json_patch::merge(&mut whole["metadata"], value),
                    key => whole[key] = value.clone(),
                }
            }
            assert_eq!(found, whole, "{case}");
        }
        assert_eq!(strategic(&mut object.clone(), br#"{"$patch": "x"}"#).unwrap_err().code, 400);
    }

    #[test]
    fn a_json_patch_that_does_not_fit_is_invalid() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        for (patch, code) in [
            (json!([{"op": "test", "path": "/a", "value": 2}]), 422),
            (json!([{"op": "replace", "path": "/b/c", "value": 2}]), 422),
            (json!({"a": 1}), 400),
            (json!([{"op": "copy"}]), 400),
        ] {
            let refused = json_with(hardware, &patch).unwrap_err();
            assert_eq!(refused.code, code, "{patch}");
        }
        assert_eq!(json_with(hardware, &json!([{"op": "replace", "path": "/a", "value": 2}])), Ok(json!({"a": 2})));
    }

    fn json_with(resource: &Resource, patch: &Value) -> Result<Value, Status> {
        let mut object = json!({"a": 1});
        json(resource, "m", &mut object, patch.to_string().as_bytes()).map(|()| object)
    }
}
