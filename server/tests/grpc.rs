//! Agents and the server over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use api::What;
use lab::lines::{lines_with, listen};
use lab::{Agent, Lab, MAC, apply, everything, hardware, soon, template, workflow};
use model::{Kind, ObjectName};
use proto::action_status_request::StateType;
use server::Config;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

#[tokio::test]
async fn an_agent_works_through_its_workflow() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let first = agent.ask().await.unwrap();
    assert_eq!((first.workflow_id.as_deref(), first.name.as_deref(), first.timeout), (Some("default/w"), Some("a0"), Some(60)));
    assert_eq!(
        (first.environment.clone(), first.volumes.clone()),
        (vec!["A=1".to_owned(), "N=00".to_owned()], vec!["/dev:/dev".to_owned()])
    );
    assert_eq!(first.command, ["/dev/vda"]);
    assert_eq!(first.pid.as_deref(), Some(""), "empty, but present, as Go sends it");
    assert_eq!(agent.ask().await.unwrap().action_id, first.action_id, "the same again until it is done");
    assert_eq!((agent.work().await, agent.work().await), ("a0".to_owned(), "a1".to_owned()));
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS");
    let json = lab.server.get(Kind::Workflow, &"w".parse().unwrap()).unwrap();
    assert_eq!(json["status"]["tasks"][0]["actions"][0]["executionDuration"], "3s250ms");
    let refused = agent.ask().await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "Workflow not in pending or running state"));
    assert!(!refused.details().is_empty());
}

#[tokio::test]
async fn an_action_comes_with_the_name_of_the_image_after_it_in_metadata() {
    let lab = Lab::hasty().await;
    let template = template("two", 2).replacen("actions:v1", "first:v1", 1);
    apply(&lab.server, &(hardware("node-1", MAC) + &template + &workflow("w", "two", "node-1", MAC))).await;
    let mut agent = lab.agent(MAC).await;
    let mut named = Vec::new();
    for _ in 0..2 {
        let request = proto::ActionRequest { agent_id: Some(MAC.into()), agent_attributes: None };
        let answer = agent.client.get_action(request).await.unwrap();
        let next = answer.metadata().get_bin(proto::next_image::NEXT_IMAGE).map(|value| value.to_bytes().unwrap());
        named.push((answer.into_inner().image.unwrap(), next.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())));
        agent.work().await;
    }
    assert_eq!(named, [("first:v1".to_owned(), Some("actions:v1".to_owned())), ("actions:v1".to_owned(), None)]);
}

#[tokio::test]
async fn a_call_that_says_how_long_it_waits_is_held_longer() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &hardware("node-1", MAC)).await;
    let mut agent = lab.agent(MAC).await;
    let mut request = tonic::Request::new(proto::ActionRequest { agent_id: Some(MAC.into()), agent_attributes: None });
    request.set_timeout(Duration::from_secs(2));
    let asked = Instant::now();
    let refused = soon(agent.client.get_action(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "it is answered before its deadline");
    assert!(asked.elapsed() >= Duration::from_millis(200), "four times as long as others: {:?}", asked.elapsed());
}

