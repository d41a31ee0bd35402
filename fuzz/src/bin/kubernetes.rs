//! Any request, selector, body and patch of the API in Kubernetes' shape: answered, or refused with a Status.
#![no_main]

use kubernetes::body::{self, Body};
use kubernetes::delete::Deletion;
use kubernetes::request::{Head, parse};
use kubernetes::write::{Write, is_same};
use kubernetes::{Call, Request};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const PATHS: [(&str, &str, &str); 8] = [
    ("POST", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware", "application/json"),
    ("PUT", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m", "application/yaml"),
    ("PATCH", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m", "application/merge-patch+json"),
    ("PATCH", "/apis/tinkerbell.org/v1alpha1/namespaces/a/hardware/m/status", "application/json-patch+json"),
    ("PATCH", "/apis/tinkerbell.org/v1alpha1/namespaces/a/workflows/m", "application/apply-patch+yaml"),
    ("PATCH", "/api/v1/namespaces/a/secrets/m", "application/strategic-merge-patch+json"),
    ("POST", "/api/v1/namespaces/a/secrets", "application/vnd.kubernetes.protobuf"),
    ("DELETE", "/apis/bmc.tinkerbell.org/v1alpha1/namespaces/a/tasks/m", "application/vnd.kubernetes.protobuf"),
];

fuzz_target!(|bytes: &[u8]| {
    request_line(bytes);
    let _ = kubernetes::protobuf::decode(bytes);
    for (method, path, content_type) in PATHS {
        let head = Head { method, path, query: "fieldManager=f&force=true", content_type, ..Head::default() };
        let Ok(Call::Objects(request)) = parse(&head) else { panic!("{path}") };
        write(&request, method, content_type, bytes);
    }
});

/// The first line is a path with a query, the second one what the client accepts.
fn request_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (target, accept) = text.split_once('\n').unwrap_or((text, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, target));
    for (path, method) in [(path, "GET"), (path, "PATCH"), ("/api/v1/events", "GET"), ("/api/v1/namespaces/a/secrets", "DELETE")]
    {
        let head = Head { method, path, query, accept, content_type: accept, user_agent: text };
        let Err(status) = parse(&head) else { continue };
        assert!((400..600).contains(&status.code), "{status:?}");
    }
}

fn current(request: &Request) -> Value {
    json!({
        "apiVersion": request.resource.api_version(), "kind": request.resource.kind,
        "metadata": {
            "name": "m", "namespace": "a", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"], "labels": {"a": "1"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": "1"}],
            "managedFields": [{"manager": "g", "operation": "Apply", "apiVersion": request.resource.api_version(),
                "fieldsV1": {"f:spec": {"f:userData": {}}, "f:data": {"f:a": {}}}}],
        },
        "spec": {"userData": "u", "interfaces": [{"dhcp": {"mac": "52:54:00:00:00:01"}}]}, "data": {"a": "Yg=="},
    })
}

fn write(request: &Request, method: &str, content_type: &str, bytes: &[u8]) {
    let write = Write { request, now: jiff::Timestamp::UNIX_EPOCH, suffix: "bcdfg" };
    let current = current(request);
    let decoded = || body::decode(content_type, bytes, request.resource);
    let written = match method {
        "DELETE" => {
            if let Ok(deletion) = Deletion::parse(request, content_type, bytes) {
                let _ = deletion.step(request.resource, &current, jiff::Timestamp::UNIX_EPOCH);
            }
            return;
        }
        "POST" => decoded().and_then(|body| write.create(body)),
        "PUT" => decoded().and_then(|body| write.replace(&current, body)),
        _ if content_type.contains("apply") => decoded().and_then(|body| {
            let again = body.clone();
            let first = write.apply(Some(&current), body)?;
            // What was applied is there, and applying it again changes nothing.
            let second = write.apply(Some(&first.object), again)?;
            assert!(is_same(&first.object, &second.object), "{} {}", first.object, second.object);
            Ok(first)
        }),
        _ => write.patch(&current, bytes),
    };
    match written {
        Ok(written) => {
            let metadata = &written.object["metadata"];
            assert!(metadata["name"].is_string() && metadata["namespace"] == "a", "{}", written.object);
            if method != "POST" {
                assert_eq!((&metadata["uid"], &metadata["resourceVersion"]), (&json!("u"), &json!("7")));
            }
            // A write that was checked passes the check again.
            let Value::Object(object) = written.object.clone() else { panic!() };
            if method == "PUT" {
                assert!(write.replace(&written.object, Body { object, twice: Vec::new() }).is_ok(), "{}", written.object);
            }
        }
        Err(status) => assert!((400..600).contains(&status.code), "{status:?}"),
    }
}
