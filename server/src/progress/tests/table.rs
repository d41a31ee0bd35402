//! Every command in every phase, and what becomes of the workflow.

use super::*;

/// A workflow of agent `a` with two actions, in this phase.
fn in_phase(phase: Phase) -> Workflow {
    let mut w = workflow(&[("a", 2)]);
    w.status.global_timeout = 60;
    match phase {
        Phase::NotReady => w.status = model::WorkflowStatus::default(),
        Phase::Preparing => w.status.state = Some(WorkflowState::Preparing),
        Phase::Pending => {}
        _ => {
            act(&mut w, &Command::HandOut { agent: &"a".into() }, NOW).unwrap();
            say(&mut w, (0, 0), Running).unwrap();
        }
    }
    match phase {
        Phase::Paused => drop(act(&mut w, &Command::Pause { by: "ada", reason: "" }, NOW).unwrap()),
        Phase::Cancelling => drop(cancel(&mut w, "why", false, NOW).unwrap()),
        Phase::Failed => drop(say(&mut w, (0, 0), Failed).unwrap()),
        Phase::TimedOut => drop(say(&mut w, (0, 0), Timeout).unwrap()),
        Phase::Post | Phase::Succeeded => {
            say(&mut w, (0, 0), Success).unwrap();
            say(&mut w, (0, 1), Running).unwrap();
            say(&mut w, (0, 1), Success).unwrap();
        }
        _ => {}
    }
    if phase == Phase::Succeeded {
        finish(&mut w);
    }
    assert_eq!(Phase::of(&w), phase);
    w
}

/// In the order of `Word::ALL`. A phase means that the workflow is then in it, and something was logged. `-` means that
/// nothing happens, and `!` that the command is refused. The clock is at second 1000, and the agent was last heard then.
const TABLE: &str = "
           HandOut Report  Finish    Cancel     Leave  Expire   LookAfter ClockMoved Pause  Resume  Retry
NotReady   !       !       -         Failed     -      -        -         -          !      !       !
Preparing  !       !       -         Failed     -      -        -         -          !      !       !
Pending    Pending Running -         Failed     -      -        -         Pending    Paused !       !
Running    Running Failed  -         Cancelling -      TimedOut TimedOut  Running    Paused !       !
Paused     !       Failed  -         Cancelling -      TimedOut TimedOut  Paused     -      Running !
Cancelling !       Failed  -         -          Failed TimedOut TimedOut  Cancelling !      !       !
Post       !       !       Succeeded !          -      -        -         -          !      !       !
Succeeded  !       !       -         !          -      -        -         -          !      !       !
Failed     !       !       -         !          -      -        -         -          !      !       Pending
TimedOut   !       !       -         !          -      -        -         -          !      !       Pending
";

#[test]
fn every_phase_takes_ignores_or_refuses_every_command() {
    let (now, agent) = (Timestamp::from_second(1000).unwrap(), AgentId::from("a"));
    let mut rows = TABLE.lines().filter(|line| !line.is_empty());
    let words: Vec<String> = rows.next().unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, Word::ALL.map(|word| format!("{word:?}")));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), Phase::ALL.len());
    for (phase, row) in Phase::ALL.into_iter().zip(&rows) {
        assert_eq!(row[0], format!("{phase:?}"));
        for (word, expected) in Word::ALL.into_iter().zip(&row[1..]) {
            let mut w = in_phase(phase);
            if let Some(action) = w.status.tasks.first_mut().and_then(|task| task.actions.first_mut()) {
                action.timeout = 30;
                w.status.action_stop = Timestamp::from_second(30).ok();
            }
            // Reports the end of the running action, or else that the next action runs.
            let state = if runs_on(&w).is_some() { Failed } else { Running };
            let report = if w.status.tasks.is_empty() {
                Report { agent: agent.clone(), ..Report::default() }
            } else {
                report(&w, (0, usize::from(phase == Phase::Failed)), state)
            };
            let command = match word {
                Word::HandOut => Command::HandOut { agent: &agent },
                Word::Report => Command::Report(&report),
                Word::Finish => Command::Finish { netboot_closed: false },
                Word::Cancel => Command::Cancel { reason: "why", at_once: false },
                Word::Leave => Command::Leave { agent: &agent },
                Word::Expire => Command::Expire,
                Word::ClockMoved => Command::ClockMoved(now.duration_since(NOW)),
                Word::LookAfter => Command::LookAfter(Heard { at: now, watches: true }),
                Word::Pause => Command::Pause { by: "ada", reason: "r" },
                Word::Resume => Command::Resume { by: "ada" },
                Word::Retry => Command::Retry { from: None, by: "ada", reason: "r" },
            };
            assert_eq!(command.word(), word);
            let before = w.clone();
            let found = match act(&mut w, &command, now) {
                Err(_) => "!".to_owned(),
                Ok(happened) if happened.is_empty() => "-".to_owned(),
                Ok(_) => format!("{:?}", Phase::of(&w)),
            };
            assert_eq!(found, **expected, "{word:?} in {phase:?}");
            assert_eq!(w == before, matches!(*expected, "!" | "-"), "{word:?} in {phase:?} changes the workflow");
        }
    }
}

#[test]
fn nothing_is_handed_out_while_a_workflow_is_paused_and_the_running_action_continues() {
    let agent = AgentId::from("a");
    let mut w = workflow(&[("a", 2)]);
    act(&mut w, &Command::HandOut { agent: &agent }, NOW).unwrap();
    say(&mut w, (0, 0), Running).unwrap();
    act(&mut w, &Command::Pause { by: "ada", reason: "new switch" }, NOW).unwrap();
    assert_eq!(why_stop(&w, &agent), None, "the running action is not stopped");
    assert_eq!(say(&mut w, (0, 0), Success), Ok(Effect::Recorded), "and its end counts");
    assert_eq!(next_action(&w, &agent), Next::Idle(Idle::Paused));
    act(&mut w, &Command::Resume { by: "bob" }, NOW).unwrap();
    assert_eq!(next_action(&w, &agent), run(0, 1, false));
}

