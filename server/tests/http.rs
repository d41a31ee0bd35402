//! The API over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::net::SocketAddr;

use api::paths::{APPLY, EVENTS, machine, machine_intent, object};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::StreamExt;
use lab::{Lab, MAC, apply, everything, hardware, soon, template, workflow};
use model::Kind;
use proto::action_status_request::StateType;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Api {
    client: Client,
    base: String,
}

impl Api {
    fn of(lab: &Lab) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
        Self { client: Client::new(), base: format!("http://{}", lab.api) }
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.base)).body(body.to_owned());
        let response = soon(request.send()).await.unwrap();
        let code = response.status().as_u16();
        (code, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, "").await
    }

    async fn apply(&self, text: &str) -> (u16, Value) {
        self.call(Method::POST, &format!("{APPLY}?file=lab.yaml"), text).await
    }
}

fn changes(body: &Value) -> Vec<String> {
    let word = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    body["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| format!("{} {} {}", word(change, "kind"), word(change, "name"), word(change, "change")))
        .collect()
}

fn mistakes(body: &Value) -> Vec<String> {
    body["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| serde_json::from_value::<model::Mistake>(one.clone()).unwrap().to_string())
        .collect()
}

#[tokio::test]
async fn objects_are_stored_listed_and_deleted() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let (code, body) = api.apply(&everything()).await;
    assert_eq!(
        (code, changes(&body)),
        (
            200,
            vec![
                "Hardware default/node-1 created".into(),
                "Template default/two created".into(),
                "Workflow default/w created".into()
            ]
        )
    );
    let (code, body) = api.apply(&everything()).await;
    assert_eq!((code, changes(&body)[2].as_str()), (200, "Workflow default/w unchanged"));
    let (code, list) = api.get("/apis/tinkerbell.org/v1alpha1/workflows").await;
    assert_eq!((code, list["kind"].as_str(), list["items"].as_array().unwrap().len()), (200, Some("WorkflowList"), 1));
    let (code, one) = api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/hardware/node-1").await;
    assert_eq!((code, &one["spec"]["interfaces"][0]["dhcp"]["mac"]), (200, &json!(MAC)));
    assert_eq!(api.call(Method::DELETE, "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", "").await.0, 200);
    assert_eq!(api.call(Method::DELETE, "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w", "").await.0, 404);
    for path in [
        "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w",
        "/apis/tinkerbell.org/v1alpha1/pods",
        "/apis/thimble.dev/v1alpha1/machines/52:54:00:00:00:99",
        "/apis/thimble.dev/v1alpha1/machines/nonsense",
    ] {
        let (code, body) = api.get(path).await;
        assert_eq!((code, body["error"].is_string() || body["message"].is_string()), (404, true), "{path}");
    }
    assert_eq!(api.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_next_call_sees_what_was_acknowledged() {
    let lab = Lab::hasty().await;
    let many: String = (0..300).map(|n| lab::template(&format!("t{n}"), 1)).collect();
    lab::apply(&lab.server, &many).await;
    assert_eq!(lab.server.list(model::Kind::Template).len(), 300);
    lab.stop().await;
}

#[tokio::test]
async fn mistakes_are_all_reported_and_change_nothing() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let text = hardware("node-1", MAC)
        + "bogus: 1\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templateref: t}\n";
    let (code, body) = api.apply(&text).await;
    let found = mistakes(&body);
    assert_eq!(code, 422);
    assert!(found[0].starts_with("lab.yaml:8:1: unknown key \"bogus\""), "{found:#?}");
    assert!(
        found
            .iter()
            .any(|one| one.starts_with("lab.yaml:13:8: spec: unknown key \"templateref\" (did you mean \"templateRef\"?)")),
        "{found:#?}"
    );
    assert_eq!(api.get("/apis/tinkerbell.org/v1alpha1/hardware").await.1["items"], json!([]));
    let (code, body) = api.apply(&(hardware("node-1", MAC) + &hardware("node-2", MAC))).await;
    assert_eq!(
        (code, mistakes(&body)),
        (422, vec![format!("Hardware default/node-2: has {MAC}, which is Hardware default/node-1's")])
    );
    assert_eq!(api.apply(&"x".repeat(9 << 20)).await.0, 413);
}

#[tokio::test]
async fn a_workflow_waits_for_the_objects_it_names_and_reports_mistakes_in_them() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let (code, body) = api.apply(&workflow("w", "two", "node-1", MAC)).await;
    assert_eq!(
        (code, body["changes"][0]["problem"].as_str()),
        (200, Some("waits for Hardware default/node-1, which does not exist"))
    );
    apply(&lab.server, &hardware("node-1", MAC)).await;
    let (code, body) = api.apply(&template("two", 2).replace(".device_1", ".device_2")).await;
    assert_eq!(code, 422);
    let mistake = mistakes(&body).remove(0);
    assert!(mistake.starts_with("lab.yaml:") && mistake.contains("map has no entry for key \"device_2\""), "{body}");
    assert_eq!(
        api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/templates/two").await.0,
        404,
        "nothing is stored when anything is wrong"
    );
    let stored = api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w").await.1;
    assert_eq!(stored["status"]["message"], "waits for Template default/two, which does not exist");
    let (code, body) = api.apply(&template("two", 2)).await;
    assert_eq!((code, changes(&body)), (200, vec!["Template default/two created".into(), "Workflow default/w updated".into()]));
    assert_eq!(lab.state("w"), "PENDING PENDING,PENDING");
    let (code, body) = api.apply(&template("broken", 1).replace("{{", "{{ if ")).await;
    assert_eq!(code, 422, "{body}");
}

#[tokio::test]
async fn a_started_workflow_keeps_its_spec() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    api.apply(&everything()).await;
    let other = workflow("w", "two", "node-1", "other-agent");
    assert_eq!(changes(&api.apply(&other).await.1), ["Workflow default/w updated"], "no action has begun yet");
    api.apply(&everything()).await;
    let mut agent = lab.agent(MAC).await;
    agent.work().await;
    let (code, body) = api.apply(&other).await;
    assert_eq!(code, 422);
    assert_eq!(
        mistakes(&body),
        [
            "Workflow default/w: it is RUNNING, so its spec can no longer change (create a workflow with another name, or delete this one first)"
        ]
    );
    agent.work().await;
    assert_eq!(changes(&api.apply(&everything()).await.1)[2], "Workflow default/w unchanged");
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS");
}

