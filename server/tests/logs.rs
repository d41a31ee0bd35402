//! What machines say, over real sockets: who may write, who reads, what a flood and a kill do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;
mod process;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use access::{Caller, Grant, Origin, Proof, Role};
use api::LogLine;
use api::paths::SYSLOG;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use lab::{Agent, Lab, MAC, apply, everything, hardware, soon, template, workflow};
use process::Process;
use proto::action_status_request::StateType;
use proto::logs::logs_client::LogsClient;
use proto::logs::{AppendRequest, Line};
use proto::{ActionRequest, ActionResponse};
use server::{Config, LogLimits, SyslogLine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt;

const LOG: &str = "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w/log";
const MACHINE_LOG: &str = "/apis/thimble.dev/v1alpha1/namespaces/default/machinestates/node-1/log";

fn config(folder: &Path) -> Config {
    let limits = LogLimits { keep_free: 0, ..LogLimits::default() };
    Config { long_poll: Duration::from_millis(50), logs: Some((folder.join("log"), limits)), ..Config::default() }
}

/// The folder of the workflow's log, whose name ends with a revision.
fn of_workflow(folder: &Path, begin: &str) -> std::path::PathBuf {
    let mut found = std::fs::read_dir(folder.join("log/workflows")).unwrap().map(|entry| entry.unwrap());
    found.find(|entry| entry.file_name().to_string_lossy().starts_with(begin)).unwrap().path()
}

fn said(action: &ActionResponse, agent: &str, texts: &[&str]) -> AppendRequest {
    AppendRequest {
        agent_id: agent.to_owned(),
        workflow_id: action.workflow_id.clone().unwrap(),
        action_id: action.action_id.clone().unwrap(),
        lines: texts.iter().map(|text| Line { text: (*text).to_owned(), ..Line::default() }).collect(),
        dropped: 0,
    }
}

async fn logs(address: std::net::SocketAddr) -> LogsClient<Channel> {
    LogsClient::connect(format!("http://{address}")).await.unwrap()
}

/// A GET as a raw connection, so that the test sees when bytes arrive.
struct Answer {
    socket: TcpStream,
    text: String,
}

impl Answer {
    async fn of(address: std::net::SocketAddr, path: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        Self { socket, text: String::new() }
    }

    async fn until(&mut self, words: &str) {
        let mut buffer = [0; 4096];
        while !self.text.contains(words) {
            let count = soon(self.socket.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "{words} did not come: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    async fn end(mut self) -> String {
        let mut rest = Vec::new();
        soon(self.socket.read_to_end(&mut rest)).await.unwrap();
        self.text + &String::from_utf8_lossy(&rest)
    }
}

/// Reads again until the words are there: a line is written within moments.
async fn shown(address: std::net::SocketAddr, path: &str, words: &str) -> String {
    soon(async {
        loop {
            let text = Answer::of(address, path).await.end().await;
            if text.contains(words) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// An agent that runs the first action of the workflow.
async fn running(lab: &Lab, agent: &str) -> (Agent, ActionResponse) {
    let mut agent = lab.agent(agent).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    (agent, action)
}

#[tokio::test]
async fn output_is_stored_escaped_and_read_by_workflow_action_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let (mut agent, action) = running(&lab, MAC).await;
    let mut logs = logs(lab.grpc).await;
    let mut request = said(&action, MAC, &["  plain", "\u{1b}[2J\u{1b}]0;pwned\u{7}", "two\nlines\r\0"]);
    request.lines[0].age_milliseconds = 3_600_000;
    request.lines[1].stderr = true;
    request.dropped = 7;
    logs.append(request).await.unwrap();
    agent.say(&action, StateType::Success).await.unwrap();
    let (_, next) = running(&lab, MAC).await;
    logs.append(said(&next, MAC, &["of the second action"])).await.unwrap();

    let path = LOG;
    let text = shown(lab.api, path, "of the second action").await;
    assert!(text.contains(" a0 stdout   plain\n") && text.contains(" a0 stderr \\u{1b}[2J\\u{1b}]0;pwned\\u{7}\n"), "{text}");
    assert!(text.contains(" a0 stdout two\\nlines\\r\\u{0}\n") && text.contains(" a1 stdout of the second"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains('\0'), "{text:?}");
    shown(lab.api, path, "(7 lines were dropped before this").await;
    let only = Answer::of(lab.api, &format!("{path}?action=a1&format=json")).await.end().await;
    let json = only.lines().find(|line| line.starts_with('{')).unwrap();
    let line: LogLine = serde_json::from_str(json).unwrap();
    assert!((line.action.as_str(), line.from.as_str()) == ("a1", MAC) && !only.contains("plain"), "{only}");
    let recent = Answer::of(lab.api, &format!("{path}?sinceSeconds=60")).await.end().await;
    assert!(!recent.contains("stdout   plain") && recent.contains("pwned"), "{recent}");
    let file = std::fs::read_to_string(of_workflow(folder.path(), "default_w@").join("00000001.jsonl")).unwrap();
    assert!(!file.contains('\u{1b}') && file.lines().count() >= 4, "{file}");
    assert!(
        Answer::of(lab.api, "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/other/log")
            .await
            .end()
            .await
            .starts_with("HTTP/1.1 404")
    );
    lab.stop().await;
}

#[tokio::test]
async fn an_agent_may_not_write_in_the_log_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    let mut logs = logs(lab.grpc).await;
    let refused = |answer: Result<_, Status>| answer.map(|_: tonic::Response<_>| ()).unwrap_err().code();
    assert_eq!(refused(logs.append(said(&action, MAC, &["not begun"])).await), Code::PermissionDenied);
    agent.say(&action, StateType::Running).await.unwrap();
    logs.append(said(&action, MAC, &["mine"])).await.unwrap();
    let other = |change: &dyn Fn(&mut AppendRequest)| {
        let mut request = said(&action, MAC, &["forged"]);
        change(&mut request);
        request
    };
    for (case, request, code) in [
        ("another agent", other(&|r| r.agent_id = "52:54:00:00:00:99".into()), Code::PermissionDenied),
        ("an action that does not exist", other(&|r| r.action_id = "x".into()), Code::PermissionDenied),
        ("a workflow that does not exist", other(&|r| r.workflow_id = "default/x".into()), Code::PermissionDenied),
        ("no workflow", other(&|r| r.workflow_id = "../..".into()), Code::PermissionDenied),
        ("a name with an escape", other(&|r| r.workflow_id = "default/\u{1b}[2J".into()), Code::InvalidArgument),
        ("no agent", other(&|r| r.agent_id = String::new()), Code::InvalidArgument),
        ("too much", other(&|r| r.lines[0].text = "x".repeat(70_000)), Code::ResourceExhausted),
    ] {
        assert_eq!(refused(logs.append(request).await), code, "{case}");
    }
    let text = shown(lab.api, LOG, "mine").await;
    assert!(!text.contains("forged") && !text.contains("not begun"), "{text}");
    lab.stop().await;
}

#[tokio::test]
async fn only_a_server_that_keeps_logs_offers_it() {
    let folder = tempfile::tempdir().unwrap();
    for (config, offers) in [(config(folder.path()), true), (Config { logs: None, ..config(folder.path()) }, false)] {
        let lab = Lab::start(config).await;
        apply(&lab.server, &everything()).await;
        let mut agent = lab.agent(MAC).await;
        let request = ActionRequest { agent_id: Some(MAC.to_owned()), agent_attributes: None };
        let answer = agent.client.get_action(request).await.unwrap();
        assert_eq!(answer.metadata().contains_key(proto::logs::OFFER), offers, "with an action");
        let action = answer.into_inner();
        let answer = agent.client.report_action_status(agent.request(&action, StateType::Running)).await.unwrap();
        assert_eq!(answer.metadata().contains_key(proto::logs::OFFER), offers, "after a report");
        let appended = logs(lab.grpc).await.append(said(&action, MAC, &["x"])).await;
        assert_eq!(appended.map(|_| ()).map_err(|status| status.code()), if offers { Ok(()) } else { Err(Code::Unimplemented) });
        lab.stop().await;
    }
}

#[tokio::test]
async fn a_follower_sees_each_line_within_100_milliseconds_and_the_end_of_the_workflow() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &(hardware("node-1", MAC) + &template("one", 1) + &workflow("w", "one", "node-1", MAC))).await;
    let (mut agent, action) = running(&lab, MAC).await;
    let mut logs = logs(lab.grpc).await;
    let mut follower = Answer::of(lab.api, &format!("{LOG}?follow=true")).await;
    follower.until("\r\n\r\n").await;
    let mut took = Vec::new();
    for n in 0..20 {
        let start = Instant::now();
        logs.append(said(&action, MAC, &[&format!("line {n}.")])).await.unwrap();
        follower.until(&format!("line {n}.")).await;
        took.push(start.elapsed());
    }
    took.sort();
    println!("20 lines came after {took:?}");
    assert!(took[10] < Duration::from_millis(100), "half of them took longer: {took:?}");
    agent.say(&action, StateType::Success).await.unwrap();
    logs.append(said(&action, MAC, &["a late line"])).await.unwrap();
    let all = follower.end().await;
    assert!(all.contains("a late line"), "{all}");
    lab.stop().await;
}

#[tokio::test]
async fn a_workflow_with_the_name_of_an_earlier_one_has_a_log_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let (_agent, action) = running(&lab, MAC).await;
    let mut logs = logs(lab.grpc).await;
    logs.append(said(&action, MAC, &["of the first"])).await.unwrap();
    shown(lab.api, LOG, "of the first").await;
    lab.server.delete(model::Kind::Workflow, &"w".parse().unwrap(), true).await.unwrap();
    assert!(Answer::of(lab.api, LOG).await.end().await.contains("of the first"), "what is gone can be read");
    apply(&lab.server, &everything()).await;
    let (_agent, action) = running(&lab, MAC).await;
    logs.append(said(&action, MAC, &["of the second"])).await.unwrap();
    let text = shown(lab.api, LOG, "of the second").await;
    assert!(!text.contains("of the first"), "{text}");
    let since = shown(lab.api, &format!("{LOG}?sinceSeconds=3600"), "of the second").await;
    assert!(!since.contains("of the first"), "{since}");
    lab.stop().await;
}

#[tokio::test]
async fn lines_by_syslog_are_those_of_the_running_action_or_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let say = |tag: &str, text: &str| {
        let line = SyslogLine { mac: MAC.parse().ok(), address: None, tag, text };
        lab.server.keep_syslog(line, jiff::Timestamp::now());
    };
    say("kernel", "before any work");
    let (_agent, action) = running(&lab, MAC).await;
    say("hook", "while it runs");
    say("thimble", "A| by an agent that does not send its output");
    logs(lab.grpc).await.append(said(&action, MAC, &["by gRPC"])).await.unwrap();
    say("thimble", "A| by gRPC");
    let text = shown(lab.api, LOG, "stdout by gRPC").await;
    assert!(text.contains(" a0 syslog hook: while it runs") && text.contains(" a0 syslog A| by an agent"), "{text}");
    assert!(!text.contains("syslog A| by gRPC") && !text.contains("before any work"), "{text}");
    shown(lab.api, MACHINE_LOG, " - syslog kernel: before any work").await;
    lab.stop().await;
}

#[tokio::test]
async fn boots_on_another_host_hands_its_lines_over_and_progress_is_shown_with_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let (mut agent, action) = running(&lab, MAC).await;
    let api = process::Api::of(process::Addresses { grpc: lab.grpc, http: lab.http, api: lab.api, https: lab.api });
    let lines = serde_json::json!([{"mac": MAC, "tag": "thimble", "text": "A| progress 12.5%"}, {"address": "10.9.9.9", "text": "who am I"}]);
    assert_eq!(api.call(reqwest::Method::POST, SYSLOG, lines.to_string()).await.unwrap().0, 204);
    assert_eq!(api.call(reqwest::Method::POST, SYSLOG, "{}".to_owned()).await.unwrap().0, 422);
    shown(lab.api, LOG, "progress 12.5%").await;
    let machine = api::paths::machine(MAC);
    let get = async || api.call(reqwest::Method::GET, &machine, String::new()).await.unwrap().1["agent"]["progress"].clone();
    let becomes = async |percent: u8| {
        let wanted = serde_json::json!({"workflow": "default/w", "action": "a0", "percent": percent});
        let there = async || {
            while get().await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), there()).await.expect("it is stored within seconds");
    };
    becomes(12).await;
    logs(lab.grpc).await.append(said(&action, MAC, &["progress 45%", "still at it"])).await.unwrap();
    becomes(45).await;
    let state = "/apis/thimble.dev/v1alpha1/namespaces/default/machinestates/node-1";
    let workflow = "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w";
    for path in [state, workflow] {
        let status = api.call(reqwest::Method::GET, path, String::new()).await.unwrap().1["status"].clone();
        assert_eq!(
            (&status["progress"]["action"], &status["progress"]["percent"]),
            (&"a0".into(), &45.into()),
            "{path}: {status}"
        );
    }
    let status = api.call(reqwest::Method::GET, state, String::new()).await.unwrap().1["status"].clone();
    assert_eq!((&status["intent"], &status["lastStep"]), (&"install".into(), &"t/a0 RUNNING".into()), "{status}");
    assert_eq!((&status["log"], &status["workflowLog"]), (&MACHINE_LOG.into(), &LOG.into()));
    agent.say(&action, StateType::Success).await.unwrap();
    assert_eq!(get().await, serde_json::Value::Null);
    lab.stop().await;
}

