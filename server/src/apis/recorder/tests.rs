use api::{Event, Intent, What};
use model::{ActionState, AgentId, WorkflowState};

use super::*;

fn happened(what: What) -> Event {
    Event { revision: 7, time: Timestamp::UNIX_EPOCH, what }
}

fn action(state: ActionState, attempts: u32, message: &str) -> What {
    What::Action {
        workflow: "lab/w".to_owned(),
        task: "t".to_owned(),
        action: "write".to_owned(),
        agent: AgentId::from("02:00:00:00:00:01"),
        state,
        attempts,
        duration: String::new(),
        message: message.to_owned(),
    }
}

fn workflow(state: WorkflowState, message: &str) -> What {
    What::Workflow { workflow: "lab/w".to_owned(), state: Some(state), message: message.to_owned() }
}

#[test]
fn a_person_reads_of_states_orders_and_failures() {
    let intent =
        What::Intent { hardware: "lab/m".to_owned(), intent: Intent::Hold, by: "ops".to_owned(), reason: "new disk".to_owned() };
    for (what, expected) in [
        (workflow(WorkflowState::Running, ""), &[("workflows", "Running", false, "")][..]),
        (workflow(WorkflowState::Failed, "no disk"), &[("workflows", "Failed", true, "no disk")]),
        (
            action(ActionState::Failed, 2, "exit status 1\u{1b}[2J\n"),
            &[("workflows", "ActionFailed", true, "action write of task t on 02:00:00:00:00:01, attempt 2: exit status 1 [2J")],
        ),
        (action(ActionState::Success, 1, ""), &[]),
        (intent, &[("hardware", "Hold", true, "by ops: new disk"), ("machinestates", "Hold", true, "by ops: new disk")]),
        (
            What::Workflow { workflow: "lab/w".to_owned(), state: None, message: "no template t".to_owned() },
            &[("workflows", "Waiting", true, "no template t")],
        ),
        (What::Workflow { workflow: "lab/w".to_owned(), state: None, message: String::new() }, &[]),
        (What::Missed { count: None }, &[]),
        (
            What::Workflow { workflow: "no namespace".to_owned(), state: Some(WorkflowState::Running), message: String::new() },
            &[],
        ),
    ] {
        let found = notes(&happened(what.clone()));
        let found: Vec<_> =
            found.iter().map(|note| (note.about.plural(), note.reason, note.warns, note.message.as_str())).collect();
        assert_eq!(found, expected, "{what:?}");
    }
}

#[test]
fn the_same_event_is_counted_and_a_flood_ends() {
    let mut known = Known::default();
    let note = |message: &str, number: u64, second: i64| {
        let what = action(ActionState::Failed, 1, message);
        let event = Event { revision: number, time: Timestamp::from_second(second).unwrap(), what };
        notes(&event).remove(0)
    };
    let first = known.see(&note("a", 1, 0), "uid").unwrap();
    let again = known.see(&note("a", 2, 60), "uid").unwrap();
    assert_eq!((first.count, again.count, again.number, again.first), (1, 2, first.number, Timestamp::UNIX_EPOCH));
    let written = (0..100).filter(|number| known.see(&note(&number.to_string(), 10 + number, 61), "uid").is_some()).count();
    assert_eq!(written, MOST as usize - 1);
    assert_eq!(known.see(&note("a", 200, 62), "uid").unwrap().count, 3, "what is known is counted further");
    assert!(known.see(&note("b", 201, 62), "other").is_some(), "another object has its own number");
    assert!(known.see(&note("late", 300, 3600), "uid").is_some(), "an hour later there is room again");
    for number in 0..2 * COUNTED as u64 {
        known.see(&note("x", number, 3601), &number.to_string());
    }
    assert!(known.0.len() <= COUNTED);
}