#[tokio::test]
async fn its_workflows_decide_what_a_machine_boots() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let boot = async |expected: &str| {
        let (_, body) = api.get("/apis/thimble.dev/v1alpha1/machines/52-54-00-12-34-56").await;
        let reason = body["workflow"].as_str().or(body["reason"].as_str()).unwrap();
        assert_eq!(format!("{} {reason}", body["boot"].as_str().unwrap()), expected);
    };
    let mut agent = lab.agent(MAC).await;
    api.apply(&(hardware("node-1", MAC) + &template("one", 1))).await;
    boot("wait this machine has no workflow").await;
    api.apply(&workflow("first", "one", "node-1", MAC)).await;
    boot("install default/first").await;
    agent.work().await;
    boot("local workflow default/first is SUCCESS").await;
    api.apply(&workflow("second", "one", "node-1", MAC)).await;
    boot("install default/second").await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Timeout).await.unwrap();
    boot("wait workflow default/second is TIMEOUT: action a0 ended TIMEOUT").await;
    let (code, body) = api.apply(&workflow("third", "one", "", MAC).replace("hardwareRef: , ", "")).await;
    assert_eq!(
        (code, mistakes(&body)),
        (
            422,
            vec!["template one:8:90: <index .Hardware.Disks 0>: error calling index: reflect: slice index out of range".into()]
        )
    );
    boot("wait workflow default/second is TIMEOUT: action a0 ended TIMEOUT").await;
    api.apply(&hardware("node-1", MAC).replace("allowPXE: true", "allowPXE: false")).await;
    boot("local netboot.allowPXE is not true in Hardware default/node-1").await;
    assert_eq!(api.get("/apis/thimble.dev/v1alpha1/machines/10.0.0.20").await.1["mac"], MAC);
}

