use model::{AgentId, Document};

use super::super::{Command, Happened, Idle, Next, Refused, Report, act, begin, next_action};
use super::*;

const A: &str = "agent";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// A workflow whose actions have these keys, such as `retries: 2`.
fn workflow(actions: &[&str]) -> Workflow {
    let actions: String = actions.iter().enumerate().map(|(n, keys)| format!("  - {{name: a{n}, image: i, {keys}}}\n")).collect();
    let text = format!("name: d\ntasks:\n- name: t\n  worker: {A}\n  actions:\n{actions}");
    let mut workflow = Workflow {
        api_version: String::new(),
        kind: String::new(),
        metadata: model::Metadata::default(),
        spec: model::WorkflowSpec::default(),
        status: WorkflowStatus::default(),
    };
    let mut id = 0;
    begin(&mut workflow, Document::parse(&text, "t").unwrap(), || {
        id += 1;
        format!("id{id}")
    });
    workflow
}

fn current_id(workflow: &Workflow) -> String {
    current(workflow).unwrap().3.id.clone()
}

/// Hands out and reports like an agent. Returns the words of what happened.
fn run(workflow: &mut Workflow, state: ActionState, second: i64) -> Vec<&'static str> {
    let agent = AgentId::from(A);
    let mut happened = act(workflow, &Command::HandOut { agent: &agent }, at(second)).unwrap();
    let id = current_id(workflow);
    for state in [ActionState::Running, state] {
        happened.extend(report(workflow, &id, state, second).unwrap());
    }
    happened.iter().map(|happened| happened.fact.word()).collect()
}

fn report(workflow: &mut Workflow, id: &str, state: ActionState, second: i64) -> Result<Vec<Happened>, Refused> {
    let report = Report { agent: A.into(), action_id: id.to_owned(), state, message: "why".into(), ..Report::default() };
    act(workflow, &Command::Report(&report), at(second))
}

fn expire(workflow: &mut Workflow, second: i64) -> Vec<&'static str> {
    act(workflow, &Command::Expire, at(second)).unwrap().iter().map(|happened| happened.fact.word()).collect()
}

/// `STATE: NAME STATE, ...`.
fn shown(workflow: &Workflow) -> String {
    let actions = workflow.status.tasks.iter().flat_map(|task| &task.actions);
    let actions: Vec<String> = actions.map(|action| format!("{} {}", action.name, action.state)).collect();
    format!("{}: {}", workflow.status.state.unwrap(), actions.join(", "))
}

#[test]
fn the_pause_doubles_up_to_five_minutes() {
    let pauses: Vec<i64> = (1..=9).map(|failed| pause(failed).as_secs()).collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(pause(u32::MAX).as_secs(), 300);
}

#[test]
fn a_failed_action_runs_again_as_often_as_it_may() {
    let mut w = workflow(&["retries: 2", ""]);
    assert_eq!(run(&mut w, ActionState::Failed, 0), ["handedOut", "reported", "reported", "retryScheduled"]);
    assert_eq!(w.status.message, "action a0 ended FAILED in attempt 1: why; attempt 2 of 3 begins at 1970-01-12T13:46:45Z");
    assert_eq!(next_action(&w, &A.into()), Next::Idle(Idle::BackingOff), "nothing is handed out in the pause");
    assert_eq!((deadline(&w), expire(&mut w, 4).len()), (Some(at(5)), 0));
    assert_eq!(expire(&mut w, 5), ["retryDue"]);
    assert_eq!(run(&mut w, ActionState::Timeout, 6), ["handedOut", "reported", "reported", "retryScheduled"]);
    assert_eq!(deadline(&w), Some(at(16)));
    expire(&mut w, 16);
    assert_eq!(run(&mut w, ActionState::Success, 17), ["handedOut", "reported", "reported"]);
    assert_eq!(shown(&w), "RUNNING: a0 SUCCESS, a1 PENDING");
    run(&mut w, ActionState::Success, 18);
    act(&mut w, &Command::Finish { netboot_closed: false }, at(19)).unwrap();
    assert_eq!(w.status.message, "all actions succeeded; 2 failed attempts were repeated");

    let mut w = workflow(&["retries: 1"]);
    run(&mut w, ActionState::Failed, 0);
    expire(&mut w, 5);
    assert_eq!(run(&mut w, ActionState::Failed, 6), ["handedOut", "reported", "reported"]);
    assert_eq!(
        (shown(&w).as_str(), w.status.message.as_str()),
        ("FAILED: a0 FAILED", "action a0 ended FAILED in attempt 2: why")
    );
}

