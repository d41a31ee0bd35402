//! What each workflow waits for, and the order in which a machine takes them.

use api::{Decision, Intent, MachineState, WaitPhase};
use model::ObjectName;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// A workflow `w` of agent `m`, ordered at second 100.
fn ordered() -> Workflow {
    let mut w = workflow(&[("m", 2)]);
    w.metadata.name = "w".to_owned();
    w.metadata.namespace = "default".to_owned();
    w.status.ordered = Some(at(100));
    let event = prepared(None, &mut w, at(100)).unwrap();
    evolve(&mut w, &event);
    w
}

fn machine(intent: Intent, orders: &[&str]) -> MachineState {
    let decision = Decision { intent, by: "ada".to_owned(), at: at(100), reason: "why".to_owned() };
    let orders = orders.iter().map(|order| (*order).to_owned()).collect();
    MachineState { decision, orders, ..crate::intent::unordered(NOW) }
}

#[test]
fn what_a_workflow_waits_for_has_a_reason_and_a_limit() {
    let (agent, hardware, other) = (AgentId::from("m"), ObjectName::new("default", "m"), ObjectName::new("default", "v"));
    let given = |w: &mut Workflow| drop(act(w, &Command::HandOut { agent: &agent }, at(200)).unwrap());
    let says = |w: &mut Workflow, state| assert_ne!(record(w, &report(w, (0, 0), state), at(300)), Ok(Effect::Nothing));
    let install = machine(Intent::Install, &["default/w"]);
    type Change<'c> = &'c dyn Fn(&mut Workflow);
    let nothing: Change<'_> = &|_| {};
    let with_timeout: Change<'_> = &|w| {
        w.status.tasks[0].actions[0].timeout = 30;
        given(w);
        says(w, Running);
    };
    let runs: Change<'_> = &|w| (given(w), says(w, Running)).1;
    let succeeds: Change<'_> = &|w| (given(w), says(w, Success)).1;
    let fails: Change<'_> = &|w| (given(w), says(w, Failed)).1;
    let pause: Change<'_> = &|w| drop(act(w, &Command::Pause { by: "ada", reason: "" }, at(250)).unwrap());
    let pause_later: Change<'_> = &|w| {
        runs(w);
        act(w, &Command::Pause { by: "ada", reason: "" }, at(350)).unwrap();
    };
    let cancel: Change<'_> = &|w| {
        runs(w);
        act(w, &Command::Cancel { reason: "r", at_once: false }, at(350)).unwrap();
    };
    let unrendered: Change<'_> = &|w| (w.status.tasks.clear(), w.status.state.take()).1.map_or((), drop);
    for (case, change, machine, heard, ahead, now, expected) in [
        ("a new order", nothing, &install, None, false, 110, Some("boot 100 1200 ")),
        ("a machine that does not boot", nothing, &install, Some(99), false, 1301, Some("boot 100 1200 overdue")),
        ("its agent has called", nothing, &install, Some(150), false, 160, Some("agent 150 150 ")),
        ("and then stops asking", nothing, &install, Some(150), false, 301, Some("agent 150 150 overdue")),
        ("another one goes first", nothing, &install, Some(150), true, 160, Some("queue 100 86400 ")),
        ("held", nothing, &machine(Intent::Hold, &["default/w"]), None, false, 160, Some("approval 100 86400 ")),
        ("sent to its disk", nothing, &machine(Intent::Local, &[]), None, false, 160, Some("order 100 86400 ")),
        ("not among the orders", nothing, &machine(Intent::Install, &["default/v"]), None, false, 160, Some("order 100 86400 ")),
        ("handed out", &given, &install, Some(200), false, 210, Some("start 200 150 ")),
        ("and lost", &given, &install, Some(200), false, 400, Some("start 200 150 overdue")),
        ("running", runs, &install, Some(300), false, 310, Some("report 300 3600 ")),
        ("running, with a timeout", with_timeout, &install, Some(300), false, 310, Some("report 300 90 ")),
        ("running, after its timeout", with_timeout, &install, Some(300), false, 391, Some("report 300 90 overdue")),
        ("between two actions", succeeds, &install, Some(299), false, 310, Some("agent 300 150 ")),
        ("paused", pause, &install, Some(150), false, 260, Some("resume 250 86400 ")),
        ("paused while it runs", pause_later, &install, Some(300), false, 360, Some("report 300 3600 ")),
        ("cancelled", cancel, &install, Some(300), false, 360, Some("stop 350 150 ")),
        ("not rendered", unrendered, &install, None, false, 160, Some("ready 100 86400 ")),
        ("failed", fails, &install, Some(300), false, 310, None),
    ]
        as [(&str, Change<'_>, &MachineState, Option<i64>, bool, i64, Option<&str>); 19]
    {
        let mut w = ordered();
        change(&mut w);
        let around = Around { machine: Some((&hardware, machine)), heard: heard.map(at), ahead: ahead.then_some(&other) };
        let found = waits(&w, around, at(now));
        assert!(found.as_ref().is_none_or(|waiting| !waiting.reason.is_empty()), "{case}");
        let found = found.map(|waiting| {
            let overdue = if waiting.overdue { "overdue" } else { "" };
            format!("{} {} {} {overdue}", waiting.phase, waiting.since.as_second(), waiting.limit)
        });
        assert_eq!(found.as_deref(), expected, "{case}");
    }
}

#[test]
fn an_agent_on_a_host_without_hardware_waits_for_its_call() {
    let found = waits(&ordered(), Around::default(), at(110)).unwrap();
    assert_eq!(
        (found.phase, found.reason.as_str()),
        (WaitPhase::Boot, "agent m has not called since the order; its machine has to boot the ramdisk")
    );
}

#[test]
fn a_workflow_that_has_begun_ends_before_another_begins_and_a_paused_one_keeps_its_turn() {
    let agent = AgentId::from("m");
    let begun = |name: &str| {
        let mut w = workflow(&[("m", 2)]);
        w.metadata.name = name.to_owned();
        act(&mut w, &Command::HandOut { agent: &agent }, NOW).unwrap();
        say(&mut w, (0, 0), Running).unwrap();
        w
    };
    let between = |name: &str| {
        let mut w = begun(name);
        say(&mut w, (0, 0), Success).unwrap();
        w
    };
    let paused = |mut w: Workflow| {
        act(&mut w, &Command::Pause { by: "ada", reason: "" }, NOW).unwrap();
        w
    };
    let new = |name: &str| {
        let mut w = workflow(&[("m", 2)]);
        w.metadata.name = name.to_owned();
        w
    };
    for (case, workflows, expected) in [
        ("the oldest order", vec![new("a"), new("b")], Ok("a")),
        ("what runs", vec![new("a"), between("b"), begun("c")], Ok("c")),
        ("what has begun", vec![new("a"), between("b"), new("c")], Ok("b")),
        ("the older of two that have begun", vec![between("a"), between("b")], Ok("a")),
        ("a paused one that has begun blocks the others", vec![new("a"), paused(between("b"))], Err(Some(Idle::Paused))),
        ("one that is paused before its start does not", vec![paused(new("a")), new("b")], Ok("b")),
        ("nor does it block a running one", vec![paused(between("a")), begun("b")], Ok("b")),
        ("one that was interrupted while paused is not handed out", vec![paused(begun("a"))], Err(Some(Idle::Paused))),
    ] {
        let found = choose(workflows.iter(), &agent, |_| Ok(())).map(|(w, _)| w.metadata.name.as_str());
        assert_eq!(found, expected, "{case}");
    }
}
