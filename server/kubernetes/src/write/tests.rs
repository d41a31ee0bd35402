use serde_json::json;

use super::*;
use crate::request::{Call, Head, parse};

fn request(method: &str, path: &str, query: &str, content_type: &str) -> Request {
    let head = Head { method, path, query, content_type, user_agent: "test/1", ..Head::default() };
    match parse(&head).unwrap() {
        Call::Objects(request) => *request,
        other => panic!("{other:?}"),
    }
}

const HARDWARE: &str = "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware";
const WORKFLOWS: &str = "/apis/tinkerbell.org/v1alpha1/namespaces/a/workflows";

fn body(object: Value) -> Body {
    match object {
        Value::Object(object) => Body { object, twice: Vec::new() },
        other => panic!("{other}"),
    }
}

fn write(request: &Request) -> Write<'_> {
    Write { request, now: "2026-01-02T03:04:05Z".parse().unwrap(), suffix: "x7k2p" }
}

fn create(path: &str, query: &str, object: Value) -> Result<Written, Status> {
    write(&request("POST", path, query, "application/json")).create(body(object))
}

fn stored() -> Value {
    let mut object = create(HARDWARE, "", json!({"metadata": {"name": "m"}, "spec": {"userData": "u"}})).unwrap().object;
    object["metadata"]["uid"] = json!("u1");
    object["metadata"]["resourceVersion"] = json!("7");
    object
}

