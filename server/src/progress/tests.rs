use std::collections::BTreeSet;

use api::RunningAction;
use model::Document;
use proptest::prelude::*;

use super::*;

mod replay;
mod table;
mod waiting;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// `tasks` is `agent: actions`, actions named `a0`, `a1`, ...
fn workflow(tasks: &[(&str, usize)]) -> Workflow {
    let document = Document {
        name: "d".into(),
        global_timeout: 0,
        tasks: tasks
            .iter()
            .enumerate()
            .map(|(t, (agent, actions))| model::Task {
                name: format!("t{t}"),
                worker: (*agent).into(),
                volumes: vec![],
                environment: Default::default(),
                actions: (0..*actions)
                    .map(|a| serde_json::from_value(serde_json::json!({"name": format!("a{a}"), "image": "i"})).unwrap())
                    .collect(),
                ..model::Task::default()
            })
            .collect(),
    };
    let mut workflow = Workflow {
        api_version: String::new(),
        kind: String::new(),
        metadata: Default::default(),
        spec: Default::default(),
        status: Default::default(),
    };
    let mut id = 0;
    begin(&mut workflow, document, || {
        id += 1;
        id.to_string()
    });
    workflow
}

fn report(workflow: &Workflow, at: (usize, usize), state: ActionState) -> Report {
    let task = &workflow.status.tasks[at.0];
    Report {
        agent: task.agent_id.clone(),
        task_id: task.id.clone(),
        action_id: task.actions[at.1].id.clone(),
        state,
        ..Report::default()
    }
}

fn say(workflow: &mut Workflow, at: (usize, usize), state: ActionState) -> Result<Effect, Refused> {
    let report = report(workflow, at, state);
    record(workflow, &report, NOW)
}

/// What a report did to a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    Recorded,
    LastAction,
}

fn record(workflow: &mut Workflow, report: &Report, now: Timestamp) -> Result<Effect, Refused> {
    let news = act(workflow, &Command::Report(report), now)?.is_empty();
    Ok(match (news, workflow.status.state) {
        (true, _) => Effect::Nothing,
        (false, Some(WorkflowState::Post)) => Effect::LastAction,
        (false, _) => Effect::Recorded,
    })
}

fn hand_out(workflow: &mut Workflow, position: Position) {
    let agent = workflow.status.tasks[position.task].agent_id.clone();
    act(workflow, &Command::HandOut { agent: &agent }, NOW).unwrap();
}

fn finish(workflow: &mut Workflow) {
    act(workflow, &Command::Finish { netboot_closed: false }, NOW).unwrap();
}

fn expire(workflow: &mut Workflow, now: Timestamp) -> bool {
    !act(workflow, &Command::Expire, now).unwrap().is_empty()
}

fn cancel(workflow: &mut Workflow, reason: &str, at_once: bool, now: Timestamp) -> Result<Option<RunningAction>, WorkflowState> {
    let state = workflow.status.state;
    act(workflow, &Command::Cancel { reason, at_once }, now).map_err(|_| state.unwrap())?;
    Ok(running_action(workflow))
}

fn look_after(workflow: &mut Workflow, heard: Heard, now: Timestamp) {
    act(workflow, &Command::LookAfter(heard), now).unwrap();
}

use ActionState::{Failed, Pending, Running, Success, Timeout};

fn run(task: usize, action: usize, again: bool) -> Next {
    Next::Run(Position { task, action, again })
}

#[test]
fn the_next_image_is_the_first_other_one_that_the_same_agent_needs() {
    let a = || "a";
    for (case, tasks, at, want) in [
        ("the next action", vec![(a(), vec!["x", "y", "z"])], (0, 0), Some("y")),
        ("the same image again, then another", vec![(a(), vec!["x", "x", "z"])], (0, 0), Some("z")),
        ("the last action", vec![(a(), vec!["x", "y"])], (0, 1), None),
        ("only the same", vec![(a(), vec!["x", "x"])], (0, 0), None),
        ("the next task of the agent", vec![(a(), vec!["x"]), (a(), vec!["y"])], (0, 0), Some("y")),
        ("another agent comes first", vec![(a(), vec!["x"]), ("b", vec!["y"]), (a(), vec!["z"])], (0, 0), None),
        ("a place that does not exist", vec![(a(), vec!["x"])], (1, 7), None),
    ] {
        let counts: Vec<(&str, usize)> = tasks.iter().map(|(agent, images)| (*agent, images.len())).collect();
        let mut w = workflow(&counts);
        for (task, (_, images)) in w.status.tasks.iter_mut().zip(&tasks) {
            task.actions.iter_mut().zip(images).for_each(|(action, image)| action.image = (*image).into());
        }
        assert_eq!(next_image(&w, Position { task: at.0, action: at.1, again: false }), want, "{case}");
    }
}

