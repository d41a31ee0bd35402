//! The API by TLS and by the socket: what each role gets, with the server behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::collections::BTreeSet;

use access::{Caller, Grant, Origin, Proof, Role};
use api::paths::{APPLY, BACKUP, EVENTS, IMPORT, SYSLOG};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use lab::{apply, everything, hardware};
use serde_json::json;
use server::{Config, Server};
use tower::ServiceExt;

const HASH: &str = "$6$saltsalt$Qm9ndXNoYXNoQm9ndXNoYXNoQm9ndXNoYXNo";

async fn server() -> Server {
    let server = Server::open(Config::default()).await.unwrap();
    apply(&server, &everything()).await;
    let secret = hardware("other", "52:54:00:12:34:57").replace(
        "spec:\n",
        &format!("spec:\n  userData: my user data\n  metadata: {{instance: {{id: i, crypted_root_password: '{HASH}'}}}}\n"),
    );
    apply(&server, &secret.replace("name: other", "name: other, namespace: lab").replace("10.0.0.20", "10.0.0.21")).await;
    server
}

async fn call(router: &Router, role: Role, namespace: Option<&str>, method: &str, path: &str) -> (u16, String) {
    send(router, role, namespace, method, path, "{}").await
}

async fn send(router: &Router, role: Role, namespace: Option<&str>, method: &str, path: &str, body: &str) -> (u16, String) {
    let namespaces = namespace.map(|namespace| BTreeSet::from([namespace.to_owned()]));
    let origin = Origin::Network { address: "10.0.0.9:1".parse().unwrap(), encrypted: true };
    let caller = Caller::new("alice", vec![Grant { role, namespaces }], origin, Proof::Certificate);
    let request = Request::builder().method(method).uri(path).extension(caller).body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    (code, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn each_role_gets_what_is_its_own() {
    let router = server::http::for_callers(server().await);
    use Role::{Admin, Boots, Operator, Viewer};
    for (role, namespace, method, path, expected) in [
        (Admin, None, "GET", "/apis/tinkerbell.org/v1alpha1/hardware", 200),
        (Operator, None, "GET", "/apis/tinkerbell.org/v1alpha1/hardware", 200),
        (Operator, Some("lab"), "GET", "/apis/tinkerbell.org/v1alpha1/hardware", 403),
        (Operator, Some("lab"), "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/other", 200),
        (Operator, Some("lab"), "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/hardware/node-1", 403),
        (Operator, Some("lab"), "DELETE", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", 403),
        (Operator, Some("lab"), "POST", APPLY, 422),
        (Viewer, None, "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", 200),
        (Viewer, None, "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w/history", 200),
        (Viewer, None, "DELETE", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", 403),
        (Viewer, None, "POST", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w/cancel", 403),
        (Viewer, None, "POST", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w/change", 403),
        (Viewer, None, "POST", "/apis/thimble.dev/v1alpha1/machines/node-1/intent", 403),
        (Viewer, None, "POST", "/apis/thimble.dev/v1alpha1/namespaces/default/rollouts/r/start", 403),
        (Viewer, None, "POST", APPLY, 403),
        (Viewer, None, "GET", "/apis/thimble.dev/v1alpha1/machines/node-1", 200),
        (Viewer, Some("lab"), "GET", "/apis/thimble.dev/v1alpha1/machines/node-1", 403),
        (Boots, None, "GET", "/apis/thimble.dev/v1alpha1/machines/52:54:00:12:34:56", 200),
        (Boots, None, "GET", "/apis/tinkerbell.org/v1alpha1/templates", 403),
        (Boots, None, "POST", APPLY, 403),
        (Boots, None, "POST", "/apis/thimble.dev/v1alpha1/machines/node-1/intent", 403),
        (Admin, None, "GET", BACKUP, 200),
        (Operator, None, "GET", BACKUP, 403),
        (Viewer, None, "GET", BACKUP, 403),
        (Boots, None, "GET", BACKUP, 403),
        (Viewer, Some("lab"), "GET", "/apis/thimble.dev/v1alpha1/machines/52:54:00:12:34:57", 200),
        (Viewer, Some("lab"), "GET", "/apis/thimble.dev/v1alpha1/machines/52:54:00:12:34:99", 403),
        (Viewer, Some("lab"), "GET", "/apis/thimble.dev/v1alpha1/machines", 403),
        (Operator, Some("lab"), "POST", "/apis/thimble.dev/v1alpha1/machines/node-1/intent", 403),
        (Operator, Some("lab"), "POST", "/apis/thimble.dev/v1alpha1/machines/lab%2Fother/intent", 422),
        (Viewer, Some("lab"), "GET", EVENTS, 403),
        (Boots, None, "POST", SYSLOG, 422),
        (Viewer, None, "POST", SYSLOG, 403),
        (Admin, None, "GET", "/v1/hardware", 410),
        (Viewer, None, "GET", "/metrics", 200),
        (Viewer, Some("lab"), "GET", "/metrics", 403),
        (Viewer, None, "GET", "/version", 200),
        (Operator, Some("lab"), "DELETE", "/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/other", 200),
    ] {
        let (code, body) = call(&router, role, namespace, method, path).await;
        assert_eq!(code, expected, "{role} {namespace:?} {method} {path}: {body}");
    }
}

/// Discovery lists what there is: a caller of these meets neither a missing path nor a refused method.
#[tokio::test]
async fn each_subresource_of_discovery_is_served() {
    let router = server::http::for_callers(server().await);
    let mut found = 0;
    for resource in kubernetes::resources::RESOURCES {
        for (part, verbs) in resource.calls {
            let path = format!("/apis/{}/namespaces/none/{}/none/{part}", resource.api_version(), resource.plural);
            for verb in *verbs {
                let method = if *verb == "get" { "GET" } else { "POST" };
                let (code, body) = call(&router, Role::Admin, None, method, &path).await;
                assert!(!matches!(code, 403 | 405) && !body.contains("could not find"), "{method} {path}: {code} {body}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 11);
}

#[tokio::test]
async fn a_viewer_gets_objects_without_secrets() {
    let router = server::http::for_callers(server().await);
    for path in [
        "/apis/tinkerbell.org/v1alpha1/hardware",
        "/apis/tinkerbell.org/v1alpha1/namespaces/lab/hardware/other",
        "/apis/thimble.dev/v1alpha1/machines/52:54:00:12:34:57",
    ] {
        let (_, plain) = call(&router, Role::Operator, None, "GET", path).await;
        assert!(plain.contains("my user data") && plain.contains(HASH), "{path}: {plain}");
        let (code, masked) = call(&router, Role::Viewer, None, "GET", path).await;
        assert!(code == 200 && !masked.contains("my user data") && !masked.contains("$6$"), "{path}: {masked}");
        assert!(masked.contains(access::MASKED) && masked.contains("52:54:00:12:34:57"), "{path}: {masked}");
    }
    let (_, workflow) =
        call(&router, Role::Viewer, None, "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w").await;
    assert!(workflow.contains("\"N\":\"(masked)\"") && workflow.contains("actions:v1"), "{workflow}");
}

#[tokio::test]
async fn a_call_without_a_caller_is_refused() {
    let router = server::http::for_callers(server().await);
    for (path, expected) in [("/apis/tinkerbell.org/v1alpha1/hardware", 401), (EVENTS, 403)] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), expected, "{path}");
    }
}

fn template(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Template\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  data: |\n    \
         name: t\n    tasks: [{{name: t, worker: a, actions: [{{name: a0, image: 'i:1', timeout: 60}}]}}]\n"
    )
}

#[tokio::test]
async fn documents_are_applied_together_by_those_who_may_write_each_of_them() {
    let router = server::http::for_callers(server().await);
    use Role::{Admin, Boots, Operator, Viewer};
    let (lab, both) = (template("lab", "one"), format!("{}---\n{}", template("lab", "pair"), template("default", "pair")));
    for (role, namespace, query, body, expected) in [
        (Viewer, None, "", &lab, 403),
        (Viewer, Some("lab"), "", &lab, 403),
        (Boots, None, "", &lab, 403),
        (Operator, Some("lab"), "", &both, 403),
        (Admin, None, "?dryRun=All", &both, 200),
        (Admin, None, "?dryRun=Some", &both, 400),
        (Admin, None, "", &format!("{lab}---\nkind: [\n"), 422),
        (Operator, Some("lab"), "", &lab, 200),
    ] {
        let path = format!("{}{query}", APPLY);
        let (code, answer) = send(&router, role, namespace, "POST", &path, body).await;
        assert_eq!(code, expected, "{role} {namespace:?} {query}: {answer}");
        let stored = call(&router, Admin, None, "GET", "/apis/tinkerbell.org/v1alpha1/templates").await.1;
        assert_eq!(
            stored.contains("\"one\""),
            (role, namespace, code) == (Operator, Some("lab"), 200),
            "{role} {namespace:?} {query}"
        );
        assert!(!stored.contains("\"pair\""), "all or none: {role} {namespace:?} {query}");
    }
    let request = Request::builder().method("POST").uri(APPLY).body(Body::from(lab)).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 403, "without a caller");
}

#[tokio::test]
async fn an_import_is_taken_from_those_who_may_write_each_object_and_machine_of_it() {
    let router = server::http::for_callers(server().await);
    use Role::{Admin, Boots, Operator, Viewer};
    let body = |objects: &[String], machines: &[&str]| {
        let machine = |namespace| json!({"namespace": namespace, "name": "other", "intent": "local", "by": "ada"});
        json!({"objects": objects.join("---\n"), "machines": machines.iter().map(machine).collect::<Vec<_>>()}).to_string()
    };
    let lab = body(&[template("lab", "one")], &["lab"]);
    let both = body(&[template("lab", "pair"), template("default", "pair")], &[]);
    let elsewhere = body(&[template("lab", "pair")], &["default"]);
    for (role, namespace, body, expected) in [
        (Viewer, None, &lab, 403),
        (Viewer, Some("lab"), &lab, 403),
        (Boots, None, &lab, 403),
        (Operator, Some("lab"), &both, 403),
        (Operator, Some("lab"), &elsewhere, 403),
        (Admin, None, &"{}".to_owned(), 400),
        (Operator, Some("lab"), &lab, 200),
        (Operator, None, &lab, 200),
    ] {
        let (code, answer) = send(&router, role, namespace, "POST", IMPORT, body).await;
        assert_eq!(code, expected, "{role} {namespace:?} {body}: {answer}");
        let stored = call(&router, Admin, None, "GET", "/apis/tinkerbell.org/v1alpha1/templates").await.1;
        assert_eq!(stored.contains("\"one\""), code == 200, "{role} {namespace:?} {body}");
        assert!(!stored.contains("\"pair\""), "all or none: {role} {namespace:?} {body}");
    }
    let request = Request::builder().method("POST").uri(IMPORT).body(Body::from(lab)).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 403, "without a caller");
}