#[test]
fn a_new_object_gets_the_servers_fields() {
    let object = json!({"metadata": {"name": "m", "uid": "mine", "generation": 9, "labels": {"a": "1"}}, "spec": {}});
    let written = create(HARDWARE, "fieldManager=me", object).unwrap();
    let metadata = &written.object["metadata"];
    assert_eq!((metadata.get("uid"), &metadata["generation"], &metadata["namespace"]), (None, &json!(1), &json!("a")));
    assert_eq!(metadata["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(metadata["managedFields"][0]["manager"], "me");
    let named = create(HARDWARE, "", json!({"metadata": {"generateName": "m-"}, "spec": {}})).unwrap();
    assert_eq!(named.object["metadata"]["name"], "m-x7k2p");
}

#[test]
fn a_create_that_cannot_be_is_refused() {
    for (case, object, code) in [
        ("another kind", json!({"kind": "Workflow", "metadata": {"name": "m"}, "spec": {}}), 400),
        ("another namespace", json!({"metadata": {"name": "m", "namespace": "b"}, "spec": {}}), 400),
        ("no name", json!({"spec": {}}), 422),
        ("not a name", json!({"metadata": {"name": "M_1"}, "spec": {}}), 422),
        ("a version", json!({"metadata": {"name": "m", "resourceVersion": "1"}, "spec": {}}), 400),
        ("no spec", json!({"metadata": {"name": "m"}}), 422),
        ("not a label", json!({"metadata": {"name": "m", "labels": {"a b": "1"}}, "spec": {}}), 422),
        ("a wrong type", json!({"metadata": {"name": "m"}, "spec": {"userData": 1}}), 422),
    ] {
        assert_eq!(create(HARDWARE, "", object).map_err(|status| status.code), Err(code), "{case}");
    }
}

#[test]
fn unknown_fields_are_handled_as_the_client_asks() {
    let object = || json!({"metadata": {"name": "m"}, "spec": {"userDat": "u"}});
    let refused = create(HARDWARE, "fieldValidation=Strict", object()).unwrap_err();
    assert_eq!(
        refused.message,
        "Hardware in version \"v1alpha1\" cannot be handled as a Hardware: strict decoding error: unknown field \"spec.userDat\""
    );
    for (query, warnings) in [("", vec!["unknown field \"spec.userDat\""]), ("fieldValidation=Ignore", vec![])] {
        let written = create(HARDWARE, query, object()).unwrap();
        assert_eq!(
            (written.warnings, &written.object["spec"]),
            (warnings.iter().map(|one| (*one).to_owned()).collect(), &json!({}))
        );
    }
}

#[test]
fn a_finished_workflow_stays_finished_and_any_other_status_is_dropped() {
    for (state, kept) in [("SUCCESS", true), ("STATE_FAILED", true), ("POST", true), ("RUNNING", false), ("", false)] {
        let object = json!({"metadata": {"name": "w"}, "spec": {"templateRef": "t"}, "status": {"state": state}});
        let written = create(WORKFLOWS, "", object).unwrap();
        assert_eq!((written.object.get("status").is_some(), written.warnings.is_empty()), (kept, kept), "{state}");
    }
}

#[test]
fn a_replacement_names_the_version_that_it_replaces() {
    let current = stored();
    let put = request("PUT", &format!("{HARDWARE}/m"), "", "application/json");
    for (case, version, code) in [("none", None, Some(422)), ("an old one", Some("6"), Some(409)), ("this one", Some("7"), None)]
    {
        let mut object = json!({"metadata": {"name": "m"}, "spec": {"userData": "v"}});
        if let Some(version) = version {
            object["metadata"]["resourceVersion"] = json!(version);
        }
        assert_eq!(write(&put).replace(&current, body(object)).err().map(|status| status.code), code, "{case}");
    }
}

#[test]
fn a_changed_spec_counts_and_the_servers_fields_stay() {
    let current = stored();
    let path = format!("{HARDWARE}/m");
    let patch = |content_type: &str, patch: Value| {
        write(&request("PATCH", &path, "", content_type)).patch(&current, patch.to_string().as_bytes())
    };
    let merge = "application/merge-patch+json";
    let labelled =
        patch(merge, json!({"metadata": {"labels": {"a": "1"}, "uid": null, "creationTimestamp": "x"}})).unwrap().object;
    assert_eq!(labelled["metadata"]["generation"], 1);
    assert_eq!(labelled["metadata"]["uid"], "u1");
    assert_eq!(labelled["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
    let changed = patch(merge, json!({"spec": {"userData": "v"}})).unwrap().object;
    assert_eq!(changed["metadata"]["generation"], 2);
    let same = patch(merge, json!({"spec": {"userData": "u"}})).unwrap().object;
    assert!(is_same(&same, &current), "{same} {current}");
    for (case, content_type, wrong, code) in [
        ("an old version", merge, json!({"metadata": {"resourceVersion": "6"}}), 409),
        ("another uid", merge, json!({"metadata": {"uid": "u2"}}), 409),
        ("another name", merge, json!({"metadata": {"name": "n"}}), 400),
        ("another kind", merge, json!({"kind": "X"}), 400),
        (
            "a test that fails",
            "application/json-patch+json",
            json!([{"op": "test", "path": "/spec/userData", "value": "x"}]),
            422,
        ),
    ] {
        assert_eq!(patch(content_type, wrong).map_err(|status| status.code), Err(code), "{case}");
    }
}

#[test]
fn the_status_has_a_path_of_its_own() {
    let current = stored();
    let patch = json!({"status": {"state": "ready"}, "spec": {"userData": "v"}, "metadata": {"labels": {"a": "1"}}});
    let of = |path: &str| {
        let request = request("PATCH", path, "", "application/merge-patch+json");
        write(&request).patch(&current, patch.to_string().as_bytes()).unwrap()
    };
    let main = of(&format!("{HARDWARE}/m"));
    assert_eq!((main.object.get("status"), main.warnings.len()), (None, 1));
    let status = of(&format!("{HARDWARE}/m/status")).object;
    assert_eq!((&status["status"], &status["spec"]), (&json!({"state": "ready"}), &current["spec"]));
    assert_eq!((status["metadata"].get("labels"), &status["metadata"]["generation"]), (None, &json!(1)));
    assert_eq!(status["metadata"]["managedFields"][1]["subresource"], "status");
}

#[test]
fn a_deleted_object_gets_no_new_finalizers() {
    let mut current = stored();
    current["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
    current["metadata"]["finalizers"] = json!(["x/y", "z/w"]);
    let request = request("PATCH", &format!("{HARDWARE}/m"), "", "application/merge-patch+json");
    for (finalizers, allowed) in [(json!(["x/y"]), true), (json!([]), true), (json!(["x/y", "n/n"]), false)] {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        assert_eq!(write(&request).patch(&current, patch.as_bytes()).is_ok(), allowed, "{patch}");
    }
}

#[test]
fn secrets_are_stored_encoded_and_namespaces_are_active() {
    let secret =
        create("/api/v1/namespaces/a/secrets", "", json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})).unwrap().object;
    assert_eq!((&secret["data"], &secret["type"], secret.get("stringData")), (&json!({"a": "Yg=="}), &json!("Opaque"), None));
    let namespace = create("/api/v1/namespaces", "", json!({"metadata": {"name": "n"}})).unwrap().object;
    assert_eq!(namespace["status"]["phase"], "Active");
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    assert_eq!(namespace["metadata"].get("generation"), None);
}

#[test]
fn an_apply_creates_or_changes_and_takes_over_nothing_unseen() {
    let path = format!("{HARDWARE}/m");
    let apply = |current: Option<&Value>, object: Value| {
        let request = request("PATCH", &path, "fieldManager=flux", "application/apply-patch+yaml");
        write(&request).apply(current, body(object))
    };
    let whole = |spec: Value| json!({"apiVersion": "tinkerbell.org/v1alpha1", "kind": "Hardware", "metadata": {"name": "m"}, "spec": spec});
    let created = apply(None, whole(json!({"userData": "u"}))).unwrap().object;
    assert_eq!(created["metadata"]["managedFields"][0]["operation"], "Apply");
    let same = apply(Some(&created), whole(json!({"userData": "u"}))).unwrap().object;
    assert_eq!(same, created);
    let changed = apply(Some(&created), whole(json!({"vendorData": "v"}))).unwrap().object;
    assert_eq!((&changed["spec"], &changed["metadata"]["generation"]), (&json!({"vendorData": "v"}), &json!(2)));
    assert_eq!(apply(None, json!({"metadata": {"name": "m"}})).unwrap_err().code, 400);
    let mut with_fields = whole(json!({}));
    with_fields["metadata"]["managedFields"] = json!([{}]);
    assert_eq!(apply(None, with_fields).unwrap_err().code, 400);
}