#[tokio::test]
async fn refusals_carry_tinkerbells_codes() {
    let lab = Lab::hasty().await;
    let (mut nameless, mut stranger, mut agent) = (lab.agent("").await, lab.agent("stranger").await, lab.agent(MAC).await);
    let seen = |status: tonic::Status| (status.code(), status.message().to_owned());
    assert_eq!(seen(nameless.ask().await.unwrap_err()), (Code::InvalidArgument, "invalid Agent ID".to_owned()));
    assert_eq!(seen(stranger.ask().await.unwrap_err()), (Code::NotFound, "no Workflows found".to_owned()));
    apply(&lab.server, &everything()).await;
    let action = agent.ask().await.unwrap();
    let good = agent.request(&action, StateType::Running);
    for (case, request, expected) in [
        (
            "no workflow",
            proto::ActionStatusRequest { workflow_id: None, ..good.clone() },
            (Code::InvalidArgument, "invalid workflow id"),
        ),
        (
            "no task",
            proto::ActionStatusRequest { task_id: Some(String::new()), ..good.clone() },
            (Code::InvalidArgument, "invalid task name"),
        ),
        (
            "no action",
            proto::ActionStatusRequest { action_id: None, ..good.clone() },
            (Code::InvalidArgument, "invalid action name"),
        ),
        (
            "no state",
            proto::ActionStatusRequest { action_state: None, ..good.clone() },
            (Code::InvalidArgument, "invalid action state"),
        ),
        (
            "other action",
            proto::ActionStatusRequest { action_id: Some("x".into()), ..good.clone() },
            (Code::NotFound, "action not found"),
        ),
        (
            "other agent",
            proto::ActionStatusRequest { agent_id: Some("x".into()), ..good.clone() },
            (Code::NotFound, "action not found"),
        ),
        (
            "other workflow",
            proto::ActionStatusRequest { workflow_id: Some("default/x".into()), ..good.clone() },
            (Code::NotFound, "error getting workflow: default/x does not exist"),
        ),
    ] {
        let refused = agent.client.report_action_status(request).await.unwrap_err();
        assert_eq!(seen(refused), (expected.0, expected.1.to_owned()), "{case}");
    }
}

#[tokio::test]
async fn a_held_call_is_answered_as_soon_as_there_is_work() {
    let lab = Lab::start(Config::default()).await;
    let mut events = lab.server.events(None);
    let agents: Vec<_> = (0..8).map(|n| format!("agent-{n}")).collect();
    let mut waiting = Vec::new();
    for id in &agents {
        let mut agent = lab.agent(id).await;
        waiting.push(tokio::spawn(async move { agent.ask().await }));
    }
    let mut known = 0;
    while known < agents.len() {
        known += usize::from(matches!(soon(events.next()).await.unwrap().what, What::Agent { .. }));
    }
    // All calls are held now; 20 s is less than the 55 s after which they would be answered anyway.
    apply(&lab.server, &(hardware("node-1", MAC) + &template("two", 2))).await;
    for id in agents.iter().rev() {
        apply(&lab.server, &workflow(&format!("w-{id}"), "two", "node-1", id)).await;
    }
    for (id, call) in agents.iter().zip(waiting) {
        assert_eq!(soon(call).await.unwrap().unwrap().workflow_id, Some(format!("default/w-{id}")));
    }
}

#[tokio::test]
async fn a_failure_ends_the_workflow_and_late_reports_change_nothing() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    agent.say(&action, StateType::Failed).await.unwrap();
    agent.say(&action, StateType::Failed).await.unwrap(); // the acknowledgement was lost
    for late in [StateType::Running, StateType::Success, StateType::Timeout] {
        assert_eq!(agent.say(&action, late).await.unwrap_err().code(), Code::FailedPrecondition);
    }
    assert_eq!(lab.state("w"), "FAILED FAILED,PENDING");
    assert_eq!(agent.ask().await.unwrap_err().code(), Code::FailedPrecondition);
    apply(&lab.server, &workflow("again", "two", "node-1", MAC)).await;
    assert_eq!(
        agent.ask().await.unwrap().workflow_id.as_deref(),
        Some("default/again"),
        "a failed workflow does not hide a new one"
    );
}