#[tokio::test]
async fn an_operator_decides_what_a_machine_boots() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    api.apply(&everything()).await;
    lab.agent(MAC).await.work().await;
    let order = async |machine: &str, order: &str| {
        let body = json!({"order": order, "by": "ada\x1b[31m", "reason": "new disk\n"}).to_string();
        api.call(Method::POST, &machine_intent(machine), &body).await
    };
    let (code, state) = order("node-1", "hold").await;
    assert_eq!(
        (code, &state["intent"], &state["by"], &state["reason"]),
        (200, &json!("hold"), &json!("ada [31m"), &json!("new disk"))
    );
    for machine in [MAC, "10.0.0.20", "node-1", "default/node-1"] {
        let (code, body) = api.get(&api::paths::machine(machine)).await;
        assert_eq!((code, &body["boot"], &body["reason"]), (200, &json!("hold"), &json!("new disk")), "{machine}");
        assert_eq!(body["state"]["orders"], json!(["default/w"]));
    }
    assert_eq!(
        lab.agent(MAC).await.ask().await.unwrap_err().code(),
        tonic::Code::FailedPrecondition,
        "a held machine gets no work"
    );
    assert_eq!(order(MAC, "approve").await.0, 200);
    assert_eq!(lab.agent(MAC).await.work().await, "a1");
    let (code, body) = order("10.0.0.20", "approve").await;
    let refused = "Hardware default/node-1 cannot take the order approve: it is not held; its intent is local";
    assert_eq!((code, body["error"].as_str()), (409, Some(refused)));
    assert_eq!(order("node-1", "reinstall").await.1["orders"], json!(["default/w-run2"]));
    assert_eq!(lab.state("w-run2"), "PENDING PENDING,PENDING");
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS", "a finished workflow never runs again");
    assert_eq!(order("node-9", "local").await.0, 404);
    assert_eq!(order("node-1", "explode").await.0, 422);
}

#[tokio::test]
async fn toggle_allow_netboot_sets_and_resets_the_hardware() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let closed = hardware("node-1", MAC).replace("allowPXE: true", "allowPXE: false");
    let toggling = workflow("w", "one", "node-1", MAC).replace("spec: {", "spec: {bootOptions: {toggleAllowNetboot: true}, ");
    api.apply(&(closed + &template("one", 1) + &toggling)).await;
    let allowed = async || {
        api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/hardware/node-1").await.1["spec"]["interfaces"][0]["netboot"]["allowPXE"].clone()
    };
    assert_eq!((allowed().await, api.get(&machine(MAC)).await.1["boot"].as_str()), (json!(true), Some("install")));
    lab.agent(MAC).await.work().await;
    assert_eq!(allowed().await, json!(false));
    let status = api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w").await.1["status"].clone();
    assert_eq!(status["bootOptions"]["allowNetboot"], json!({"toggledTrue": true, "toggledFalse": true}));
    let (code, body) =
        api.apply(&workflow("x", "one", "node-1", MAC).replace("spec: {", "spec: {bootOptions: {bootMode: iso}, ")).await;
    assert_eq!(code, 422, "{body}");
}

#[tokio::test]
async fn an_installed_system_announces_itself() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    api.apply(&everything()).await;
    let path = format!("/v1/machines/{MAC}/booted");
    let port = Api { client: Client::new(), base: format!("http://{}", lab.http) };
    assert_eq!(port.call(Method::POST, &path, "Debian 12\x1b[31m up\n").await.0, 204);
    assert_eq!(api.get(&machine(MAC)).await.1["booted"]["text"], "Debian 12 [31m up");
    assert_eq!(port.call(Method::POST, "/v1/machines/52:54:00:00:00:99/booted", "x").await.0, 404);
    assert_eq!(port.call(Method::POST, &path, &"x".repeat(5000)).await.0, 413);
}

