//! A workflow file instead of a server: the same containers, log lines and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::Running;
use serde_json::{Value, json};

/// Runs the file until the agent ends, and returns its exit code.
async fn run(lab: &Lab, file: &Value) -> Option<i32> {
    let path = lab.state.path().join("workflow.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let mut agent = lab.agent_with(&[("AGENT_WORKFLOW_PATH", path.to_str().unwrap())]);
    let status = tokio::time::timeout(Duration::from_secs(60), agent.wait()).await;
    status.unwrap_or_else(|_| panic!("the agent does not end:\n{}", lab.text())).unwrap().code()
}

fn shell(lab: &Lab, name: &str, script: &str) -> Value {
    json!({ "name": name, "image": lab.image, "command": ["/bin/sh", "-c", script], "volumes": ["/worker:/worker", "data:/data"] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_runs_in_order_and_its_last_action_decides_the_exit_code() {
    let lab = Lab::new().await;
    let (first, second) = (shell(&lab, "first", "echo $FROM > /data/x"), shell(&lab, "second", "cat /data/x"));
    let template =
        json!({ "version": "0.1", "name": "debian", "tasks": [{ "name": "os", "worker": "m", "actions": [first, second] }] });
    assert_eq!(run(&lab, &template).await, Some(0), "{}", lab.text());
    let lines = ["workflow debian action first: SUCCESS in ", "A| image", "workflow debian action second: SUCCESS in "];
    let found: Vec<_> = lines.iter().map(|line| lab.text().find(line)).collect();
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{}", lab.text());
    assert!(!lab.text().contains("connected to"), "no server must be called\n{}", lab.text());

    let list = json!([shell(&lab, "fails", "exit 3"), shell(&lab, "never", "echo never ran")]);
    assert_eq!(run(&lab, &list).await, Some(1), "{}", lab.text());
    assert!(lab.text().contains("action fails: FAILED in ") && !lab.text().contains("never ran"), "{}", lab.text());

    let reboot = json!([shell(&lab, "asks", "touch /worker/reboot"), shell(&lab, "after", "true")]);
    assert_eq!(run(&lab, &reboot).await, Some(80), "{}", lab.text());
    assert_eq!(run(&lab, &json!([shell(&lab, "anew", "true")])).await, Some(0), "an old request does not count");
    lab.assert_clean();

    assert_eq!(run(&lab, &json!([])).await, Some(2));
    assert!(lab.text().contains("the file has no action"), "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_has_one_agent() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    lab.run(lab.shell("up", "true")).await;
    assert_eq!(run(&lab, &json!([shell(&lab, "second", "echo never ran")])).await, Some(1));
    assert!(lab.text().contains("another agent runs on this machine"), "{}", lab.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_stopped_also_stops_its_action() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.server.push(ActionResponse { namespaces: host_pid(), ..lab.shell("long", "echo begun; sleep 1000") });
    let begun = async {
        while !lab.text().contains("A| begun") {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the action should begin");
    let pid = rustix::process::Pid::from_raw(agent.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(20), agent.wait()).await.expect("the end").unwrap();
    assert_eq!(status.code(), Some(0), "{}", lab.text());
    assert!(lab.text().contains("ended the processes that were still running"), "{}", lab.text());
    lab.assert_clean();
    let reports = lab.server.shared.script.lock().unwrap().reports.clone();
    assert!(reports.iter().all(|r| r.action_state() == Running), "a stopped action is neither a success nor a failure");
}

fn host_pid() -> Option<proto::Namespaces> {
    Some(proto::Namespaces { pid: Some("host".into()), network: None })
}