#[tokio::test]
async fn a_deleted_workflow_is_not_found_by_the_next_report() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    lab.server.delete(Kind::Workflow, &ObjectName::new("default", "w"), false).await.unwrap();
    assert_eq!(agent.say(&action, StateType::Success).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_report_counts_even_if_its_sender_has_disconnected() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    let mut events = lab.server.events(None);
    let (request, mut client) = (agent.request(&action, StateType::Running), agent.client.clone());
    let call = tokio::spawn(async move { client.report_action_status(request).await });
    // However far the call came, its work is finished. A repeated report then finds the same state.
    tokio::task::yield_now().await;
    call.abort();
    agent.say(&action, StateType::Running).await.unwrap();
    loop {
        if let What::Action { state, .. } = &soon(events.next()).await.unwrap().what {
            assert_eq!(state.as_str(), "RUNNING");
            break;
        }
    }
    assert_eq!(lab.state("w"), "RUNNING RUNNING,PENDING");
}

#[tokio::test]
async fn an_interrupted_agent_gets_its_action_again_and_the_attempts_are_counted() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    let mut agent = lab.agent(MAC).await; // the machine lost its power
    assert_eq!(agent.ask().await.unwrap().action_id, action.action_id);
    assert_eq!((agent.work().await, agent.work().await), ("a0".to_owned(), "a1".to_owned()));
    let json = lab.server.get(Kind::Workflow, &"w".parse().unwrap()).unwrap();
    assert_eq!(json["status"]["tasks"][0]["actions"][0]["attempts"], 3, "handed out three times: {json}");
    assert!(json["status"]["message"].as_str().unwrap().contains("interrupted attempts were repeated"), "{json}");
}

#[tokio::test]
async fn held_calls_end_when_the_server_stops() {
    let lab = Lab::start(Config::default()).await;
    let mut events = lab.server.events(None);
    let mut agent = lab.agent("a").await;
    let waiting = tokio::spawn(async move { agent.ask().await });
    assert!(matches!(soon(events.next()).await.unwrap().what, What::Agent { .. }));
    lab.stop().await;
    let ended = soon(waiting).await.unwrap().unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "server shutting down"));
}

/// A machine that lost power, and a client that stops in the middle of a request. Neither closes its connection.
#[tokio::test]
async fn connections_that_stay_open_do_not_delay_the_end() {
    let lab = Lab::start(Config::default()).await;
    let mut silent = tokio::net::TcpStream::connect(lab.grpc).await.unwrap();
    let settings_and_headers = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &get_action_headers()].concat();
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    silent.write_all(&settings_and_headers).await.unwrap();
    let mut stranger = tokio::net::TcpStream::connect(lab.api).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n", api::paths::APPLY);
    stranger.write_all(head.as_bytes()).await.unwrap();
    soon(silent.read_u8()).await.unwrap(); // the server's settings show that it has accepted the connection
    lab.stop().await;
}

/// HEADERS of a call on stream 1 whose message never comes, its fields as literals (RFC 7541 section 6.2.2).
fn get_action_headers() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/proto.WorkflowService/GetAction"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    [&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1][..], &block].concat()
}

/// The call that Thimble's agent makes while it runs an action of `w`.
async fn stop_reason(agent: &Agent) -> tonic::Status {
    told_of(agent, b"default/w").await
}

async fn told_of(agent: &Agent, workflow: &'static [u8]) -> tonic::Status {
    let mut request = tonic::Request::new(proto::ActionRequest { agent_id: Some(agent.id.clone()), agent_attributes: None });
    request.metadata_mut().insert_bin(proto::watch::WORKFLOW, tonic::metadata::MetadataValue::from_bytes(workflow));
    soon(agent.client.clone().get_action(request)).await.unwrap_err()
}

#[tokio::test]
async fn an_agent_cannot_watch_the_workflow_of_another_one() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything()).await;
    listen();
    let refused = stop_reason(&lab.agent("02:00:00:00:00:99").await).await;
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "Task not assigned to Agent"));
    assert_eq!(lines_with("agent=02:00:00:00:00:99 watches it and is refused").len(), 1);
    lab.stop().await;
}