#[test]
fn serving_process() {
    process::serve_if_asked();
}

#[tokio::test]
async fn lines_survive_a_kill_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("thimble.redb");
    let mut action = None;
    for round in 0..4 {
        let mut server = Process::start(&["--exact", "serving_process", "--nocapture"], &store, Duration::from_millis(50));
        let addresses = server.addresses().await.expect("the server ended");
        if round == 0 {
            let api = process::Api::of(addresses);
            assert_eq!(api.apply(everything()).await.unwrap().0, 200);
        }
        let mut agent = Agent { id: MAC.to_owned(), client: addresses.agent() };
        if action.is_none() {
            let given = agent.ask().await.unwrap();
            agent.say(&given, StateType::Running).await.unwrap();
            action = Some(given);
        }
        let mut logs = logs(addresses.grpc).await;
        for n in 0..50 {
            logs.append(said(action.as_ref().unwrap(), MAC, &[&format!("round {round} line {n}.")])).await.unwrap();
        }
        let text = shown(addresses.api, LOG, &format!("round {round} line 49.")).await;
        for earlier in 0..=round {
            assert!(text.contains(&format!("round {earlier} line 0.")) && text.contains(&format!("round {earlier} line 49.")));
        }
        server.kill();
    }
}

/// How long reports take, one after the other, while `during` is polled.
async fn reports(lab: &Lab, agents: &[String]) -> Vec<Duration> {
    let mut took = Vec::new();
    for id in agents {
        let mut agent = lab.agent(id).await;
        let action = agent.ask().await.unwrap();
        for state in [StateType::Running, StateType::Success] {
            let start = Instant::now();
            agent.say(&action, state).await.unwrap();
            took.push(start.elapsed());
        }
    }
    took.sort_unstable();
    took
}

