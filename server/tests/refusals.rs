//! Every refusal of access, and the test that shows it. The last test here checks that each of them exists.
//!
//! | refused | file | test |
//! |---|---|---|
//! | a call without a token or a certificate; a token that is unknown, expired, deleted, malformed or of another server; a certificate of another authority, or an expired one | `access/tests/entrance.rs` | `who_gets_in_by_which_way` |
//! | a certificate that expires while its connection is open; a request from no known address | `access/tests/entrance.rs` | `a_certificate_that_expires_on_an_open_connection_is_refused_and_so_is_a_request_from_nowhere` |
//! | the rest of a watch whose token is deleted | `access/tests/entrance.rs` | `the_watches_of_a_token_end_when_it_is_deleted_and_others_go_on` |
//! | a token that was changed by a letter | `access/src/tokens/tests.rs` | `a_token_that_was_changed_is_not_accepted` |
//! | every token, if their file cannot be read | `access/src/tokens/tests.rs` | `a_file_that_cannot_be_read_lets_nobody_in` |
//! | a foreign `Host`, any `Origin`, a foreign `Sec-Fetch-Site` by HTTPS | `access/tests/entrance.rs` | `a_browser_with_a_token_is_refused` |
//! | the same on the plain port | `tests/http.rs` | `a_web_page_changes_nothing` |
//! | the same at the workflow service | `tests/refusals.rs` | `a_web_page_does_not_reach_the_workflow_service` |
//! | a local user who is not root, at the socket | `access/tests/entrance.rs` | `root_needs_no_token_on_the_socket_and_another_user_learns_what_to_do` |
//! | plain HTTP on the port of the API | `access/tests/entrance.rs` | `plain_http_is_answered_in_plain_words` |
//! | objects on the plain port | `tests/http.rs` | `the_plain_port_serves_no_object_to_anyone` |
//! | a role that lacks the verb, or that is for another namespace | `access/src/authorize/tests.rs` | `each_role_has_these_verbs_in_the_namespaces_that_it_covers` |
//! | all namespaces for a role of one | `access/src/authorize/tests.rs` | `a_role_for_a_namespace_ends_there` |
//! | a caller without a role | `tests/refusals.rs` | `a_caller_without_a_role_gets_nothing` |
//! | a request behind the doors without a caller | `tests/callers.rs` | `a_call_without_a_caller_is_refused` |
//! | the same in Kubernetes' shape | `tests/apis.rs` | `a_call_without_a_caller_is_refused` |
//! | Thimble's own calls, by role | `tests/callers.rs` | `each_role_gets_what_is_its_own` |
//! | objects in Kubernetes' shape, by role, those of boots and server among them | `tests/refusals.rs` | `each_role_is_refused_what_is_not_its_own` |
//! | a document among many that the caller may not write | `tests/callers.rs` | `documents_are_applied_together_by_those_who_may_write_each_of_them` |
//! | an import with an object or a machine of another namespace | `tests/callers.rs` | `an_import_is_taken_from_those_who_may_write_each_object_and_machine_of_it` |
//! | secrets, user data and password hashes for a viewer, in single objects | `tests/callers.rs` | `a_viewer_gets_objects_without_secrets` |
//! | the same in lists, tables and watches | `tests/refusals.rs` | `a_viewer_finds_no_secret_in_a_list_a_table_or_a_watch` |
//! | logs of another namespace | `tests/logs.rs` | `each_role_reads_the_logs_of_its_namespaces` |
//! | calls of agents without TLS from networks that are not known | `src/grpc/plain.rs` | `networks_of_hardware_of_discovery_and_of_this_host_are_known` |
//! | the same over a socket, with what to do | `tests/ports.rs` | `plain_calls_are_refused_with_what_to_do` |
//! | a report for the workflow of another agent | `tests/refusals.rs` | `a_report_for_the_workflow_of_another_agent_is_refused_and_logged` |
//! | the actions of a workflow for a worker of another one | `tests/old_worker.rs` | `only_a_worker_of_the_workflow_reads_its_actions` |
//! | a watch of the workflow of another agent | `tests/grpc.rs` | `an_agent_cannot_watch_the_workflow_of_another_one` |
//! | output for the log of another agent | `tests/logs.rs` | `an_agent_may_not_write_in_the_log_of_another` |
//! | output that comes faster than it is taken | `src/grpc/share.rs` | `calls_at_once_wait_in_turn_and_too_many_are_refused` |
//! | long or harmful names in reports | `tests/strangers.rs` | `the_text_of_a_report_is_bounded_and_one_line` |
//! | large messages, and protocols that are not served | `tests/strangers.rs` | `a_caller_that_cannot_be_served_gets_one_line_with_its_address` |
//! | connections beyond a client's share | `tests/files.rs` | `a_process_with_few_files_keeps_places_for_new_clients_and_recovers_when_it_has_none` |
//! | the same of a user at the socket | `access/tests/entrance.rs` | `a_user_with_too_many_connections_to_the_socket_is_cut_and_others_are_not` |
//! | connections that say nothing | `tests/ports.rs` | `a_connection_that_does_not_begin_is_closed` |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::collections::BTreeSet;