#[tokio::test]
async fn a_running_action_is_stopped_when_its_workflow_is_cancelled_or_deleted() {
    for delete in [false, true] {
        let lab = Lab::start(Config::default()).await;
        apply(&lab.server, &everything()).await;
        let mut agent = lab.agent(MAC).await;
        let action = agent.ask().await.unwrap();
        let running = agent.request(&action, StateType::Running);
        let answer = agent.client.report_action_status(running).await.unwrap();
        assert!(answer.metadata().contains_key(proto::watch::OFFER), "the agent learns that the server offers it");
        let watching = tokio::spawn({
            let agent = agent.clone();
            async move { stop_reason(&agent).await }
        });
        let name = ObjectName::new("default", "w");
        if delete {
            lab.server.delete(Kind::Workflow, &name, false).await.unwrap();
        } else {
            lab.server.cancel(&name, "falsche Maschine, größer", false).await.unwrap();
        }
        let told = soon(watching).await.unwrap();
        let why = if delete { "workflow default/w was deleted" } else { "falsche Maschine, größer" };
        assert_eq!((told.code(), told.message()), (Code::Aborted, why));
        if !delete {
            assert_eq!(lab.state("w"), "RUNNING RUNNING,PENDING", "the action has not ended yet");
            agent.say(&action, StateType::Failed).await.unwrap();
            assert_eq!(lab.state("w"), "FAILED FAILED,PENDING");
        }
    }
}

#[tokio::test]
async fn an_action_that_may_continue_is_not_stopped_and_not_handed_out_again() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    assert_eq!(stop_reason(&agent).await.code(), Code::NotFound);
    let json = lab.server.get(Kind::Workflow, &"w".parse().unwrap()).unwrap();
    assert_eq!(json["status"]["tasks"][0]["actions"][0]["attempts"], 1, "{json}");
}

#[tokio::test]
async fn a_cancelled_workflow_ends_even_if_its_agent_cannot_be_stopped() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let (mut agent, name) = (lab.agent(MAC).await, ObjectName::new("default", "w"));
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    lab.server.cancel(&name, "why", false).await.unwrap();
    agent.say(&action, StateType::Success).await.unwrap();
    assert_eq!(lab.state("w"), "FAILED SUCCESS,PENDING");
    assert_eq!(agent.ask().await.unwrap_err().code(), Code::FailedPrecondition);

    // An agent whose machine lost power comes back and asks. It no longer runs an action.
    apply(&lab.server, &workflow("v", "two", "node-1", MAC)).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    lab.server.cancel(&ObjectName::new("default", "v"), "why", false).await.unwrap();
    assert_eq!(lab.state("v"), "RUNNING RUNNING,PENDING");
    assert_eq!(agent.ask().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(lab.state("v"), "FAILED FAILED,PENDING");
}