fn objects(count: usize) -> (Vec<String>, String) {
    let macs: Vec<String> = (0..count).map(|n| format!("52:54:00:00:01:{n:02x}")).collect();
    let each = macs.iter().enumerate().map(|(n, mac)| {
        let hardware = hardware(&format!("node-{n}"), mac).replace("10.0.0.20", &format!("10.0.1.{}", n + 1));
        hardware + &workflow(&format!("w{n}"), "one", &format!("node-{n}"), mac)
    });
    let text = template("one", 1) + &each.collect::<String>();
    (macs, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_agent_neither_fills_the_disk_nor_delays_the_reports_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: Some(folder.path().join("thimble.redb")), ..config(folder.path()) };
    let lab = Lab::start(config).await;
    let (macs, text) = objects(61);
    apply(&lab.server, &text).await;
    let quiet = reports(&lab, &macs[1..31]).await;

    let (_flooding, action) = running(&lab, &macs[0]).await;
    let (request, address) = (said(&action, &macs[0], &["x".repeat(1000).as_str(); 50]), lab.grpc);
    let taken = Arc::new(AtomicU64::new(0));
    let (taking, began) = (Arc::clone(&taken), Instant::now());
    let flood = tokio::spawn(async move {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (mut logs, request, taking) = (logs(address).await, request.clone(), Arc::clone(&taking));
            calls.spawn(async move {
                while logs.append(request.clone()).await.is_ok() {
                    taking.fetch_add(50_000, Ordering::Relaxed);
                }
            });
        }
        std::future::pending::<()>().await;
        drop(calls);
    });
    let start = Instant::now();
    let loud = reports(&lab, &macs[31..61]).await;
    let elapsed = start.elapsed();
    flood.abort();
    let at = |took: &[Duration], percent: usize| took[took.len() * percent / 100];
    println!("60 reports without a flood: median {:?}, 95 % {:?}, worst {:?}", at(&quiet, 50), at(&quiet, 95), quiet[59]);
    println!(
        "60 reports during a flood:  median {:?}, 95 % {:?}, worst {:?} ({elapsed:?})",
        at(&loud, 50),
        at(&loud, 95),
        loud[59]
    );
    assert!(at(&loud, 95) < at(&quiet, 95) * 10 + Duration::from_millis(50), "reports wait for the flood");
    let (taken, seconds) = (taken.load(Ordering::Relaxed), began.elapsed().as_secs() + 1);
    println!("{taken} bytes were read in {seconds} s");
    assert!(taken < (seconds + 2) * (2 << 20) + 200_000, "the rest waits with the sender: {taken} bytes in {seconds} s");
    let files = std::fs::read_dir(of_workflow(folder.path(), "default_w0@")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let allowed = 6 * (1 << 20) * (elapsed.as_secs() + 6);
    println!("{bytes} bytes were written in {elapsed:?}");
    assert!(bytes < allowed, "{bytes}");
    lab.stop().await;
}