#[test]
fn a_report_about_one_attempt_does_not_count_for_the_next() {
    for (case, state, taken) in [
        ("the end once more, because the acknowledgement was lost", ActionState::Failed, true),
        ("another end", ActionState::Timeout, true),
        ("a late success", ActionState::Success, false),
        ("RUNNING", ActionState::Running, false),
    ] {
        let mut w = workflow(&["retries: 1"]);
        act(&mut w, &Command::HandOut { agent: &A.into() }, at(0)).unwrap();
        let first = current_id(&w);
        report(&mut w, &first, ActionState::Failed, 1).unwrap();
        let before = w.clone();
        assert_eq!(report(&mut w, &first, state, 2).map(|happened| happened.len()).ok(), taken.then_some(0), "{case}");
        assert_eq!(w, before, "{case}");
        assert_ne!(current_id(&w), first);
    }
}

#[test]
fn an_action_whose_if_is_false_is_skipped_and_recorded() {
    let mut w = workflow(&["if: false", "", "if: 'False'", "if: true", "if: false"]);
    assert_eq!(run(&mut w, ActionState::Success, 0), ["skipped", "handedOut", "reported", "reported"]);
    assert_eq!(run(&mut w, ActionState::Success, 1), ["skipped", "handedOut", "reported", "reported", "skipped"]);
    assert_eq!(shown(&w), "POST: a0 SUCCESS, a1 SUCCESS, a2 SUCCESS, a3 SUCCESS, a4 SUCCESS");
    assert_eq!(w.status.tasks[0].actions[4].message, "skipped: its `if` is false");
    assert_eq!(w.status.tasks[0].actions[4].attempts, 0);
    act(&mut w, &Command::Finish { netboot_closed: false }, at(2)).unwrap();
    assert_eq!(w.status.message, "all actions succeeded; 3 were skipped");
}

#[test]
fn a_workflow_continues_after_a_failure_that_it_may_pass_over() {
    let mut w = workflow(&["on_failure: continue", "on_failure: continue"]);
    assert_eq!(run(&mut w, ActionState::Failed, 0), ["handedOut", "reported", "reported", "passedOver"]);
    assert_eq!(shown(&w), "RUNNING: a0 FAILED, a1 PENDING");
    assert_eq!(w.status.message, "action a0 ended FAILED: why; the workflow goes on");
    assert_eq!(run(&mut w, ActionState::Timeout, 1), ["handedOut", "reported", "reported", "passedOver"]);
    act(&mut w, &Command::Finish { netboot_closed: false }, at(2)).unwrap();
    assert_eq!(shown(&w), "SUCCESS: a0 FAILED, a1 TIMEOUT");
    assert_eq!(w.status.message, "all other actions succeeded; 2 failed and were passed over");
}