#[test]
fn actions_follow_each_other_over_tasks_and_agents() {
    let mut w = workflow(&[("a", 2), ("b", 1)]);
    let (a, b) = (AgentId::from("a"), AgentId::from("b"));
    assert_eq!((next_action(&w, &a), next_action(&w, &b)), (run(0, 0, false), Next::Idle(Idle::OtherAgent)));
    for action in 0..2 {
        assert_eq!(say(&mut w, (0, action), Running), Ok(Effect::Recorded));
        assert_eq!(next_action(&w, &a), run(0, action, true), "the agent asks again while the action runs");
        assert_eq!(say(&mut w, (0, action), Success), Ok(Effect::Recorded));
    }
    assert_eq!((next_action(&w, &a), next_action(&w, &b)), (Next::Idle(Idle::OtherAgent), run(1, 0, false)));
    assert_eq!(w.status.agent_id, Some(b.clone()));
    say(&mut w, (1, 0), Running).unwrap();
    assert_eq!(say(&mut w, (1, 0), Success), Ok(Effect::LastAction));
    assert_eq!(w.status.state, Some(WorkflowState::Post));
    finish(&mut w);
    assert_eq!((w.status.state, next_action(&w, &b)), (Some(WorkflowState::Success), Next::Idle(Idle::NotRunnable)));
}

#[test]
fn what_is_final_stays_final() {
    for (case, first, then, expected) in [
        ("a success repeated", Success, Success, Ok(Effect::Nothing)),
        ("a failure repeated", Failed, Failed, Ok(Effect::Nothing)),
        (
            "running after success",
            Success,
            Running,
            Err(Refused::Final { action: "a0".into(), recorded: Success, reported: Running }),
        ),
        (
            "failure after success",
            Success,
            Failed,
            Err(Refused::Final { action: "a0".into(), recorded: Success, reported: Failed }),
        ),
        (
            "running after failure",
            Failed,
            Running,
            Err(Refused::Final { action: "a0".into(), recorded: Failed, reported: Running }),
        ),
        (
            "success after timeout",
            Timeout,
            Success,
            Err(Refused::Final { action: "a0".into(), recorded: Timeout, reported: Success }),
        ),
    ] {
        let mut w = workflow(&[("a", 2)]);
        say(&mut w, (0, 0), Running).unwrap();
        say(&mut w, (0, 0), first).unwrap();
        let before = w.clone();
        assert_eq!(say(&mut w, (0, 0), then), expected, "{case}");
        assert_eq!(w, before, "{case}");
    }
}

#[test]
fn nothing_runs_after_a_failure() {
    for (state, ends) in [(Failed, WorkflowState::Failed), (Timeout, WorkflowState::Timeout)] {
        let mut w = workflow(&[("a", 2)]);
        say(&mut w, (0, 0), Running).unwrap();
        say(&mut w, (0, 0), state).unwrap();
        assert_eq!((w.status.state, next_action(&w, &"a".into())), (Some(ends), Next::Idle(Idle::NotRunnable)));
        assert_eq!(say(&mut w, (0, 1), Running), Err(Refused::Finished { state: ends }));
    }
}