async fn call(router: &Router, role: Role, namespace: Option<&str>, method: &str, path: &str) -> (u16, String) {
    let namespaces = namespace.map(|namespace| BTreeSet::from([namespace.to_owned()]));
    let origin = Origin::Network { address: "10.0.0.9:1".parse().unwrap(), encrypted: true };
    let caller = Caller::new("alice", vec![Grant { role, namespaces }], origin, Proof::Certificate);
    let request = Request::builder().method(method).uri(path).extension(caller).body(Body::from("[]")).unwrap();
    let response = soon(router.clone().oneshot(request)).await.unwrap();
    let code = response.status().as_u16();
    (code, String::from_utf8(soon(to_bytes(response.into_body(), 1 << 20)).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn each_role_reads_the_logs_of_its_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::start(config(folder.path())).await;
    apply(&lab.server, &everything()).await;
    let (_agent, action) = running(&lab, MAC).await;
    logs(lab.grpc).await.append(said(&action, MAC, &["\u{1b}[2J the secret of my action"])).await.unwrap();
    shown(lab.api, LOG, "the secret").await;
    let router = server::http::for_callers(lab.server.clone());
    let (of_workflow, of_machine) = (LOG, MACHINE_LOG);
    use Role::{Admin, Boots, Operator, Viewer};
    for (role, namespace, method, path, expected) in [
        (Admin, None, "GET", of_workflow, 200),
        (Operator, Some("default"), "GET", of_workflow, 200),
        (Viewer, Some("default"), "GET", of_workflow, 200),
        (Viewer, Some("default"), "GET", of_machine, 200),
        (Viewer, Some("lab"), "GET", of_workflow, 403),
        (Viewer, Some("lab"), "GET", of_machine, 403),
        (Viewer, None, "POST", SYSLOG, 403),
        (Boots, None, "POST", SYSLOG, 204),
        (Boots, None, "GET", of_workflow, 403),
        (Admin, None, "DELETE", of_workflow, 405),
        (Admin, None, "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/other/log", 404),
        (Admin, None, "GET", "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows/w/log?sinceSeconds=soon", 400),
    ] {
        let (code, body) = call(&router, role, namespace, method, path).await;
        assert_eq!(code, expected, "{role} {namespace:?} {method} {path}: {body}");
        let is_log = expected == 200 && path.contains("workflows");
        assert!(!is_log || body.ends_with(" a0 stdout \\u{1b}[2J the secret of my action\n"), "{path}: {body}");
    }
    drop(router);
    lab.stop().await;
}