#[test]
fn a_command_runs_after_the_failure_and_then_the_workflow_ends_as_without_it() {
    for (keys, end, command, after, state) in [
        ("on-failure: [sh, x], on-timeout: [sh, y]", ActionState::Failed, "x", ActionState::Success, "FAILED"),
        ("on-failure: [sh, x], on-timeout: [sh, y]", ActionState::Timeout, "y", ActionState::Failed, "TIMEOUT"),
        ("on_failure: [sh, z]", ActionState::Timeout, "z", ActionState::Success, "TIMEOUT"),
        ("on_failure: continue, on-failure: [sh, x]", ActionState::Failed, "x", ActionState::Failed, "RUNNING"),
        ("on_failure: continue, on-failure: [sh, x]", ActionState::Failed, "x", ActionState::Success, "RUNNING"),
    ] {
        let mut w = workflow(&[keys, ""]);
        assert_eq!(run(&mut w, end, 0).last(), Some(&"commandDue"), "{keys}");
        let (.., next) = current(&w).unwrap();
        assert_eq!((next.command.as_slice(), next.image.as_str()), (["sh".to_owned(), command.to_owned()].as_slice(), "i"));
        run(&mut w, after, 1);
        assert_eq!(w.status.state.unwrap().as_str(), state, "{keys} {after}");
        if state == "RUNNING" {
            run(&mut w, ActionState::Success, 2);
            assert_eq!(w.status.state, Some(WorkflowState::Post), "{keys}");
        } else {
            let retry = Command::Retry { from: None, by: "ada", reason: "" };
            act(&mut w, &retry, at(3)).unwrap();
            assert_eq!(shown(&w), "PENDING: a0 PENDING, a1 PENDING", "the command is gone");
        }
    }
}

#[test]
fn a_cancelled_workflow_begins_nothing_more() {
    for keys in ["retries: 3", "on_failure: continue", "on-failure: [x]"] {
        let mut w = workflow(&[keys, ""]);
        act(&mut w, &Command::HandOut { agent: &A.into() }, at(0)).unwrap();
        let id = current_id(&w);
        report(&mut w, &id, ActionState::Running, 0).unwrap();
        act(&mut w, &Command::Cancel { reason: "enough", at_once: false }, at(1)).unwrap();
        report(&mut w, &id, ActionState::Failed, 2).unwrap();
        assert_eq!((w.status.state, w.status.retry_at), (Some(WorkflowState::Failed), None), "{keys}");
    }
    let mut w = workflow(&["retries: 3"]);
    run(&mut w, ActionState::Failed, 0);
    act(&mut w, &Command::Cancel { reason: "enough", at_once: false }, at(1)).unwrap();
    assert_eq!((w.status.state, w.status.retry_at), (Some(WorkflowState::Failed), None), "during the pause it ends at once");
}

#[test]
fn a_timeout_of_all_attempts_leaves_less_for_the_later_ones() {
    let mut w = workflow(&["retries: 9, timeout: 60"]);
    w.status.tasks[0].actions[0].timeout_of_all = true;
    run(&mut w, ActionState::Failed, 10);
    let left = |w: &Workflow, second| time_left(&w.status.tasks[0].actions[0], at(second));
    assert_eq!((left(&w, 15), left(&w, 69), left(&w, 80)), (Some(55), Some(1), Some(0)));
    expire(&mut w, 15);
    run(&mut w, ActionState::Failed, 30);
    expire(&mut w, 40);
    assert_eq!(run(&mut w, ActionState::Failed, 60), ["handedOut", "reported", "reported"], "the next one would begin too late");
    assert_eq!(w.status.state, Some(WorkflowState::Failed));
}

#[test]
fn a_task_that_takes_too_long_ends_the_workflow() {
    let mut w = workflow(&["", ""]);
    w.status.tasks[0].timeout = 30;
    run(&mut w, ActionState::Success, 0);
    act(&mut w, &Command::HandOut { agent: &A.into() }, at(20)).unwrap();
    assert_eq!((deadline(&w), expire(&mut w, 29).len()), (Some(at(30)), 0));
    assert_eq!(expire(&mut w, 30), ["taskExpired"]);
    assert_eq!(w.status.message, "the timeout of 30 s of task t has passed");
    assert_eq!((w.status.state, deadline(&w)), (Some(WorkflowState::Timeout), None));
    let mut w = workflow(&[""]);
    w.status.tasks[0].timeout = 30;
    run(&mut w, ActionState::Success, 0);
    assert_eq!(w.status.task_stop, None, "its task is done");
}