#[test]
fn only_the_current_action_is_reported() {
    let mut w = workflow(&[("a", 2)]);
    assert_eq!(say(&mut w, (0, 1), Running), Err(Refused::NotCurrent { action: "a1".into(), current: "a0".into() }));
    let stranger = Report { agent: "b".into(), ..report(&w, (0, 0), Running) };
    assert_eq!(record(&mut w, &stranger, NOW), Err(Refused::NotFound));
    let unknown = Report { action_id: "99".into(), ..report(&w, (0, 0), Running) };
    assert_eq!(record(&mut w, &unknown, NOW), Err(Refused::NotFound));
}

#[test]
fn attempts_are_counted_when_an_agent_begins_again() {
    let mut w = workflow(&[("a", 1)]);
    let hand = |w: &mut Workflow| {
        let before = w.clone();
        let Next::Run(position) = next_action(w, &"a".into()) else { panic!() };
        hand_out(w, position);
        *w != before
    };
    assert!(hand(&mut w));
    assert!(!hand(&mut w), "a second call before running changes nothing");
    assert_eq!(w.status.tasks[0].actions[0].attempts, 1);
    say(&mut w, (0, 0), Running).unwrap();
    assert!(hand(&mut w));
    assert_eq!(w.status.tasks[0].actions[0].attempts, 2);
    assert_eq!(w.status.message, "action a0 was interrupted and begins again, attempt 2");
    say(&mut w, (0, 0), Running).unwrap();
    let failure = Report { message: "exit code 3".into(), ..report(&w, (0, 0), Failed) };
    record(&mut w, &failure, NOW).unwrap();
    assert_eq!(w.status.message, "action a0 ended FAILED in attempt 2: exit code 3");
}

#[test]
fn an_interrupted_workflow_comes_before_an_older_one_and_finished_ones_do_not_count() {
    let mut failed = workflow(&[("a", 1)]);
    say(&mut failed, (0, 0), Failed).unwrap();
    let older = workflow(&[("a", 1)]);
    let mut newer = workflow(&[("a", 1)]);
    let agent = AgentId::from("a");
    assert_eq!(choose([&failed, &older, &newer].into_iter(), &agent, |_| Ok(())).map(|(w, _)| std::ptr::eq(w, &older)), Ok(true));
    say(&mut newer, (0, 0), Running).unwrap();
    assert_eq!(choose([&failed, &older, &newer].into_iter(), &agent, |_| Ok(())).map(|(w, _)| std::ptr::eq(w, &newer)), Ok(true));
    assert_eq!(choose([&failed].into_iter(), &agent, |_| Ok(())), Err(Some(Idle::NotRunnable)));
    assert_eq!(choose([].into_iter(), &agent, |_| Ok(())), Err(None));
}

#[test]
fn idle_says_why() {
    let agent = AgentId::from("a");
    let mut w = workflow(&[("a", 1)]);
    w.spec.disabled = Some(true);
    assert_eq!(next_action(&w, &agent), Next::Idle(Idle::NoTasks));
    assert_eq!(next_action(&workflow(&[]), &agent), Next::Idle(Idle::NoTasks));
    assert_eq!(next_action(&workflow(&[("a", 0)]), &agent), Next::Idle(Idle::NothingLeft));
    let mut w = workflow(&[("a", 1)]);
    w.status.state = Some(WorkflowState::Preparing);
    assert_eq!(next_action(&w, &agent), Next::Idle(Idle::Preparing));
}

#[test]
fn the_global_timeout_ends_the_workflow() {
    let mut w = workflow(&[("a", 2)]);
    w.status.global_timeout = 60;
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let running = report(&w, (0, 0), Running);
    record(&mut w, &running, at(100)).unwrap();
    assert!(!expire(&mut w, at(159)));
    assert!(expire(&mut w, at(160)));
    assert_eq!((w.status.state, w.status.tasks[0].actions[0].state), (Some(WorkflowState::Timeout), Timeout));
    assert!(matches!(say(&mut w, (0, 0), Success), Err(Refused::Final { .. })));
    assert!(!expire(&mut w, at(161)));
}