use access::{Caller, Grant, Origin, Proof, Role};
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::Request;
use futures_util::StreamExt;
use lab::lines::{lines_with, listen};
use lab::{Lab, MAC, apply, everything, hardware, soon};
use proto::ActionRequest;
use proto::action_status_request::StateType;
use server::{Config, Server};
use tonic::Code;
use tower::ServiceExt;

const HASH: &str = "$6$saltsalt$Qm9ndXNoYXNoQm9ndXNoYXNoQm9ndXNoYXNo";
const OBJECTS: &str = "/apis/tinkerbell.org/v1alpha1";

async fn router() -> Router {
    let server = Server::open(Config::default()).await.unwrap();
    apply(&server, &everything()).await;
    let secret = hardware("other", "52:54:00:12:34:57").replace("10.0.0.20", "10.0.0.21").replace(
        "spec:\n",
        &format!("spec:\n  userData: my user data\n  metadata: {{instance: {{id: i, crypted_root_password: '{HASH}'}}}}\n"),
    );
    apply(&server, &secret.replace("name: other", "name: other, namespace: lab")).await;
    server::http::for_callers(server)
}

fn caller(role: Role, namespace: Option<&str>) -> Caller {
    let namespaces = namespace.map(|namespace| BTreeSet::from([namespace.to_owned()]));
    of(vec![Grant { role, namespaces }])
}

fn of(grants: Vec<Grant>) -> Caller {
    let origin = Origin::Network { address: "10.0.0.9:1".parse().unwrap(), encrypted: true };
    Caller::new("alice", grants, origin, Proof::Certificate)
}

async fn answer(router: &Router, caller: Caller, method: &str, path: &str, accept: &str) -> axum::response::Response {
    let patch = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("accept", accept).header("content-type", patch);
    soon(router.clone().oneshot(request.extension(caller).body(Body::from("{}")).unwrap())).await.unwrap()
}

