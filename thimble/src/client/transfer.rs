//! Which kinds `export` writes and `import` reads, where the API has them, and what of an object goes from one server to
//! another.

use serde_json::{Map, Value, json};

/// A kind of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    short: &'static str,
    pub namespaced: bool,
    pub way: Way,
}

/// How an object of the kind is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One by one, as it is.
    Plain,
    /// Checked, all or none.
    Checked,
    /// As the intent of its machine.
    Machine,
}

const TINKERBELL: &str = "tinkerbell.org/v1alpha1";
const NEXT: &str = "tinkerbell.org/v1alpha2";
const BMC: &str = "bmc.tinkerbell.org/v1alpha1";

const fn kind(api_version: &'static str, kind: &'static str, plural: &'static str, short: &'static str, way: Way) -> Kind {
    Kind { api_version, kind, plural, short, namespaced: true, way }
}

/// In the order in which they are written: what others need comes first.
pub static KINDS: [Kind; 14] = [
    Kind { namespaced: false, ..kind("v1", "Namespace", "namespaces", "ns", Way::Plain) },
    kind("v1", "ConfigMap", "configmaps", "cm", Way::Plain),
    kind("v1", "Secret", "secrets", "", Way::Plain),
    kind(BMC, "Machine", "machines.bmc", "", Way::Plain),
    kind(BMC, "Job", "jobs.bmc", "", Way::Plain),
    kind(BMC, "Task", "tasks.bmc", "", Way::Plain),
    kind(TINKERBELL, "Hardware", "hardware", "hw", Way::Checked),
    kind(TINKERBELL, "Template", "templates", "tpl", Way::Checked),
    kind(TINKERBELL, "WorkflowRuleSet", "workflowrulesets", "wrs", Way::Checked),
    kind(TINKERBELL, "Workflow", "workflows", "wf", Way::Checked),
    kind(NEXT, "Task", "tasks", "", Way::Checked),
    kind(NEXT, "Policy", "policies", "pol", Way::Checked),
    kind(NEXT, "Workflow", "workflows.v1alpha2", "", Way::Checked),
    kind("thimble.dev/v1alpha1", "MachineState", "machinestates", "ms", Way::Machine),
];

impl Kind {
    /// By the word of a command: `hardware`, `hw`, `Hardware`.
    pub fn named(word: &str) -> Option<&'static Self> {
        let word = word.to_ascii_lowercase();
        let singular = |one: &&Self| one.way != Way::Plain || one.namespaced || word == "namespace";
        let by_kind =
            || KINDS.iter().filter(singular).find(|one| !one.plural.contains('.') && one.kind.to_ascii_lowercase() == word);
        KINDS.iter().find(|one| one.plural == word || (!word.is_empty() && one.short == word)).or_else(by_kind)
    }

    /// Of an object.
    pub fn of(object: &Value) -> Option<&'static Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        KINDS.iter().find(|one| (one.api_version, one.kind) == (text("apiVersion"), text("kind")))
    }

    /// The path of its objects, in one namespace or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{}", self.api_version) };
        let plural = self.plural.split('.').next().unwrap_or_default();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// Metadata that means something on another server, too.
const KEPT: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// What the server notes of a Workflow for itself.
const NOTED: [&str; 4] = ["logged", "paused", "ordered", "cancellation"];

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

pub fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
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
    use super::*;

    #[test]
    fn kinds_are_found_by_the_words_of_kubectl() {
        for (word, expected) in [
            ("hw", Some(("Hardware", TINKERBELL))),
            ("Hardware", Some(("Hardware", TINKERBELL))),
            ("workflow", Some(("Workflow", TINKERBELL))),
            ("workflows.v1alpha2", Some(("Workflow", NEXT))),
            ("task", Some(("Task", NEXT))),
            ("tasks.bmc", Some(("Task", BMC))),
            ("ns", Some(("Namespace", "v1"))),
            ("", None),
            ("pods", None),
        ] {
            assert_eq!(Kind::named(word).map(|one| (one.kind, one.api_version)), expected, "{word}");
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let path = |word: &str, namespace| Kind::named(word).unwrap().path(namespace);
        assert_eq!(path("secrets", Some("lab")), "/api/v1/namespaces/lab/secrets");
        assert_eq!(path("namespaces", Some("lab")), "/api/v1/namespaces");
        assert_eq!(path("workflows.v1alpha2", None), "/apis/tinkerbell.org/v1alpha2/workflows");
    }

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