/// What agents do: ask, report anything about any action, or let time pass.
#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    Report { task: usize, action: usize, state: ActionState },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![1 => Just(Pending), 4 => Just(Running), 1 => Just(Failed), 1 => Just(Timeout), 6 => Just(Success)];
    prop_oneof![
        3 => (0..2_usize).prop_map(Step::Ask),
        6 => (0..2_usize, 0..3_usize, state).prop_map(|(task, action, state)| Step::Report { task, action, state }),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn no_history_breaks_the_order_or_reopens_an_end(steps in prop::collection::vec(step(), 0..60), timeout in 0..40_i64) {
        let agents = ["x", "y"];
        let mut w = workflow(&[("x", 3), ("y", 3)]);
        w.status.global_timeout = timeout;
        let (mut done, mut ended, mut second) = (BTreeSet::new(), None, 0);
        for step in steps {
            second += 1;
            let now = Timestamp::from_second(second).unwrap();
            match step {
                Step::Ask(agent) => if let Next::Run(position) = next_action(&w, &agents[agent].into()) {
                    let at = (position.task, position.action);
                    prop_assert!(ended.is_none(), "an action was handed out after the end");
                    prop_assert_eq!(at.0, agent, "the task belongs to another agent");
                    prop_assert!(!done.contains(&at), "ran twice");
                    prop_assert_eq!(done.len(), at.0 * 3 + at.1, "actions are out of order");
                    hand_out(&mut w, position);
                },
                Step::Report { task, action, state } => {
                    let report = report(&w, (task, action), state);
                    let before = w.clone();
                    match record(&mut w, &report, now) {
                        Ok(Effect::Nothing) | Err(_) => prop_assert_eq!(&w.status.tasks, &before.status.tasks),
                        Ok(_) => {
                            prop_assert!(ended.is_none(), "the workflow changed after the end");
                            if state == Success { prop_assert!(done.insert((task, action))); }
                        }
                    }
                    finish(&mut w);
                }
                Step::Wait => {
                    second += 20;
                    expire(&mut w, Timestamp::from_second(second).unwrap());
                }
            }
            let state = w.status.state.filter(|state| state.is_final());
            if let Some(first) = ended { prop_assert_eq!(Some(first), state); }
            ended = ended.or(state);
            prop_assert_eq!(state == Some(WorkflowState::Success), done.len() == 6);
        }
    }
}

fn cancelled(workflow: &mut Workflow, at_once: bool) -> Result<Option<RunningAction>, WorkflowState> {
    cancel(workflow, "wrong machine", at_once, NOW)
}

#[test]
fn a_workflow_of_which_nothing_runs_is_cancelled_at_once() {
    let agent = AgentId::from("a");
    for (case, done) in [("before the first action", 0), ("between two actions", 1)] {
        let mut w = workflow(&[("a", 2)]);
        for action in 0..done {
            say(&mut w, (0, action), Running).unwrap();
            say(&mut w, (0, action), Success).unwrap();
        }
        assert_eq!(cancelled(&mut w, false), Ok(None), "{case}");
        assert_eq!((w.status.state, w.status.message.as_str()), (Some(WorkflowState::Failed), "cancelled: wrong machine"));
        assert_eq!(next_action(&w, &agent), Next::Idle(Idle::NotRunnable), "{case}");
        assert_eq!(cancelled(&mut w, false), Err(WorkflowState::Failed), "{case}: a second cancellation is refused");
        assert!(say(&mut w, (0, done), Running).is_err(), "{case}: an agent that was handed the action before does not start it");
    }
}

#[test]
fn a_cancelled_workflow_waits_for_its_running_action() {
    for (case, reported, state, message) in [
        ("an agent that obeys", Failed, WorkflowState::Failed, "cancelled: wrong machine; action a0 ended FAILED"),
        ("a timeout at the same time", Timeout, WorkflowState::Timeout, "cancelled: wrong machine; action a0 ended TIMEOUT"),
        ("an agent that cannot be stopped", Success, WorkflowState::Failed, "cancelled: wrong machine"),
    ] {
        let mut w = workflow(&[("a", 2)]);
        say(&mut w, (0, 0), Running).unwrap();
        assert_eq!(why_stop(&w, &"a".into()), None);
        let waits = Some(RunningAction { agent: "a".into(), action: "a0".into() });
        assert_eq!(cancelled(&mut w, false), Ok(waits), "{case}");
        assert_eq!((w.status.state, why_stop(&w, &"a".into()).as_deref()), (Some(WorkflowState::Running), Some("wrong machine")));
        assert!(matches!(say(&mut w, (0, 0), Running), Err(Refused::Cancelled { .. })), "{case}");
        assert_eq!(say(&mut w, (0, 0), reported), Ok(Effect::Recorded), "{case}");
        assert_eq!((w.status.state, w.status.message.as_str()), (Some(state), message), "{case}");
    }
}

