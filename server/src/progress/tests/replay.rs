//! The log determines the status: a replay from the rendered start ends in the state of the workflow.

use super::*;

#[derive(Debug, Clone)]
enum Order {
    HandOut(usize),
    Report { task: usize, action: usize, state: ActionState, former: bool },
    Cancel { at_once: bool },
    Leave(usize),
    Expire,
    LookAfter { silent: i64, watches: bool },
    ClockMoved(i64),
    Pause,
    Resume,
    Retry(Option<&'static str>),
    Prepare,
    Wait(i64),
}

fn order() -> impl Strategy<Value = Order> {
    let state = prop_oneof![1 => Just(Pending), 5 => Just(Running), 1 => Just(Failed), 1 => Just(Timeout), 6 => Just(Success)];
    let from = prop_oneof![2 => Just(None), 1 => Just(Some("a0")), 1 => Just(Some("t1/a0")), 1 => Just(Some("nothing"))];
    prop_oneof![
        8 => (0..2_usize).prop_map(Order::HandOut),
        16 => (0..2_usize, 0..2_usize, state, prop::bool::weighted(0.1))
            .prop_map(|(task, action, state, former)| Order::Report { task, action, state, former }),
        1 => any::<bool>().prop_map(|at_once| Order::Cancel { at_once }),
        2 => (0..2_usize).prop_map(Order::Leave),
        1 => Just(Order::Expire),
        2 => (0..400_i64, any::<bool>()).prop_map(|(silent, watches)| Order::LookAfter { silent, watches }),
        1 => (-90_i64..90).prop_map(Order::ClockMoved),
        1 => Just(Order::Pause),
        2 => Just(Order::Resume),
        3 => from.prop_map(Order::Retry),
        1 => Just(Order::Prepare),
        3 => (0..90_i64).prop_map(Order::Wait),
    ]
}

/// Takes an order like the server, and adds the events to the log.
fn take(w: &mut Workflow, log: &mut Vec<Happened>, order: &Order, now: Timestamp) {
    let agents = [AgentId::from("x"), AgentId::from("y")];
    let made;
    let command = match order {
        Order::HandOut(agent) => Command::HandOut { agent: &agents[*agent] },
        Order::Report { task, action, state, former } => {
            let mut report = report(w, (*task, *action), *state);
            if *former {
                report.action_id = report.action_id.split('.').next().unwrap().to_owned();
            }
            report.message = format!("said at {now}");
            made = report;
            Command::Report(&made)
        }
        Order::Cancel { at_once } => Command::Cancel { reason: "why", at_once: *at_once },
        Order::Leave(agent) => Command::Leave { agent: &agents[*agent] },
        Order::Expire => Command::Expire,
        Order::LookAfter { silent, watches } => {
            let at = now.checked_sub(jiff::SignedDuration::from_secs(*silent)).unwrap();
            Command::LookAfter(Heard { at, watches: *watches })
        }
        Order::ClockMoved(seconds) => Command::ClockMoved(jiff::SignedDuration::from_secs(*seconds)),
        Order::Pause => Command::Pause { by: "ada", reason: "r" },
        Order::Resume => Command::Resume { by: "bob" },
        Order::Retry(from) => Command::Retry { from: *from, by: "ada", reason: "r" },
        Order::Prepare => {
            let old = w.clone();
            w.status.message = "a note of the planner".to_owned();
            if let Some(event) = prepared(Some(&old), w, now) {
                evolve(w, &event);
                log.push(event);
            }
            return;
        }
        Order::Wait(_) => return,
    };
    let before = w.clone();
    match act(w, &command, now) {
        Ok(happened) => log.extend(happened),
        Err(_) => assert_eq!(*w, before, "a refusal changes nothing: {order:?}"),
    }
    if w.status.state == Some(WorkflowState::Post) {
        log.extend(act(w, &Command::Finish { netboot_closed: true }, now).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_replay_of_any_log_gives_the_same_status(
        orders in prop::collection::vec(order(), 0..80),
        timeout in 0..300_i64,
        kinds in prop::collection::vec(0..8_u8, 4),
    ) {
        let mut w = workflow(&[("x", 2), ("y", 2)]);
        for (action, kind) in w.status.tasks.iter_mut().flat_map(|task| &mut task.actions).zip(kinds) {
            match kind {
                0 => action.retries = 2,
                1 => action.skip = true,
                2 => action.continues = true,
                3 => action.on_failure = vec!["sh".into()],
                5 => action.background = true,
                4 => (action.retries, action.continues, action.on_timeout) = (1, true, vec!["sh".into()]),
                _ => {}
            }
        }
        w.status.tasks[1].timeout = timeout / 2;
        w.status.agent_id = beginning(&w).status.agent_id; // the agent of the first action that is not skipped
        w.status.global_timeout = timeout;
        w.status.tasks[0].actions[0].timeout = 30;
        let mut log: Vec<Happened> = prepared(None, &mut w, NOW).into_iter().collect();
        log.iter().for_each(|event| evolve(&mut w, event));
        let mut second = 1;
        for order in &orders {
            second += if let Order::Wait(seconds) = order { *seconds } else { 1 };
            take(&mut w, &mut log, order, Timestamp::from_second(second).unwrap());
        }
        let stored: Vec<String> = log.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let mut again = beginning(&w);
        for event in &stored {
            evolve(&mut again, &serde_json::from_str(event).unwrap());
        }
        prop_assert_eq!(&again.status, &w.status, "{:#?}", stored);
        prop_assert_eq!(w.status.logged.unwrap().entries, log.len() as u64);
    }
}

#[test]
fn an_entry_is_bounded_whatever_an_agent_sends() {
    let mut w = workflow(&[("a", 1)]);
    let huge = "größer ".repeat(1 << 17);
    let size = |happened: Vec<Happened>| serde_json::to_string(&happened).unwrap().len();
    let running = Report { message: huge.clone(), duration: huge.clone(), ..report(&w, (0, 0), Running) };
    let failed = Report { state: Failed, ..running.clone() };
    for command in [
        Command::Report(&running),
        Command::Pause { by: &huge, reason: &huge },
        Command::Resume { by: &huge },
        Command::Report(&failed),
        Command::Retry { from: None, by: &huge, reason: &huge },
        Command::Cancel { reason: &huge, at_once: true },
    ] {
        let happened = act(&mut w, &command, NOW).unwrap();
        assert!((1..16 << 10).contains(&size(happened)), "{:?}", command.word());
    }
}
