//! One order for many machines: waves, limits, failures, pauses, and a server that stops in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::Duration;

use api::{MemberState, RolloutChange, RolloutSpec, RolloutState};
use lab::{apply, soon, template};
use model::{Kind, ObjectName};
use server::{Config, RolloutError, Server};

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn spec() -> RolloutSpec {
    RolloutSpec {
        selector: "rack=7".into(),
        template_ref: "one".into(),
        worker_key: "device_1".into(),
        at_once: 2,
        waves: vec![1],
        stop_after: 1,
        machine_timeout: 0,
    }
}

/// Machines `m1`, `m2`, ... of rack 7, `other` of rack 8, and a template.
async fn site(server: &Server, machines: u8) {
    let hardware = |name: &str, rack: u8, number: u8| {
        let mac = format!("52:54:00:00:07:{number:02x}");
        lab::hardware(name, &mac)
            .replace("10.0.0.20", &format!("10.0.0.{}", 20 + number))
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{rack: '{rack}'}}}}"))
    };
    let mut text = template("one", 1) + &hardware("other", 8, 99);
    (1..=machines).for_each(|number| text += &hardware(&format!("m{number}"), 7, number));
    apply(server, &text).await;
}

async fn open(store: Option<&std::path::Path>) -> Server {
    let config = Config { store: store.map(Into::into), long_poll: Duration::ZERO, ..Config::default() };
    loop {
        match Server::open(config.clone()).await {
            Err(server::store::StoreError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => return other.unwrap(),
        }
    }
}

/// Waits for this list of machines and states, such as `m1=ordered m2=waiting`.
async fn until(server: &Server, expected: &str) {
    let mut last = String::new();
    let wait = async {
        loop {
            let progress = server.rollout(&name("r")).await.unwrap();
            last = progress.members.iter().map(|one| format!("{}={}", one.hardware, one.state)).collect::<Vec<_>>().join(" ");
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{last}, not {expected}");
}

async fn until_state(server: &Server, expected: RolloutState) -> String {
    soon(async {
        loop {
            let rollout = server.rollout(&name("r")).await.unwrap().rollout;
            if rollout.state == expected {
                return rollout.reason;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// The machine's agent takes its action and ends it.
async fn works(server: &Server, machine: u8, state: model::ActionState) {
    let agent = model::AgentId(format!("52:54:00:00:07:{machine:02x}"));
    let work = server.next_action(&agent).await.unwrap();
    let report = |state| server::progress::Report {
        agent: agent.clone(),
        task_id: work.task.id.clone(),
        action_id: work.action.id.clone(),
        state,
        message: "said by the test".into(),
        ..Default::default()
    };
    server.report(&work.workflow, &report(model::ActionState::Running)).await.unwrap();
    server.report(&work.workflow, &report(state)).await.unwrap();
}

#[tokio::test]
async fn machines_are_ordered_wave_by_wave_to_the_end() {
    let server = open(None).await;
    site(&server, 4).await;
    let planned = server.start_rollout(&name("r"), spec(), "ada", true).await.unwrap();
    assert_eq!(planned.waves, [vec!["m1"], vec!["m2", "m3", "m4"]]);
    assert!(server.rollouts().await.unwrap().is_empty(), "a dry run stores nothing");
    server.start_rollout(&name("r"), spec(), "ada", false).await.unwrap();
    until(&server, "m1=ordered m2=waiting m3=waiting m4=waiting").await;
    works(&server, 1, model::ActionState::Success).await;
    until(&server, "m1=succeeded m2=ordered m3=ordered m4=waiting").await;
    works(&server, 3, model::ActionState::Success).await;
    until(&server, "m1=succeeded m2=ordered m3=succeeded m4=ordered").await;
    works(&server, 2, model::ActionState::Success).await;
    works(&server, 4, model::ActionState::Success).await;
    assert_eq!(until_state(&server, RolloutState::Done).await, "4 succeeded, 0 failed, 0 withdrawn");
    let made = server.list(Kind::Workflow);
    assert_eq!(made.len(), 4, "one Workflow for each machine, none for the other rack");
    assert!(made.iter().all(|one| one["metadata"]["labels"]["thimble.dev/rollout"] == "r"), "{made:?}");
}

#[tokio::test]
async fn it_stops_at_a_failure_and_continues_when_a_person_resumes_it() {
    let server = open(None).await;
    site(&server, 3).await;
    server.start_rollout(&name("r"), spec(), "ada", false).await.unwrap();
    until(&server, "m1=ordered m2=waiting m3=waiting").await;
    works(&server, 1, model::ActionState::Failed).await;
    let reason = until_state(&server, RolloutState::Stopped).await;
    assert!(reason.starts_with("1 machine failed: m1 (action a0 ended FAILED"), "{reason}");
    until(&server, "m1=failed m2=waiting m3=waiting").await;
    let resumed = server.change_rollout(&name("r"), RolloutChange::Resume, "ada", "a bad cable").await.unwrap();
    assert_eq!((resumed.reason.as_str(), resumed.forgiven), ("resumed by ada: a bad cable", 1));
    until(&server, "m1=failed m2=ordered m3=ordered").await;
}

#[tokio::test]
async fn a_paused_rollout_begins_nothing_and_a_withdrawn_order_is_not_given_again() {
    let server = open(None).await;
    site(&server, 3).await;
    let at_once = RolloutSpec { waves: Vec::new(), at_once: 1, ..spec() };
    server.start_rollout(&name("r"), at_once, "ada", false).await.unwrap();
    until(&server, "m1=ordered m2=waiting m3=waiting").await;
    server.change_rollout(&name("r"), RolloutChange::Pause, "ada", "").await.unwrap();
    server.delete(Kind::Workflow, &name("r-m1"), false).await.unwrap();
    until(&server, "m1=withdrawn m2=waiting m3=waiting").await;
    server.cancel(&name("r-m1"), "none", true).await.unwrap_err();
    assert_eq!(server.machine_named("m1").unwrap().state.unwrap().decision.intent, api::Intent::Inventory);
    server.change_rollout(&name("r"), RolloutChange::Resume, "ada", "").await.unwrap();
    until(&server, "m1=withdrawn m2=ordered m3=waiting").await;
    server.cancel(&name("r-m2"), "wrong machine", true).await.unwrap();
    until(&server, "m1=withdrawn m2=withdrawn m3=ordered").await;
}

#[tokio::test]
async fn a_restarted_server_continues_a_rollout_and_orders_no_machine_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let server = open(Some(&store)).await;
    site(&server, 3).await;
    server.start_rollout(&name("r"), spec(), "ada", false).await.unwrap();
    until(&server, "m1=ordered m2=waiting m3=waiting").await;
    let id = server.get(Kind::Workflow, &name("r-m1")).unwrap()["status"]["tasks"][0]["id"].clone();
    drop(server);
    let server = open(Some(&store)).await;
    assert_eq!(server.get(Kind::Workflow, &name("r-m1")).unwrap()["status"]["tasks"][0]["id"], id);
    works(&server, 1, model::ActionState::Success).await;
    until(&server, "m1=succeeded m2=ordered m3=ordered").await;
}

#[tokio::test]
async fn a_machine_that_cannot_be_ordered_is_refused_before_the_rollout_begins() {
    let server = open(None).await;
    site(&server, 2).await;
    apply(&server, &lab::workflow("busy", "one", "m2", "52:54:00:00:07:02")).await;
    for (case, expected) in [
        (RolloutSpec { selector: "rack=9".into(), ..spec() }, "no Hardware of namespace default matches the selector \"rack=9\""),
        (RolloutSpec { selector: String::new(), ..spec() }, "an empty selector would select every machine"),
        (RolloutSpec { selector: "rack 7".into(), ..spec() }, "\"rack 7\" is not a requirement of a label selector"),
        (RolloutSpec { template_ref: "two".into(), ..spec() }, "Template default/two does not exist"),
        (RolloutSpec { at_once: 0, ..spec() }, "`at once` must be at least 1"),
        (RolloutSpec { waves: vec![0], ..spec() }, "`at once` must be at least 1"),
        (spec(), "m2: workflow default/busy has not ended"),
    ] {
        let refused = server.start_rollout(&name("r"), case, "ada", false).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let unknown = server.rollout(&name("r")).await.unwrap_err();
    assert!(matches!(unknown, RolloutError::Unknown(_)), "{unknown}");
    assert_eq!(server.list(Kind::Workflow).len(), 1);
}

#[tokio::test]
async fn a_machine_that_never_finishes_counts_as_failed_after_its_time() {
    let server = open(None).await;
    site(&server, 2).await;
    let hurried = RolloutSpec { machine_timeout: 1, ..spec() };
    server.start_rollout(&name("r"), hurried, "ada", false).await.unwrap();
    let reason = until_state(&server, RolloutState::Stopped).await;
    assert!(reason.starts_with("1 machine failed: m1 (not finished within 1 s"), "{reason}");
    let members = server.rollout(&name("r")).await.unwrap().members;
    assert_eq!(members[1].state, MemberState::Waiting);
}