#[test]
fn a_cancellation_after_the_last_success_only_changes_the_message() {
    let mut w = workflow(&[("a", 1)]);
    say(&mut w, (0, 0), Running).unwrap();
    cancelled(&mut w, false).unwrap();
    assert_eq!(say(&mut w, (0, 0), Success), Ok(Effect::LastAction));
    finish(&mut w);
    assert_eq!(w.status.state, Some(WorkflowState::Success));
    assert!(w.status.message.ends_with("came too late"), "{}", w.status.message);
}

#[test]
fn a_lost_agent_does_not_delay_a_cancellation() {
    let mut w = workflow(&[("a", 1), ("b", 1)]);
    say(&mut w, (0, 0), Running).unwrap();
    cancelled(&mut w, false).unwrap();
    assert!(is_left_by(&w, &"a".into()) && !is_left_by(&w, &"b".into()), "only its agent can leave it");
    assert_eq!(cancelled(&mut w, true), Ok(None));
    assert_eq!((w.status.state, w.status.tasks[0].actions[0].state), (Some(WorkflowState::Failed), Failed));
    assert_eq!(say(&mut w, (0, 0), Failed), Ok(Effect::Nothing), "its late report changes nothing");
    assert!(!is_left_by(&w, &"a".into()));
}

#[test]
fn a_lost_agent_is_noticed_and_a_timeout_is_enforced_with_a_margin() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let heard = |seconds, watches| Heard { at: at(seconds), watches };
    for (case, timeout, heard, now, expected) in [
        ("it calls", 30, heard(20, true), 25, "RUNNING "),
        ("within the margin", 30, heard(0, true), 85, "RUNNING "),
        ("after it, but the agent may still report", 30, heard(60, true), 95, "RUNNING "),
        ("lost", 30, heard(0, true), 151, "TIMEOUT action a0 ended TIMEOUT: its timeout of 30 s has passed without a report"),
        ("an agent that does not watch", 30, heard(0, false), 151, "TIMEOUT action a0 ended TIMEOUT: its timeout of 30 s"),
        ("lost before the timeout", 600, heard(0, true), 151, "RUNNING agent m is lost: it was last heard at"),
        ("an agent that does not watch is silent", 600, heard(0, false), 151, "RUNNING "),
        ("lost, without a timeout", 0, heard(0, true), 9000, "RUNNING agent m is lost"),
        ("it calls, but ignores the timeout", 30, heard(931, true), 931, "TIMEOUT action a0 ended TIMEOUT"),
    ] {
        let mut w = running(timeout);
        let before = w.clone();
        look_after(&mut w, heard, at(now));
        assert_eq!(is_neglected(&before, heard, at(now)), w != before, "{case}");
        let found = format!("{} {}", w.status.state.unwrap(), w.status.message);
        assert!(if expected.ends_with(' ') { found == expected } else { found.starts_with(expected) }, "{case}: {found}");
    }
}

#[test]
fn an_agent_that_calls_again_is_not_lost() {
    let mut w = running(0);
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    look_after(&mut w, Heard { at: at(0), watches: true }, at(400));
    assert!(w.status.message.contains("is lost"));
    let again = Heard { at: at(399), watches: true };
    assert!(is_neglected(&w, again, at(400)));
    look_after(&mut w, again, at(400));
    assert_eq!((w.status.state, w.status.message.as_str()), (Some(WorkflowState::Running), ""));
}

/// The action `a0` of agent `m`, RUNNING since second 0.
fn running(timeout: i64) -> Workflow {
    let mut w = workflow(&[("m", 1)]);
    w.status.tasks[0].actions[0].timeout = timeout;
    say(&mut w, (0, 0), Running).unwrap();
    w
}
