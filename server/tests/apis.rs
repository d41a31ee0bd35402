//! The API in Kubernetes' shape, call by call: what kubectl does not show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use std::time::{Duration, Instant};

use api::{BootStep, StepKind};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use cluster::admin;
use futures_util::StreamExt;
use serde_json::{Value, json};
use server::{Config, Server};
use tower::ServiceExt;

const HARDWARE: &str = "/apis/tinkerbell.org/v1alpha1/namespaces/default/hardware";

struct Api {
    router: Router,
}

impl Api {
    async fn start() -> (Self, Server) {
        let server = Server::open(Config::default()).await.unwrap();
        (Self { router: server::apis::router(server.clone()) }, server)
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> axum::response::Response {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", content_type).body(Body::from(body)).unwrap();
        request.extensions_mut().insert(admin());
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let response = self.send(method, path, content_type, bytes).await;
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, &Value::Null).await
    }

    async fn create(&self, name: &str, rack: &str) -> Value {
        let object = json!({"metadata": {"name": name, "labels": {"rack": rack}}, "spec": {"userData": "u"}});
        let (code, created) = self.call("POST", HARDWARE, &object).await;
        assert_eq!(code, 201, "{created}");
        created
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_call_without_a_caller_is_refused() {
    let (api, _) = Api::start().await;
    for (path, code) in [("/apis", 401), (HARDWARE, 401), ("/version", 401), ("/livez", 200)] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(api.router.clone().oneshot(request).await.unwrap().status().as_u16(), code, "{path}");
    }
}

#[tokio::test]
async fn lists_are_paged_at_one_revision_and_read_at_an_earlier_one() {
    let (api, _) = Api::start().await;
    for name in ["a", "b", "c"] {
        api.create(name, "7").await;
    }
    let (_, first) = api.get(&format!("{HARDWARE}?limit=2")).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let before = version(&first);
    api.create("d", "7").await;
    api.call("DELETE", &format!("{HARDWARE}/c"), &Value::Null).await;
    api.call("PATCH", &format!("{HARDWARE}/a"), &json!({"spec": {"userData": "new"}})).await;
    let names = |list: &Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, rest) = api.get(&format!("{HARDWARE}?limit=2&continue={token}")).await;
    assert_eq!(names(&rest), ["c"], "as it was at the first page");
    let (_, earlier) = api.get(&format!("{HARDWARE}?resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!(
        (names(&earlier), &earlier["items"][0]["spec"]["userData"]),
        (vec!["a".into(), "b".into(), "c".into()], &json!("u"))
    );
    let (_, now) = api.get(HARDWARE).await;
    assert_eq!((names(&now), &now["items"][0]["spec"]["userData"]), (vec!["a".into(), "b".into(), "d".into()], &json!("new")));
    let (mut found, mut query) = (Vec::new(), "limit=1".to_owned());
    loop {
        let (_, page) = api.get(&format!("{HARDWARE}?{query}")).await;
        found.extend(names(&page));
        assert_eq!(version(&page), version(&now));
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        assert_eq!(page["metadata"]["remainingItemCount"], 3 - found.len());
        query = format!("limit=1&continue={token}");
    }
    assert_eq!(found, ["a", "b", "d"], "nothing changes between these pages");
    for (query, code) in [
        (format!("resourceVersion={}", version(&now) + 100), 504),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), 200),
        (format!("resourceVersion={}&watch=1", version(&now) + 100), 504),
        ("labelSelector=a%20b".to_owned(), 400),
    ] {
        assert_eq!(api.get(&format!("{HARDWARE}?{query}")).await.0, code, "{query}");
    }
}

async fn events(response: axum::response::Response, count: usize) -> Vec<Value> {
    let mut stream = response.into_body().into_data_stream();
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < count {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("no event came").expect("it ended");
        text.extend(chunk.unwrap());
    }
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value| {
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    };
    events.iter().map(word).collect()
}

