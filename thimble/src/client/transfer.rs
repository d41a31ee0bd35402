//! What of an object goes from one server to another.

use serde_json::{Map, Value, json};

use super::resources::text;

/// Metadata that means something on another server, too.
const KEPT: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// What the server notes of a Workflow for itself.
const NOTED: [&str; 5] = ["logged", "paused", "ordered", "cancellation", "logServers"];

/// The object without what belongs to its server: revisions, times, owners, and every status but that of a finished Workflow.
pub fn portable(mut object: Value) -> Value {
    let (kind, is_final) = (text(&object, "/kind").to_owned(), is_final(text(&object, "/status/state")));
    if text(&object, "/apiVersion").starts_with("thimble.dev/") && kind == "MachineState" {
        return machine(&object);
    }
    let Some(fields) = object.as_object_mut() else { return object };
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, value| KEPT.contains(&key.as_str()) && *value != json!({}));
    }
    if kind == "Namespace" {
        fields.remove("spec");
    }
    if kind != "Workflow" || !is_final {
        fields.remove("status");
    } else if let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut) {
        status.retain(|key, _| !NOTED.contains(&key.as_str()));
    }
    object
}

fn is_final(state: &str) -> bool {
    matches!(state, "SUCCESS" | "FAILED" | "TIMEOUT")
}

/// The decision goes where an importer looks for it. What was booted is the server's own.
fn machine(object: &Value) -> Value {
    let mut spec = Map::from_iter([("intent".to_owned(), json!(text(object, "/spec/intent")))]);
    for key in ["by", "reason", "orders", "finished"] {
        let found = object.pointer(&format!("/spec/{key}")).or_else(|| object.pointer(&format!("/status/{key}")));
        let said = |value: &&Value| !value.is_null() && **value != json!([]) && **value != json!(false);
        spec.extend(found.filter(said).map(|value| (key.to_owned(), value.clone())));
    }
    let (name, namespace) = (text(object, "/metadata/name"), text(object, "/metadata/namespace"));
    let metadata = json!({"name": name, "namespace": if namespace.is_empty() { "default" } else { namespace }});
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::super::resources::TINKERBELL;
    use super::*;

    #[test]
    fn what_belongs_to_a_server_stays_there() {
        let metadata = json!({
            "name": "w", "namespace": "lab", "labels": {"a": "b"}, "uid": "1", "resourceVersion": "2", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}], "annotations": {},
        });
        let object = |kind: &str, status: Value| {
            portable(json!({"apiVersion": TINKERBELL, "kind": kind, "metadata": metadata, "spec": {"x": 1}, "status": status}))
        };
        let kept = json!({"name": "w", "namespace": "lab", "labels": {"a": "b"}});
        let plain = |kind: &str| json!({"apiVersion": TINKERBELL, "kind": kind, "metadata": kept, "spec": {"x": 1}});
        assert_eq!(object("Hardware", json!({"state": "SUCCESS"})), plain("Hardware"));
        assert_eq!(object("Workflow", json!({"state": "RUNNING"})), plain("Workflow"));
        let finished = object("Workflow", json!({"state": "FAILED", "message": "m", "logged": {"events": 3}}));
        assert_eq!(finished["status"], json!({"state": "FAILED", "message": "m"}));
    }
}
