use serde_json::json;

use super::*;

const VERSION: &str = "tinkerbell.org/v1alpha1";

fn manager(name: &str) -> Manager<'_> {
    Manager { name, api_version: VERSION.to_owned(), status: false, time: "2026-01-02T03:04:05Z", force: false }
}

fn body(spec: Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "Hardware", "metadata": {"name": "m"}, "spec": spec})
}

fn owners(object: &Value) -> Vec<String> {
    let entries = Entry::read(&object["metadata"]);
    let words = |entry: &Entry| {
        let fields: Vec<String> = entry.fields.iter().map(|path| shown(path)).collect();
        format!("{} {} {}", entry.manager, if entry.apply { "Apply" } else { "Update" }, fields.join(" "))
    };
    entries.iter().map(words).collect()
}

#[test]
fn a_field_that_the_manifest_no_longer_has_is_removed() {
    let first =
        apply(&body(json!({})), &body(json!({"userData": "u", "resources": {"a": "1", "b": "2"}})), &manager("flux")).unwrap();
    assert_eq!(owners(&first), ["flux Apply .spec.resources.a .spec.resources.b .spec.userData"]);
    let second = apply(&first, &body(json!({"resources": {"a": "1"}})), &manager("flux")).unwrap();
    assert_eq!(second["spec"], json!({"resources": {"a": "1"}}));
    assert_eq!(owners(&second), ["flux Apply .spec.resources.a"]);
}

#[test]
fn an_apply_without_effect_changes_nothing_even_later() {
    let first = apply(&body(json!({})), &body(json!({"userData": "u"})), &manager("flux")).unwrap();
    let later = Manager { time: "2027-01-01T00:00:00Z", ..manager("flux") };
    assert_eq!(apply(&first, &body(json!({"userData": "u"})), &later).unwrap(), first);
}

#[test]
fn another_managers_value_is_a_conflict_unless_forced() {
    let first = apply(&body(json!({})), &body(json!({"userData": "a", "vendorData": "v"})), &manager("one")).unwrap();
    let refused = apply(&first, &body(json!({"userData": "b"})), &manager("two")).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert!(
        refused.message.contains("conflict with \"one\" using tinkerbell.org/v1alpha1: .spec.userData"),
        "{}",
        refused.message
    );
    let forced = apply(&first, &body(json!({"userData": "b"})), &Manager { force: true, ..manager("two") }).unwrap();
    assert_eq!(forced["spec"], json!({"userData": "b", "vendorData": "v"}));
    assert_eq!(owners(&forced), ["one Apply .spec.vendorData", "two Apply .spec.userData"]);
    let shared = apply(&first, &body(json!({"userData": "a"})), &manager("two")).unwrap();
    assert_eq!(owners(&shared).len(), 2, "the same value has two owners");
    let left = apply(&shared, &body(json!({})), &manager("two")).unwrap();
    assert_eq!(left["spec"]["userData"], "a", "another manager still owns it");
}

#[test]
fn an_update_takes_what_it_changes() {
    let first = apply(&body(json!({})), &body(json!({"userData": "a", "vendorData": "v"})), &manager("flux")).unwrap();
    let mut second = first.clone();
    second["spec"]["userData"] = json!("b");
    second["metadata"]["labels"] = json!({"rack": "7"});
    second["metadata"]["finalizers"] = json!(["x/y"]);
    updated(&first, &mut second, &manager("kubectl-edit"));
    assert_eq!(
        owners(&second),
        ["flux Apply .spec.vendorData", "kubectl-edit Update .metadata.finalizers[\"x/y\"] .metadata.labels.rack .spec.userData"]
    );
    let refused = apply(&second, &body(json!({"userData": "a", "vendorData": "v"})), &manager("flux")).unwrap_err();
    assert_eq!(refused.code, 409);
    let mut third = second.clone();
    third["spec"].as_object_mut().unwrap().remove("userData");
    updated(&second, &mut third, &manager("other"));
    assert_eq!(owners(&third)[1], "kubectl-edit Update .metadata.finalizers[\"x/y\"] .metadata.labels.rack");
}

#[test]
fn sets_and_keyed_lists_are_applied_entry_by_entry() {
    let mut current = body(json!({}));
    current["metadata"]["finalizers"] = json!(["a/a"]);
    let mut wanted = body(json!({}));
    wanted["metadata"]["finalizers"] = json!(["b/b"]);
    wanted["metadata"]["ownerReferences"] = json!([{"uid": "1", "name": "o"}]);
    let first = apply(&current, &wanted, &manager("m")).unwrap();
    assert_eq!(first["metadata"]["finalizers"], json!(["a/a", "b/b"]));
    let second = apply(&first, &body(json!({})), &manager("m")).unwrap();
    assert_eq!(second["metadata"]["finalizers"], json!(["a/a"]));
    assert!(second["metadata"].get("ownerReferences").is_none());
}