#[tokio::test]
async fn a_watch_shows_what_enters_and_leaves_its_selection() {
    let (api, _) = Api::start().await;
    let first = api.create("a", "7").await;
    let path = format!("{HARDWARE}?watch=1&labelSelector=rack%3D7&resourceVersion={}", version(&first));
    let watch = api.send("GET", &path, "", Vec::new()).await;
    let list = format!("{HARDWARE}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let listing = api.send("GET", &list, "", Vec::new()).await;
    api.create("b", "8").await;
    api.call("PATCH", &format!("{HARDWARE}/b"), &json!({"metadata": {"labels": {"rack": "7"}}})).await;
    api.call("PATCH", &format!("{HARDWARE}/b"), &json!({"metadata": {"labels": {"zone": "x"}}})).await;
    // A write without effect is not an event.
    api.call("PATCH", &format!("{HARDWARE}/b"), &json!({"metadata": {"labels": {"zone": "x"}}})).await;
    api.call("PATCH", &format!("{HARDWARE}/b"), &json!({"metadata": {"labels": {"rack": "9"}}})).await;
    api.call("DELETE", &format!("{HARDWARE}/a"), &Value::Null).await;
    let seen = events(watch, 4).await;
    assert_eq!(words(&seen), ["ADDED b", "MODIFIED b", "DELETED b", "DELETED a"]);
    assert!(version(&seen[3]["object"]) > version(&seen[2]["object"]), "what is gone has the revision at which it went");
    assert_eq!(seen[3]["object"]["spec"]["userData"], "u");
    let all = events(listing, 7).await;
    assert_eq!(words(&all), ["ADDED a", "BOOKMARK -", "ADDED b", "MODIFIED b", "MODIFIED b", "MODIFIED b", "DELETED a"]);
    assert_eq!(all[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

/// An apply, an import, or a success writes several objects in one transaction.
#[tokio::test]
async fn a_watch_goes_on_after_any_event_of_objects_that_were_written_together() {
    let (api, server) = Api::start().await;
    let object = |name: usize| {
        format!("---\napiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{name}}}\nspec: {{}}\n")
    };
    let all: String = (0..5).map(object).collect();
    server.apply(model::parse_documents(&object(9), "f").unwrap()).await.unwrap();
    let before = version(&api.get(HARDWARE).await.1);
    server.apply(model::parse_documents(&all, "f").unwrap()).await.unwrap();
    let watch = async |from: u64, count: usize| {
        let watch = api.send("GET", &format!("{HARDWARE}?watch=1&resourceVersion={from}"), "", Vec::new()).await;
        events(watch, count).await
    };
    let seen = watch(before, 5).await;
    let versions: Vec<u64> = seen.iter().map(|event| version(&event["object"])).collect();
    assert!(versions.is_sorted_by(|one, next| one < next), "each has its own: {versions:?}");
    for (at, from) in versions.iter().enumerate().take(4) {
        assert_eq!(words(&watch(*from, 4 - at).await), words(&seen)[at + 1..], "what a client that was cut off after {at} lacks");
    }
    let (_, list) = api.get(HARDWARE).await;
    assert_eq!(version(&list), versions[4], "nothing comes twice after a list");
    for event in &seen {
        let name = event["object"]["metadata"]["name"].as_str().unwrap();
        assert_eq!(version(&api.get(&format!("{HARDWARE}/{name}")).await.1), version(&event["object"]), "{name}");
    }
}

/// 409 names the users, whichever way an object is deleted, and `gracePeriodSeconds=0` overrides it in each of them.
#[tokio::test]
async fn what_is_in_use_is_deleted_by_an_explicit_word_only() {
    const SITE: &str = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: m1, labels: {a: b}}\nspec: {interfaces: [{dhcp: \
                        {mac: '52:54:00:00:00:01'}, netboot: {allowPXE: true}}]}\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Template\n\
                        metadata: {name: t}\nspec:\n  data: |\n    name: t\n    tasks: [{name: t, worker: '{{ .d }}', actions: \
                        [{name: a, image: i, timeout: 9}]}]\n---\napiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\n\
                        metadata: {name: w}\nspec: {templateRef: t, hardwareRef: m1, hardwareMap: {d: '52:54:00:00:00:01'}}\n";
    let one = format!("{HARDWARE}/m1");
    for (case, path, options, expected) in [
        ("plainly", one.clone(), Value::Null, 409),
        ("with a period", format!("{one}?gracePeriodSeconds=30"), Value::Null, 409),
        ("with options", one.clone(), json!({"propagationPolicy": "Background"}), 409),
        ("as a dry run", format!("{one}?dryRun=All"), Value::Null, 409),
        ("with all others", HARDWARE.to_owned(), Value::Null, 409),
        ("with what is selected", format!("{HARDWARE}?labelSelector=a%3Db"), Value::Null, 409),
        ("a Template", HARDWARE.replace("hardware", "templates/t"), Value::Null, 409),
        ("now, by the query", format!("{one}?gracePeriodSeconds=0"), Value::Null, 200),
        ("now, by options", one.clone(), json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}), 200),
        ("all others now", format!("{HARDWARE}?gracePeriodSeconds=0"), Value::Null, 200),
        ("all others now, by options", HARDWARE.to_owned(), json!({"gracePeriodSeconds": 0}), 200),
        ("now, as a dry run", format!("{one}?gracePeriodSeconds=0&dryRun=All"), Value::Null, 200),
    ] {
        let (api, server) = Api::start().await;
        server.apply(model::parse_documents(SITE, "f").unwrap()).await.unwrap();
        let (code, answer) = api.call("DELETE", &path, &options).await;
        assert_eq!(code, expected, "{case}: {answer}");
        let is_there = api.get(&one).await.0 == 200;
        assert_eq!(is_there, expected == 409 || case.contains("dry run"), "{case}");
        assert!(code == 200 || answer["message"].as_str().unwrap().contains("Workflow default/w"), "{case}: {answer}");
        assert!(code == 200 || answer["reason"] == "Conflict", "{case}: {answer}");
    }
}

/// A finished workflow that comes from elsewhere never runs, whichever way it comes.
#[tokio::test]
async fn a_final_state_is_kept_and_any_other_status_is_dropped_with_a_warning() {
    let path = "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows";
    for (state, kept) in
        [("SUCCESS", Some("SUCCESS")), ("STATE_TIMEOUT", Some("TIMEOUT")), ("POST", Some("SUCCESS")), ("RUNNING", None)]
    {
        let object = json!({
            "apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow", "metadata": {"name": "w", "namespace": "default"},
            "spec": {"templateRef": "t"}, "status": {"state": state},
        });
        for way in ["create", "server-side apply", "apply", "import"] {
            let (api, server) = Api::start().await;
            let router = server::http::for_callers(server.clone());
            let send = async |method: &str, path: &str, content_type: &str, body: String| {
                let mut request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("content-type", content_type)
                    .body(Body::from(body))
                    .unwrap();
                request.extensions_mut().insert(admin());
                router.clone().oneshot(request).await.unwrap()
            };
            let text = object.to_string();
            let response = match way {
                "create" => send("POST", path, "application/json", text).await,
                "server-side apply" => {
                    send("PATCH", &format!("{path}/w?fieldManager=x"), "application/apply-patch+yaml", text).await
                }
                "apply" => send("POST", api::paths::APPLY, "application/yaml", text).await,
                _ => send("POST", api::paths::IMPORT, "application/json", json!({"objects": text}).to_string()).await,
            };
            assert!(response.status().is_success(), "{way} {state}: {}", response.status());
            let header = response.headers().get("warning").map(|warning| warning.to_str().unwrap().to_owned());
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let warned = header.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()).contains("was dropped");
            assert_eq!(warned, kept.is_none(), "{way} {state}: {}", String::from_utf8_lossy(&body));
            let (_, stored) = api.get(&format!("{path}/w")).await;
            let state_now = stored["status"]["state"].as_str();
            assert_eq!(
                state_now.filter(|state| ["SUCCESS", "FAILED", "TIMEOUT"].contains(state)),
                kept,
                "{way} {state}: {stored}"
            );
            if way == "server-side apply" && kept.is_some() {
                let again =
                    send("PATCH", &format!("{path}/w?fieldManager=x"), "application/apply-patch+yaml", object.to_string()).await;
                assert!(again.status().is_success());
                assert_eq!(api.get(&format!("{path}/w")).await.1["status"]["state"].as_str(), kept, "applied once more");
            }
        }
    }
}