#[test]
fn a_retry_begins_with_the_failed_action_however_its_command_ended() {
    for (case, end) in [("cancelled", 0), ("at the global timeout", 1), ("by its own", 2)] {
        let mut w = workflow(&["", "on-failure: [tidy]", ""]);
        w.status.global_timeout = 600;
        run(&mut w, ActionState::Success, 0);
        run(&mut w, ActionState::Failed, 1);
        act(&mut w, &Command::HandOut { agent: &A.into() }, at(2)).unwrap();
        let command = current_id(&w);
        report(&mut w, &command, ActionState::Running, 3).unwrap();
        match end {
            0 => drop(act(&mut w, &Command::Cancel { reason: "r", at_once: true }, at(4)).unwrap()),
            1 => assert_eq!(expire(&mut w, 700), ["expired"], "{case}"),
            _ => drop(report(&mut w, &command, ActionState::Timeout, 5).unwrap()),
        }
        let ended = w.clone();
        for from in [None, Some("a1"), Some("a1: on-failure")] {
            w = ended.clone();
            act(&mut w, &Command::Retry { from, by: "ada", reason: "" }, at(800)).unwrap();
            assert_eq!(shown(&w), "RUNNING: a0 SUCCESS, a1 PENDING, a2 PENDING", "{case} {from:?}");
        }
        assert_eq!(run(&mut w, ActionState::Success, 801), ["handedOut", "reported", "reported"], "{case}");
    }
}

#[test]
fn an_action_in_the_background_has_succeeded_once_it_runs_and_its_end_does_not_count() {
    for end in [ActionState::Success, ActionState::Failed, ActionState::Timeout, ActionState::Running] {
        let mut w = workflow(&["background: true, retries: 3, on-failure: [x]", "", "if: false"]);
        let hand_out = |w: &mut Workflow| drop(act(w, &Command::HandOut { agent: &A.into() }, at(0)).unwrap());
        hand_out(&mut w);
        let first = current_id(&w);
        let happened = report(&mut w, &first, ActionState::Running, 1).unwrap();
        assert_eq!(happened.iter().map(|happened| happened.fact.word()).collect::<Vec<_>>(), ["reported", "detached"]);
        assert_eq!(shown(&w), "RUNNING: a0 SUCCESS, a1 PENDING, a2 PENDING");
        hand_out(&mut w);
        let second = current_id(&w);
        report(&mut w, &second, ActionState::Running, 2).unwrap();
        assert_eq!(report(&mut w, &first, end, 3), Ok(Vec::new()), "{end}");
        assert_eq!(shown(&w), "RUNNING: a0 SUCCESS, a1 RUNNING, a2 PENDING");
        report(&mut w, &second, ActionState::Success, 4).unwrap();
        assert_eq!(shown(&w), "POST: a0 SUCCESS, a1 SUCCESS, a2 SUCCESS");
        assert_eq!(report(&mut w, &first, end, 5), Ok(Vec::new()), "{end}: also after the end");
    }
    let mut last = workflow(&["", "background: true", "if: false"]);
    run(&mut last, ActionState::Success, 0);
    act(&mut last, &Command::HandOut { agent: &A.into() }, at(1)).unwrap();
    let id = current_id(&last);
    let happened = report(&mut last, &id, ActionState::Running, 2).unwrap();
    assert_eq!(happened.iter().map(|happened| happened.fact.word()).collect::<Vec<_>>(), ["reported", "detached", "skipped"]);
    assert_eq!(shown(&last), "POST: a0 SUCCESS, a1 SUCCESS, a2 SUCCESS", "a reboot that follows interrupts nothing");
}
