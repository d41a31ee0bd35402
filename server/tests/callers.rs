//! The API by TLS and by the socket: what each role gets, with the server behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::collections::BTreeSet;

use access::{Caller, Grant, Origin, Proof, Role};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use lab::{apply, everything, hardware};
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
    let namespaces = namespace.map(|namespace| BTreeSet::from([namespace.to_owned()]));
    let origin = Origin::Network { address: "10.0.0.9:1".parse().unwrap(), encrypted: true };
    let caller = Caller::new("alice", vec![Grant { role, namespaces }], origin, Proof::Certificate);
    let request = Request::builder().method(method).uri(path).extension(caller).body(Body::from("{}")).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    (code, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn each_role_gets_what_is_its_own() {
    let router = server::http::for_callers(server().await);
    use Role::{Admin, Boots, Operator, Viewer};
    for (role, namespace, method, path, expected) in [
        (Admin, None, "GET", "/v1/hardware", 200),
        (Operator, None, "GET", "/v1/hardware", 200),
        (Operator, Some("lab"), "GET", "/v1/hardware", 403),
        (Operator, Some("lab"), "GET", "/v1/hardware/lab/other", 200),
        (Operator, Some("lab"), "GET", "/v1/hardware/default/node-1", 403),
        (Operator, Some("lab"), "DELETE", "/v1/workflows/default/w", 403),
        (Operator, Some("lab"), "POST", "/v1/apply", 403),
        (Viewer, None, "GET", "/v1/workflows/default/w", 200),
        (Viewer, None, "GET", "/v1/workflows/default/w/history", 200),
        (Viewer, None, "DELETE", "/v1/workflows/default/w", 403),
        (Viewer, None, "POST", "/v1/workflows/default/w/cancel", 403),
        (Viewer, None, "POST", "/v1/workflows/default/w/change", 403),
        (Viewer, None, "POST", "/v1/machines/node-1/intent", 403),
        (Viewer, None, "POST", "/v1/rollouts/default/r", 403),
        (Viewer, None, "POST", "/v1/apply", 403),
        (Viewer, None, "GET", "/v1/machines/node-1", 200),
        (Viewer, Some("lab"), "GET", "/v1/machines/node-1", 403),
        (Boots, None, "GET", "/v1/machines/52:54:00:12:34:56", 200),
        (Boots, None, "GET", "/v1/templates", 403),
        (Boots, None, "POST", "/v1/apply", 403),
        (Boots, None, "POST", "/v1/machines/node-1/intent", 403),
        (Viewer, None, "GET", "/version", 200),
        (Operator, Some("lab"), "DELETE", "/v1/hardware/lab/other", 204),
    ] {
        let (code, body) = call(&router, role, namespace, method, path).await;
        assert_eq!(code, expected, "{role} {namespace:?} {method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_viewer_gets_objects_without_secrets() {
    let router = server::http::for_callers(server().await);
    for path in ["/v1/hardware", "/v1/hardware/lab/other", "/v1/machines/52:54:00:12:34:57"] {
        let (_, plain) = call(&router, Role::Operator, None, "GET", path).await;
        assert!(plain.contains("my user data") && plain.contains(HASH), "{path}: {plain}");
        let (code, masked) = call(&router, Role::Viewer, None, "GET", path).await;
        assert!(code == 200 && !masked.contains("my user data") && !masked.contains("$6$"), "{path}: {masked}");
        assert!(masked.contains(access::MASKED) && masked.contains("52:54:00:12:34:57"), "{path}: {masked}");
    }
    let (_, workflow) = call(&router, Role::Viewer, None, "GET", "/v1/workflows/default/w").await;
    assert!(workflow.contains("\"N\":\"(masked)\"") && workflow.contains("actions:v1"), "{workflow}");
}

#[tokio::test]
async fn a_call_without_a_caller_is_refused() {
    let router = server::http::for_callers(server().await);
    let request = Request::builder().uri("/v1/hardware").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), 403);
}