#[tokio::test]
async fn events_arrive_line_by_line_and_continue_where_a_reader_stopped() {
    let lab = Lab::hasty().await;
    let api = Api::of(&lab);
    let response = api.client.get(format!("{}{EVENTS}?since=0", api.base)).send().await.unwrap();
    let mut lines = Box::pin(response.bytes_stream());
    let mut next = async || loop {
        let chunk = soon(lines.next()).await.unwrap().unwrap();
        if !chunk.trim_ascii().is_empty() {
            return serde_json::from_slice::<Value>(&chunk).unwrap();
        }
    };
    assert_eq!(next().await["type"], "missed", "events from before the server's start are gone, and it says so");
    api.apply(&hardware("node-1", MAC)).await;
    let first = next().await;
    assert_eq!((&first["type"], &first["change"]), (&json!("object"), &json!("created")));
    lab.server.publish(api::What::Machine { mac: MAC.parse().unwrap(), milestone: "offered".into(), detail: "10.0.0.20".into() });
    assert_eq!(next().await["milestone"], "offered");
    let again = api.client.get(format!("{}{EVENTS}?since={}", api.base, first["revision"])).send().await.unwrap();
    let chunk = soon(Box::pin(again.bytes_stream()).next()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&chunk).unwrap()["milestone"], "offered");
}

#[tokio::test]
async fn a_web_page_changes_nothing() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let client = Api::of(&lab).client;
    let booted = format!("/v1/machines/{MAC}/booted");
    for (case, method, path, header, code) in [
        ("a foreign origin", "POST", "/v1/apply", ("origin", "http://evil.example"), 403),
        ("a foreign origin that announces a system", "POST", booted.as_str(), ("origin", "http://evil.example"), 403),
        ("a form of another site", "POST", &booted, ("sec-fetch-site", "cross-site"), 403),
        ("a name that was made to lead here", "GET", "/metrics", ("host", "evil.example:7080"), 403),
        ("an image of a page", "GET", "/metrics", ("sec-fetch-site", "same-site"), 403),
        ("the address", "GET", "/metrics", ("host", "10.0.0.1:7080"), 200),
        ("loopback by name", "GET", "/metrics", ("host", "localhost"), 200),
        ("a machine that knows this host by another name", "POST", &booted, ("host", "prov.example:7080"), 204),
    ] {
        let request = client.request(method.parse().unwrap(), format!("http://{}{path}", lab.http)).header(header.0, header.1);
        assert_eq!(request.send().await.unwrap().status().as_u16(), code, "{case}");
    }
    lab.stop().await;
}

#[tokio::test]
async fn the_plain_port_serves_no_object_to_anyone() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let booted = format!("/v1/machines/{MAC}/booted");
    let (here, machine) = ([127, 0, 0, 1], [10, 0, 0, 7]);
    for (method, path, from, code) in [
        ("GET", "/apis/tinkerbell.org/v1alpha1/hardware", here, 404),
        ("GET", "/api/v1/secrets", here, 404),
        ("GET", EVENTS, here, 404),
        ("POST", APPLY, here, 404),
        ("GET", "/v1/hardware", here, 410),
        ("GET", "/v1/hardware/default/node-1", machine, 410),
        ("DELETE", "/v1/hardware/default/node-1", here, 410),
        ("GET", "/v1/events", machine, 410),
        ("GET", "/v1/pods", machine, 404),
        ("GET", "/metrics", machine, 403),
        ("GET", "/metrics", here, 200),
        ("GET", "/healthz", machine, 200),
        ("POST", booted.as_str(), machine, 204),
    ] {
        let mut request = Request::builder().method(method).uri(path).body(Body::from("up")).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((from, 4000))));
        let answer = server::http::router(lab.server.clone()).oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), code, "{method} {path} from {from:?}");
    }
    lab.stop().await;
}

#[tokio::test]
async fn a_path_of_earlier_versions_names_the_one_that_took_its_place() {
    let lab = Lab::hasty().await;
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error only means that another test did it
    for base in [lab.http, lab.api] {
        let port = Api { client: Client::new(), base: format!("http://{base}") };
        for (method, old, new) in [
            (Method::POST, "/v1/apply?file=x".to_owned(), APPLY.to_owned()),
            (Method::GET, "/v1/workflows/default/w".to_owned(), object(Kind::Workflow, &"w".parse().unwrap())),
            (Method::GET, format!("/v1/machines/{MAC}"), machine(MAC)),
        ] {
            let (code, body) = port.call(method, &old, "").await;
            let said = body["error"].as_str().unwrap();
            assert!(code == 410 && said.contains(&format!("moved to {new},")) && said.contains("6443"), "{old}: {said}");
        }
    }
    lab.stop().await;
}
