use std::path::Path;

use access::Authority;
use jiff::{SignedDuration, Timestamp};
use model::{ActionState, parse_documents};

use super::*;
use crate::logs::{Output, OutputLine};
use crate::others::Myself;
use crate::progress::Report;
use crate::service::Config;
use crate::store::behind::Behind;
use crate::store::{Memory, Store};
use crate::{Assignment, SyslogLine};

const MAC: &str = "02:00:00:00:00:01";
const OBJECTS: &str = "apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: m}
spec: {interfaces: [{dhcp: {mac: '02:00:00:00:00:01'}, netboot: {allowPXE: true}}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Template
metadata: {name: t}
spec:
  data: |
    name: t
    tasks:
    - {name: t, worker: '02:00:00:00:00:01', actions: [{name: a, image: \"i:1\"}, {name: b, image: \"i:1\"}]}
---
apiVersion: tinkerbell.org/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {templateRef: t, hardwareRef: m}
";

/// A server of a site, with its files in this folder.
async fn server(store: &Arc<dyn Store>, id: &str, folder: &Path) -> Server {
    let behind = Behind::new(Arc::clone(store), Duration::from_millis(50)).await;
    let logs = Some((folder.join(id), crate::LogLimits::default()));
    let server = Server::on(Arc::new(behind), Config { logs, ..Config::default() }).await.unwrap();
    let authority = Arc::new(Authority::open(folder, Timestamp::now()).unwrap());
    let (id, host, url) = (id.to_owned(), format!("host-{id}"), format!("https://{id}:6443"));
    server.meet_others(Myself { id, host, url }, authority).await.unwrap();
    server
}

fn name() -> ObjectName {
    ObjectName::new("default", "w")
}

async fn named(server: &Server) -> Vec<String> {
    server.caught_up().await.unwrap();
    let view = server.view();
    view.workflows.get(&name()).unwrap().object.status.log_servers.iter().map(|one| one.id.clone()).collect()
}

async fn reports(server: &Server, given: &Assignment, state: ActionState) {
    let (task_id, action_id) = (given.task.id.clone(), given.action.id.clone());
    let report = Report { agent: AgentId::from(MAC), task_id, action_id, state, ..Report::default() };
    server.caught_up().await.unwrap();
    server.report(&given.workflow, &report).await.unwrap();
}

async fn gets_work(server: &Server) -> Assignment {
    server.caught_up().await.unwrap();
    server.agent_called(&AgentId::from(MAC), None, None);
    server.next_action(&AgentId::from(MAC)).await.unwrap()
}

fn says(server: &Server, text: &str) {
    let mac = MAC.parse().ok();
    server.keep_syslog(SyslogLine { mac, address: None, tag: "kernel", text }, Timestamp::now());
}

/// In the time of the test, and in the time that the threads of the logs need.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

#[tokio::test]
async fn a_report_of_an_agent_that_sends_its_output_names_the_server_and_a_line_elsewhere_costs_one_write() {
    let (folder, store): (_, Arc<dyn Store>) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let (one, other) = (server(&store, "one", folder.path()).await, server(&store, "other", folder.path()).await);
    one.apply(parse_documents(OBJECTS, "f").unwrap()).await.unwrap();
    let given = gets_work(&one).await;
    assert!(named(&one).await.is_empty(), "it has not said anything");
    one.0.agents.sends_output(&AgentId::from(MAC), true);
    reports(&one, &given, ActionState::Running).await;
    assert_eq!(named(&one).await, ["one"], "in the same write as the report");

    let (agent, workflow, action_id) = (AgentId::from(MAC), name(), given.action.id.clone());
    let lines = vec![OutputLine { text: "x".to_owned(), stderr: false, age: SignedDuration::ZERO }];
    one.keep_output(Output { agent, workflow, action_id, lines, dropped: 0 }, Timestamp::now()).unwrap();
    assert!(one.0.log_servers.is_empty(), "it is named already");
    other.caught_up().await.unwrap();
    says(&other, "first");
    until("the name of the other server", async || named(&other).await == ["one", "other"]).await;
    let modified = || other.view().workflows.get(&name()).unwrap().modified;
    let before = modified();
    (0..100).for_each(|_| says(&other, "more"));
    tokio::time::sleep(WRITE_EVERY).await;
    assert_eq!((modified(), other.0.log_servers.is_empty()), (before, true), "once for each server");

    // An agent that sends no output names no server that has no lines.
    let third = server(&store, "third", folder.path()).await;
    third.caught_up().await.unwrap();
    reports(&third, &given, ActionState::Success).await;
    assert_eq!(named(&one).await, ["one", "other"]);
    // What a rendering or a retry makes anew keeps the names.
    let log = one.history(&name()).await.unwrap().unwrap();
    assert!(log.iter().all(|entry| !entry.text.contains("other")), "they are not part of the event log: {log:?}");
}

#[tokio::test]
async fn a_start_names_the_server_in_what_its_files_have_and_only_then_its_lease_says_that_it_names_itself() {
    let (folder, store): (_, Arc<dyn Store>) = (tempfile::tempdir().unwrap(), Arc::new(Memory::default()));
    let one = server(&store, "one", folder.path()).await;
    one.apply(parse_documents(OBJECTS, "f").unwrap()).await.unwrap();
    let given = gets_work(&one).await;
    reports(&one, &given, ActionState::Running).await;
    // As an earlier version does it, which knows no names.
    let created = one.view().workflows.get(&name()).unwrap().created;
    let source = ::logs::Source::Workflow(format!("default/w@{created}"));
    {
        let logs = ::logs::Logs::open(&folder.path().join("other"), ::logs::Limits::default()).unwrap();
        let line = api::LogLine {
            time: Timestamp::now(),
            from: MAC.to_owned(),
            action: "a".to_owned(),
            stream: api::LogStream::Syslog,
            text: "before".to_owned(),
        };
        logs.append(&source, [line]);
    }
    assert!(named(&one).await.is_empty());
    let other = server(&store, "other", folder.path()).await;
    until("the name of the server", async || named(&one).await == ["other"]).await;
    let says_it = async |server: &Server| server.others().await.unwrap().iter().all(|other| other.names_itself);
    until("what the other's Lease says", async || says_it(&one).await).await;
    until("what the one's Lease says", async || says_it(&other).await).await;
}
