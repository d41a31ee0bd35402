//! The image of the next action is pulled while an action runs, if the server names it.
//!
//! Needs root, as `containers.rs` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/lab.rs"]
mod lab;
#[path = "../../oci/tests/support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use lab::Lab;
use proto::ActionResponse;
use proto::action_status_request::StateType::{Failed, Success};
use server::{action, message};

/// Runs until the test opens the gate.
fn waits_at_the_gate(lab: &Lab, id: &str) -> ActionResponse {
    std::fs::create_dir_all(lab.state.path().join("gate")).unwrap();
    let script = "until [ -e /gate/open ]; do sleep 0.05; done; exit $(cat /gate/open)";
    ActionResponse { volumes: vec!["/run/gate:/gate".into()], ..lab.shell(id, script) }
}

fn open_the_gate(lab: &Lab, exit_code: &str) {
    std::fs::write(lab.state.path().join("gate/new"), exit_code).unwrap();
    std::fs::rename(lab.state.path().join("gate/new"), lab.state.path().join("gate/open")).unwrap();
}

fn name_next(lab: &Lab, image: Option<&str>) {
    lab.server.shared.script.lock().unwrap().next_image = image.map(str::to_owned);
}

fn next_image(lab: &Lab) -> String {
    lab.image("next", r#"{"Cmd":["/bin/cat","/etc/next"]}"#, &[("etc/next", "from the next image")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_image_is_pulled_when_the_action_ends() {
    let lab = Lab::new().await;
    let next = next_image(&lab);
    name_next(&lab, Some(&next));
    let _agent = lab.agent();
    lab.server.push(waits_at_the_gate(&lab, "first"));
    let pulled = format!("pulled {next} for the next action");
    lab.until("the next image", || lab.text().contains(&pulled)).await;
    assert!(lab.server.states().iter().all(|state| *state != Success), "the action must still run");
    let blobs = lab.registry.requests("next/blobs/");
    name_next(&lab, None);
    open_the_gate(&lab, "0");
    assert_eq!(lab.ended("first").await.action_state(), Success);

    let second = lab.run(action("second", &next)).await;
    assert_eq!(second.action_state(), Success, "{}\n{}", message(&second), lab.text());
    assert!(lab.text().contains("A| from the next image"), "{}", lab.text());
    assert_eq!((blobs, lab.registry.requests("next/blobs/")), (3, 3), "a configuration and two layers, once");
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_ahead_does_not_harm_the_running_action() {
    let lab = Lab::new().await;
    let missing = lab.image.replace("busybox", "missing");
    let _agent = lab.agent();
    for (case, named) in [
        ("it does not exist", missing.as_str()),
        ("no registry answers", "127.0.0.1:1/nowhere:v1"),
        ("its name is not valid", "not a name"),
    ] {
        name_next(&lab, Some(named));
        let _ = std::fs::remove_file(lab.state.path().join("gate/open"));
        lab.server.push(waits_at_the_gate(&lab, case));
        let said = format!("{named} is not pulled before the next action: ");
        lab.until(case, || lab.text().contains(&said)).await;
        open_the_gate(&lab, "0");
        assert_eq!(lab.ended(case).await.action_state(), Success, "{case}");
    }
    name_next(&lab, None);
    let report = lab.run(action("last", &missing)).await;
    assert!(message(&report).starts_with("ImageNotFound: "), "{}", message(&report));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_the_policy_forbids_is_not_pulled_ahead() {
    let lab = Lab::new().await;
    let next = next_image(&lab);
    name_next(&lab, Some(&next));
    let policy = format!(r#"{{"images":["{}"]}}"#, lab.image);
    let _agent = lab.agent_with_policy(&policy);
    lab.server.push(waits_at_the_gate(&lab, "first"));
    lab.until("the action", || lab.text().contains("action first: running")).await;
    open_the_gate(&lab, "0");
    assert_eq!(lab.ended("first").await.action_state(), Success, "{}", lab.text());
    assert_eq!(lab.run(action("second", &next)).await.action_state(), Failed);
    assert_eq!(lab.registry.requests("next/"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_ahead_ends_when_another_image_is_needed_first() {
    let lab = Lab::new().await;
    let next = next_image(&lab);
    lab.registry.trouble("next/manifests/latest", &[registry::Trouble::Dribble]);
    name_next(&lab, Some(&next));
    let _agent = lab.agent();
    lab.server.push(waits_at_the_gate(&lab, "first"));
    lab.until("the pull to begin", || lab.registry.requests("next/") > 0).await;
    name_next(&lab, None);
    open_the_gate(&lab, "0");
    assert_eq!(lab.ended("first").await.action_state(), Success);
    assert_eq!(lab.run(lab.shell("second", "true")).await.action_state(), Success, "{}", lab.text());
    assert_eq!(lab.run(action("third", &next)).await.action_state(), Success, "{}", lab.text());
}