async fn call(router: &Router, caller: Caller, method: &str, path: &str) -> (u16, String) {
    let response = answer(router, caller, method, path, "application/json").await;
    let code = response.status().as_u16();
    (code, String::from_utf8(soon(to_bytes(response.into_body(), 1 << 20)).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_caller_without_a_role_gets_nothing() {
    let router = router().await;
    for path in [
        format!("{OBJECTS}/hardware"),
        format!("{OBJECTS}/namespaces/lab/hardware/other"),
        format!("{OBJECTS}/workflows?watch=true"),
        "/api/v1/namespaces".to_owned(),
        "/api/v1/secrets".to_owned(),
        api::paths::MACHINES.to_owned(),
        api::paths::EVENTS.to_owned(),
        "/metrics".to_owned(),
    ] {
        let (code, body) = call(&router, of(Vec::new()), "GET", &path).await;
        assert!(code == 403 && body.contains("without a role"), "{path}: {code} {body}");
    }
    let (code, body) = call(&router, of(Vec::new()), "POST", api::paths::APPLY).await;
    assert!(code == 403 && body.contains("without a role"), "{code} {body}");
}

#[tokio::test]
async fn each_role_is_refused_what_is_not_its_own() {
    let router = router().await;
    let lab = format!("{OBJECTS}/namespaces/lab");
    let (one, all, states) = (format!("{lab}/hardware/other"), format!("{OBJECTS}/hardware"), "/apis/thimble.dev/v1alpha1");
    let (secrets, state) = ("/api/v1/namespaces/lab/secrets", format!("{states}/namespaces/lab/machinestates/other"));
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    use Role::{Admin, Boots, Operator, Server, Viewer};
    for (role, namespace, method, path, allowed) in [
        (Viewer, None, "GET", one.as_str(), true),
        (Viewer, None, "PATCH", &one, false),
        (Viewer, None, "PUT", &one, false),
        (Viewer, None, "DELETE", &one, false),
        (Viewer, None, "DELETE", &format!("{lab}/hardware"), false),
        (Viewer, None, "POST", &format!("{lab}/workflows"), false),
        (Viewer, None, "PATCH", &state, false),
        (Viewer, None, "POST", secrets, false),
        (Viewer, Some("lab"), "GET", &one, true),
        (Viewer, Some("default"), "GET", &one, false),
        (Viewer, Some("lab"), "GET", &all, false),
        (Viewer, Some("default"), "GET", &format!("{lab}/hardware?watch=true"), false),
        (Operator, Some("default"), "PATCH", &one, false),
        (Operator, Some("default"), "PATCH", &state, false),
        (Operator, Some("lab"), "GET", &all, false),
        (Operator, Some("lab"), "DELETE", "/api/v1/namespaces/lab", false),
        (Operator, Some("lab"), "POST", "/api/v1/namespaces", false),
        (Operator, None, "GET", secrets, true),
        (Operator, None, "DELETE", &format!("{crds}/hardware.tinkerbell.org"), false),
        (Boots, None, "GET", &one, true),
        (Boots, None, "PATCH", &one, false),
        (Boots, None, "GET", &format!("{lab}/templates"), false),
        (Boots, None, "GET", secrets, false),
        (Boots, None, "PATCH", &state, false),
        (Boots, None, "GET", "/api/v1/namespaces/lab/configmaps", false),
        (Boots, None, "DELETE", &format!("{lab}/workflows/w"), false),
        (Server, None, "GET", secrets, true),
        (Server, None, "POST", secrets, false),
        (Server, None, "DELETE", "/api/v1/namespaces/lab", false),
        (Server, None, "GET", api::paths::BACKUP, false),
        (Admin, None, "DELETE", &format!("{crds}/hardware.tinkerbell.org"), false),
    ] {
        let response = answer(&router, caller(role, namespace), method, path, "application/json").await;
        let code = response.status().as_u16();
        // What nobody may do is not a method of the resource.
        let refused = code == 403 || (code == 405 && path.starts_with(crds));
        assert_eq!(!refused, allowed, "{role} {namespace:?} {method} {path}: {code}");
    }
}

/// What a watch sends at first.
async fn beginning(mut parts: BodyDataStream, words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        text.push_str(&String::from_utf8_lossy(&soon(parts.next()).await.unwrap().unwrap()));
    }
    text
}

#[tokio::test]
async fn a_viewer_finds_no_secret_in_a_list_a_table_or_a_watch() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let router = router().await;
    for (case, path, accept) in [
        ("a list", "hardware", "application/json"),
        ("a page", "hardware?limit=10", "application/json"),
        ("a list of a namespace", "namespaces/lab/hardware", "application/json"),
        ("a table with objects", "hardware?includeObject=Object", TABLE),
        ("a watch", "hardware?watch=true", "application/json"),
        (
            "a watch that begins with the objects",
            "hardware?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "application/json",
        ),
    ] {
        let path = format!("{OBJECTS}/{path}");
        for (role, sees) in [(Role::Operator, true), (Role::Viewer, false)] {
            let response = answer(&router, caller(role, None), "GET", &path, accept).await;
            assert_eq!(response.status(), 200, "{case}");
            let body = response.into_body();
            let text = match path.contains("watch=true") {
                true => beginning(body.into_data_stream(), "52:54:00:12:34:57").await,
                false => String::from_utf8(soon(to_bytes(body, 1 << 20)).await.unwrap().to_vec()).unwrap(),
            };
            let secret = text.contains("my user data") || text.contains(HASH);
            assert!(secret == sees && text.contains("52:54:00:12:34:57"), "{case} for {role}: {text}");
            assert_eq!(text.contains(access::MASKED), !sees, "{case} for {role}: {text}");
        }
    }
}

#[tokio::test]
async fn a_web_page_does_not_reach_the_workflow_service() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    for (name, value, refused) in [
        ("origin", "https://evil.example", true),
        ("origin", "null", true),
        ("sec-fetch-site", "cross-site", true),
        ("sec-fetch-site", "none", false),
        ("user-agent", "a worker", false),
    ] {
        let mut agent = lab.agent(MAC).await;
        let mut question = tonic::Request::new(ActionRequest { agent_id: Some(MAC.to_owned()), agent_attributes: None });
        question.metadata_mut().insert(name, value.parse().unwrap());
        let answer = soon(agent.client.get_action(question)).await;
        assert_eq!(answer.is_err(), refused, "{name}: {value}");
        if let Err(status) = answer {
            assert_eq!(status.code(), Code::PermissionDenied, "{name}: {value}");
            assert!(status.message().contains("web pages"), "{status}");
        }
    }
    lab.stop().await;
}

#[tokio::test]
async fn a_report_for_the_workflow_of_another_agent_is_refused_and_logged() {
    listen();
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let (mut own, mut other) = (lab.agent(MAC).await, lab.agent("52:54:00:99:99:99").await);
    let action = own.ask().await.unwrap();
    for state in [StateType::Running, StateType::Success, StateType::Failed] {
        let refused = other.say(&action, state).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{state:?}");
    }
    assert_eq!(lab.state("w"), "PENDING PENDING,PENDING", "nothing of it counts");
    let lines = lines_with("agent=52:54:00:99:99:99");
    assert!(lines.iter().any(|line| line.contains("workflow=default/w") && line.contains("refused")), "{lines:?}");
    own.say(&action, StateType::Running).await.unwrap();
    lab.stop().await;
}

#[test]
fn each_test_of_the_table_exists() {
    let table = include_str!("refusals.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut checked = 0;
    for row in table {
        let columns: Vec<&str> = row.trim_end_matches(" |").split(" | ").map(|column| column.trim_matches('`')).collect();
        let [_, file, test] = columns[..] else { panic!("not a row: {row}") };
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
        checked += 1;
    }
    assert!(checked > 30, "{checked} rows");
}