#[tokio::test]
async fn an_event_comes_soon_after_its_commit() {
    let (api, server) = Api::start().await;
    let watch = api.send("GET", &format!("{HARDWARE}?watch=1"), "", Vec::new()).await;
    let mut stream = watch.into_body().into_data_stream();
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let text = format!("apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: m{number}}}\nspec: {{}}\n");
        server.apply(model::parse_documents(&text, "f").unwrap()).await.unwrap();
        let committed = Instant::now();
        stream.next().await.unwrap().unwrap();
        slowest = slowest.max(committed.elapsed());
    }
    eprintln!("the slowest of 20 events came {slowest:?} after its commit");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}"); // the host may be busy; alone it is far below 10 ms
}

/// The history of a boot is outside the store, and its last step is not.
#[tokio::test]
async fn a_watch_of_machine_states_sees_a_boot_go_on() {
    let (api, server) = Api::start().await;
    let mac = "02:00:00:00:00:07".parse().unwrap();
    let text = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: m7}\nspec: {interfaces: [{dhcp: {mac: \
                '02:00:00:00:00:07'}}]}\n";
    server.apply(model::parse_documents(text, "f").unwrap()).await.unwrap();
    let path = "/apis/thimble.dev/v1alpha1/namespaces/default/machinestates";
    let (_, state) = api.get(&format!("{path}/m7")).await;
    let watch = api.send("GET", &format!("{path}?watch=1&resourceVersion={}", version(&state)), "", Vec::new()).await;
    for (kind, asked) in [(StepKind::Offered, "DISCOVER of iPXE"), (StepKind::Script, "GET auto.ipxe")] {
        server.keep_step(mac, BootStep::new(jiff::Timestamp::now(), kind, asked, "an answer"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = events(watch, 2).await;
    let steps: Vec<&str> = seen.iter().filter_map(|event| event["object"]["status"]["bootStep"].as_str()).collect();
    assert_eq!(steps, ["DHCP: DISCOVER of iPXE -> an answer", "HTTP: GET auto.ipxe -> an answer"], "{seen:?}");
    let (_, now) = api.get(&format!("{path}/m7")).await;
    assert_eq!(
        now["metadata"]["resourceVersion"], seen[1]["object"]["metadata"]["resourceVersion"],
        "a client may go on from it"
    );
    assert_eq!(now["status"]["bootStep"], "HTTP: GET auto.ipxe -> an answer");
}

#[tokio::test]
async fn many_are_deleted_at_once_and_preconditions_hold() {
    let (api, _) = Api::start().await;
    let a = api.create("a", "7").await;
    api.create("b", "8").await;
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(api.call("DELETE", &format!("{HARDWARE}/a"), &wrong).await.1["reason"], "Conflict");
    let (_, dry) = api.call("DELETE", &format!("{HARDWARE}/a?dryRun=All"), &Value::Null).await;
    assert_eq!((&dry["status"], &dry["details"]["uid"]), (&json!("Success"), &a["metadata"]["uid"]));
    let (code, gone) = api.call("DELETE", &format!("{HARDWARE}?labelSelector=rack%3D7"), &Value::Null).await;
    assert_eq!((code, gone["items"].as_array().unwrap().len()), (200, 1));
    let (_, left) = api.get(HARDWARE).await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    let large = vec![b' '; 4 << 20];
    assert_eq!(api.send("POST", HARDWARE, "application/json", large).await.status().as_u16(), 413);
}

#[tokio::test]
async fn a_file_keeps_the_metadata_that_only_the_api_writes() {
    let (api, server) = Api::start().await;
    let created = api.create("a", "7").await;
    api.call("PATCH", &format!("{HARDWARE}/a"), &json!({"metadata": {"finalizers": ["x.org/y"]}})).await;
    let text = "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {name: a}\nspec: {userData: file}\n";
    server.apply(model::parse_documents(text, "f").unwrap()).await.unwrap();
    let (_, now) = api.get(&format!("{HARDWARE}/a")).await;
    let metadata = &now["metadata"];
    assert_eq!(
        (&metadata["uid"], &metadata["finalizers"], &metadata["generation"]),
        (&created["metadata"]["uid"], &json!(["x.org/y"]), &json!(2))
    );
    assert_eq!(now["spec"]["userData"], "file");
}

/// `kubectl describe` asks for events by the name, kind and uid of the object.
#[tokio::test]
async fn what_happens_to_a_workflow_is_an_event_of_it() {
    let (api, server) = Api::start().await;
    let text = "apiVersion: tinkerbell.org/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {templateRef: missing}\n";
    server.apply(model::parse_documents(text, "f").unwrap()).await.unwrap();
    let (_, workflow) = api.get("/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w").await;
    let uid = workflow["metadata"]["uid"].as_str().unwrap();
    let selector = format!("involvedObject.kind=Workflow,involvedObject.name=w,involvedObject.uid={uid}");
    let path = format!("/api/v1/namespaces/default/events?fieldSelector={selector}");
    let limit = Instant::now() + Duration::from_secs(20);
    let event = loop {
        let (_, list) = api.get(&path).await;
        if let Some(event) = list["items"].get(0) {
            break event.clone();
        }
        assert!(Instant::now() < limit, "no event: {list}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&event["type"], &event["source"]["component"], &event["count"]),
        (&json!("Warning"), &json!("thimble"), &json!(1))
    );
    assert!(event["message"].as_str().unwrap().contains("missing"), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_at_least_as_new_as_the_event_that_announced_it() {
    let (api, _server) = Api::start().await;
    let created = api.create("m1", "7").await;
    let path = format!("{HARDWARE}?watch=1&resourceVersion={}", version(&created));
    let mut stream = api.send("GET", &path, "", Vec::new()).await.into_body().into_data_stream();
    let object = format!("{HARDWARE}/m1");
    for round in 0..200 {
        let patch = json!({"metadata": {"labels": {"round": round.to_string()}}});
        let (patched, event) = tokio::join!(api.call("PATCH", &object, &patch), async {
            let line = stream.next().await.unwrap().unwrap();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let (_, found) = api.get(&object).await;
            assert!(version(&found) >= version(&event["object"]), "round {round}: {found} is older than {event}");
            event
        });
        assert_eq!((patched.0, event["type"].as_str()), (200, Some("MODIFIED")), "{patched:?}");
    }
}