#[tokio::test]
async fn a_retried_workflow_hands_its_failed_action_out_anew_and_late_reports_of_the_first_order_do_not_count() {
    let lab = Lab::hasty().await;
    apply(&lab.server, &everything()).await;
    let (mut agent, name) = (lab.agent(MAC).await, ObjectName::new("default", "w"));
    agent.work().await;
    let first = agent.ask().await.unwrap();
    agent.say(&first, StateType::Running).await.unwrap();
    agent.say(&first, StateType::Failed).await.unwrap();
    assert_eq!(lab.state("w"), "FAILED SUCCESS,FAILED");
    let retry = api::WorkflowChange::Retry { from: None };
    lab.server.change_workflow(&name, &retry, "ada", "new disk").await.unwrap();
    assert_eq!(lab.state("w"), "RUNNING SUCCESS,PENDING", "what succeeded keeps its state");
    let machine = lab.server.machine(MAC.parse().unwrap()).unwrap();
    assert_eq!(machine.boot.word(), "install");
    let decision = machine.state.unwrap().decision;
    let reason = "workflow default/w was ordered again from action a1 by ada: new disk";
    assert_eq!((decision.by.as_str(), decision.reason.as_str()), ("ada", reason));
    // The journal of an agent whose machine lost power delivers an old result.
    for state in [StateType::Success, StateType::Failed, StateType::Running] {
        let refused = agent.say(&first, state).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    let second = agent.ask().await.unwrap();
    assert_eq!((second.name.as_deref(), second.action_id == first.action_id), (Some("a1"), false));
    agent.say(&second, StateType::Running).await.unwrap();
    assert_eq!(agent.say(&first, StateType::Success).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(lab.state("w"), "RUNNING SUCCESS,RUNNING");
    agent.say(&second, StateType::Success).await.unwrap();
    assert_eq!(lab.state("w"), "SUCCESS SUCCESS,SUCCESS");
    let refused = lab.server.change_workflow(&name, &retry, "ada", "").await.unwrap_err();
    assert!(refused.to_string().contains("`thimble workflow rerun`"), "{refused}");
}

#[tokio::test]
async fn a_paused_workflow_hands_out_nothing_and_a_resumed_one_wakes_its_agent() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything()).await;
    let (mut agent, name) = (lab.agent(MAC).await, ObjectName::new("default", "w"));
    let first = agent.ask().await.unwrap();
    agent.say(&first, StateType::Running).await.unwrap();
    let mut events = lab.server.events(None);
    let paused = lab.server.change_workflow(&name, &api::WorkflowChange::Pause, "ada", "").await.unwrap();
    let heard = soon(events.next()).await.unwrap().what.clone();
    assert!(matches!(&heard, What::Workflow { message, .. } if message == "paused by ada"), "{heard:?}");
    assert_eq!(paused.message, "paused; action a0 continues to its end");
    agent.say(&first, StateType::Success).await.unwrap();
    let waiting = tokio::spawn(async move { agent.ask().await });
    lab.server.change_workflow(&name, &api::WorkflowChange::Resume, "ada", "").await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap().name.as_deref(), Some("a1"));
}

#[tokio::test]
async fn the_global_timeout_stops_the_running_action_as_a_cancel_does() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything().replace("    name: two\n", "    name: two\n    global_timeout: 1\n")).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    let told = stop_reason(&agent).await;
    let why = "the workflow is TIMEOUT: the workflow's global timeout of 1 s has passed";
    assert_eq!((told.code(), told.message()), (Code::Aborted, why));
    assert_eq!(lab.state("w"), "TIMEOUT TIMEOUT,PENDING");
    assert_eq!(agent.say(&action, StateType::Failed).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn only_an_agent_of_a_workflow_can_watch_it_and_read_why_it_was_cancelled() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything()).await;
    let mut agent = lab.agent(MAC).await;
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    let stranger = lab.agent("52:54:00:99:99:99").await;
    let refused = stop_reason(&stranger).await;
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "Task not assigned to Agent"), "while it runs");
    lab.server.cancel(&ObjectName::new("default", "w"), "the key is 1234", false).await.unwrap();
    let refused = stop_reason(&stranger).await;
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "Task not assigned to Agent"), "after the cancel");
    assert_eq!(stop_reason(&agent).await.message(), "the key is 1234");
}

#[tokio::test]
async fn an_agent_that_still_runs_an_action_of_an_earlier_order_is_stopped() {
    let lab = Lab::start(Config::default()).await;
    apply(&lab.server, &everything()).await;
    let (mut agent, name) = (lab.agent(MAC).await, ObjectName::new("default", "w"));
    let action = agent.ask().await.unwrap();
    agent.say(&action, StateType::Running).await.unwrap();
    lab.server.cancel(&name, "why", true).await.unwrap();
    lab.server.change_workflow(&name, &api::WorkflowChange::Retry { from: None }, "ada", "").await.unwrap();
    let told = stop_reason(&agent).await;
    assert_eq!(
        (told.code(), told.message()),
        (Code::Aborted, "no action of workflow default/w is RUNNING on agent 52:54:00:12:34:56")
    );
    assert_ne!(agent.ask().await.unwrap().action_id, action.action_id);
}