#[test]
fn the_last_action_of_a_paused_workflow_still_ends_it() {
    let mut w = workflow(&[("a", 1)]);
    say(&mut w, (0, 0), Running).unwrap();
    act(&mut w, &Command::Pause { by: "ada", reason: "" }, NOW).unwrap();
    assert_eq!(say(&mut w, (0, 0), Success), Ok(Effect::LastAction));
    finish(&mut w);
    assert_eq!(w.status.state, Some(WorkflowState::Success));
}

/// Failed in the last of three actions, in two tasks.
fn failed() -> Workflow {
    let mut w = workflow(&[("a", 2), ("b", 1)]);
    for at in [(0, 0), (0, 1), (1, 0)] {
        let agent = w.status.tasks[at.0].agent_id.clone();
        act(&mut w, &Command::HandOut { agent: &agent }, NOW).unwrap();
        say(&mut w, at, Running).unwrap();
        say(&mut w, at, if at == (1, 0) { Failed } else { Success }).unwrap();
    }
    w
}

fn retry(w: &mut Workflow, from: Option<&str>) -> Result<Vec<Happened>, Refused> {
    act(w, &Command::Retry { from, by: "ada", reason: "new disk" }, NOW)
}

#[test]
fn a_retry_continues_from_the_failed_action_or_from_an_earlier_one() {
    for (case, from, expected) in [
        ("the failed one", None, Ok((1, 0))),
        ("the failed one by name", Some("t1/a0"), Ok((1, 0))),
        ("an earlier one", Some("a1"), Ok((0, 1))),
        ("the first one", Some("t0/a0"), Ok((0, 0))),
        ("a name that occurs twice means the first one", Some("a0"), Ok((0, 0))),
        ("an unknown one", Some("a7"), Err(Refused::NoAction("a7".to_owned()))),
    ] {
        let mut w = failed();
        let found = retry(&mut w, from).map(|_| ());
        assert_eq!(found, expected.clone().map(|_| ()), "{case}");
        let Ok(at) = expected else { continue };
        let agent = w.status.tasks[at.0].agent_id.clone();
        assert_eq!(next_action(&w, &agent), run(at.0, at.1, false), "{case}");
        let states = w.status.tasks.iter().flat_map(|task| &task.actions).map(|action| action.state);
        let succeeded = states.take_while(|state| *state == Success).count();
        assert_eq!(succeeded, [0, 2][at.0] + at.1, "{case}: actions that succeeded before keep their state");
        assert_eq!(w.status.message, format!("ordered again from action a{} by ada: new disk", at.1), "{case}");
    }
    let mut w = workflow(&[("a", 2)]);
    say(&mut w, (0, 0), Running).unwrap();
    say(&mut w, (0, 0), Failed).unwrap();
    assert_eq!(retry(&mut w, Some("a1")), Err(Refused::TooLate { action: "a1".into(), failed: "a0".into() }));
}

#[test]
fn a_report_about_an_earlier_order_does_not_count_for_the_new_one() {
    let mut w = failed();
    let superseded = Err(Refused::Superseded { action: "a0".into() });
    let late = |w: &mut Workflow, state| record(w, &report(&failed(), (1, 0), state), NOW);
    for order in 2..4 {
        retry(&mut w, None).unwrap();
        assert_eq!((late(&mut w, Success), late(&mut w, Running)), (superseded.clone(), superseded.clone()), "order {order}");
        act(&mut w, &Command::HandOut { agent: &"b".into() }, NOW).unwrap();
        say(&mut w, (1, 0), Running).unwrap();
        assert_eq!(late(&mut w, Success), superseded, "order {order}");
        assert!(w.status.tasks[1].actions[0].id.ends_with(&format!(".{order}")));
        say(&mut w, (1, 0), Failed).unwrap();
        assert_eq!(late(&mut w, Failed), superseded, "order {order}");
    }
}

#[test]
fn a_retry_ends_a_cancellation_and_restarts_the_global_timeout() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let mut w = workflow(&[("a", 1)]);
    w.status.global_timeout = 60;
    act(&mut w, &Command::HandOut { agent: &"a".into() }, at(100)).unwrap();
    say(&mut w, (0, 0), Running).unwrap();
    assert!(!expire(&mut w, at(159)) && expire(&mut w, at(160)), "it starts when the first action is handed out");
    retry(&mut w, None).unwrap();
    assert!(!expire(&mut w, at(9000)), "it does not run while the workflow waits for its agent");
    act(&mut w, &Command::HandOut { agent: &"a".into() }, at(9000)).unwrap();
    assert!(!expire(&mut w, at(9059)) && expire(&mut w, at(9060)));
    let mut w = workflow(&[("a", 1)]);
    cancel(&mut w, "wrong machine", false, NOW).unwrap();
    retry(&mut w, None).unwrap();
    assert_eq!((w.status.cancellation.is_none(), next_action(&w, &"a".into())), (true, run(0, 0, false)));
    assert!(!has_begun(&w), "nothing was handed out");
}

#[test]
fn a_global_timeout_of_zero_means_no_timeout() {
    let mut w = workflow(&[("a", 1)]);
    act(&mut w, &Command::HandOut { agent: &"a".into() }, NOW).unwrap();
    say(&mut w, (0, 0), Running).unwrap();
    assert_eq!((w.status.global_execution_stop, expire(&mut w, Timestamp::MAX)), (None, false));
}
