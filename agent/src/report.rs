//! The reports about an action, in the form that the server gets.

use std::time::{Duration, SystemTime};

use proto::action_status_request::StateType;
use proto::{ActionMessage, ActionStatusRequest, Timestamp};

use crate::action::Action;
use crate::outcome::{Outcome, Reason};

/// The longest message. Servers store it in the same object as the workflow.
const MESSAGE_MAX: usize = 4096;

/// The RUNNING report has the actual start, because servers measure the workflow's time from it.
pub fn running(agent: &str, action: &Action, start: SystemTime, attempt: u32) -> ActionStatusRequest {
    let message = match attempt {
        0 | 1 => "running action".to_owned(),
        _ => format!("running action, attempt {attempt}: the previous one was interrupted (agent restarted)"),
    };
    request(agent, action, StateType::Running, message, start, start)
}

/// The report for another attempt, which the template requested after a failure.
pub fn running_again(
    agent: &str,
    action: &Action,
    start: SystemTime,
    attempt: u32,
    allowed: u32,
    before: &Reason,
) -> ActionStatusRequest {
    let message = clipped(format!("running action, attempt {attempt} of {allowed}: the previous one failed: {}", before.text()));
    request(agent, action, StateType::Running, message, start, start)
}

pub fn finished(agent: &str, action: &Action, outcome: &Outcome) -> ActionStatusRequest {
    request(agent, action, state(outcome), message(outcome), outcome.start, outcome.stop)
}

pub fn state(outcome: &Outcome) -> StateType {
    match outcome.failure {
        None => StateType::Success,
        Some(Reason::Timeout { .. }) => StateType::Timeout,
        Some(_) => StateType::Failed,
    }
}

fn request(
    agent: &str,
    action: &Action,
    state: StateType,
    message: String,
    start: SystemTime,
    stop: SystemTime,
) -> ActionStatusRequest {
    let took = stop.duration_since(start).unwrap_or_default();
    ActionStatusRequest {
        workflow_id: Some(action.workflow.clone()),
        agent_id: Some(agent.to_owned()),
        task_id: Some(action.task.clone()),
        action_id: Some(action.id.clone()),
        action_name: Some(action.name.clone()),
        action_state: Some(state.into()),
        execution_start: Some(timestamp(start)),
        execution_stop: Some(timestamp(stop)),
        execution_duration: Some(duration(took)),
        message: Some(ActionMessage { message: Some(message) }),
    }
}

/// The result first, then the last lines of the action.
fn message(outcome: &Outcome) -> String {
    let verdict = outcome.failure.as_ref().map_or_else(|| "completed: exit code 0".to_owned(), Reason::text);
    if outcome.failure.is_none() || outcome.tail.is_empty() {
        return clipped(verdict);
    }
    let mut text = clipped(verdict);
    text.push_str("\nlast output:");
    let room = MESSAGE_MAX.saturating_sub(text.len());
    text.push_str(&last_lines(&outcome.tail, room));
    text
}

fn last_lines(lines: &[String], room: usize) -> String {
    let mut kept = Vec::new();
    let mut used = 0;
    for line in lines.iter().rev() {
        used += line.len() + 1;
        if used > room {
            break;
        }
        kept.push(line.as_str());
    }
    kept.iter().rev().map(|line| format!("\n{line}")).collect()
}

fn clipped(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_MAX / 2));
    text
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// The two most significant units, in the format of Tinkerbell's agent: `1h2m`, `3s250ms`.
pub fn duration(took: Duration) -> String {
    let ms = took.as_millis();
    let units = [("h", ms / 3_600_000), ("m", ms / 60_000 % 60), ("s", ms / 1000 % 60), ("ms", ms % 1000)];
    let text: String = units.iter().filter(|(_, n)| *n > 0).take(2).map(|(unit, n)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action() -> Action {
        Action::from_wire(proto::ActionResponse {
            workflow_id: Some("default/w".into()),
            task_id: Some("t".into()),
            action_id: Some("a".into()),
            name: Some("stream".into()),
            ..Default::default()
        })
        .unwrap()
    }

    fn outcome(failure: Option<Reason>, tail: Vec<String>) -> Outcome {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Outcome { start, stop: start + Duration::from_millis(3250), failure, tail }
    }

    #[test]
    fn durations_have_two_units() {
        for (ms, want) in [(0, "0s"), (250, "250ms"), (3250, "3s250ms"), (60_000, "1m"), (3_723_004, "1h2m")] {
            assert_eq!(duration(Duration::from_millis(ms)), want);
        }
    }

    #[test]
    fn running_has_the_actual_start_and_names_a_second_attempt() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let report = running("id", &action(), start, 2);
        assert_eq!(report.execution_start.unwrap().seconds, 1_800_000_000);
        assert!(report.message.unwrap().message.unwrap().contains("attempt 2"));
        assert_eq!(report.action_state, Some(StateType::Running.into()));
    }

    #[test]
    fn a_failure_report_ends_with_the_last_output_and_stays_small() {
        let tail: Vec<String> = (0..500).map(|n| format!("line {n} {}", "x".repeat(50))).collect();
        let report = finished("id", &action(), &outcome(Some(Reason::NonZeroExit { exit_code: 7 }), tail));
        let message = report.message.unwrap().message.unwrap();
        assert!(message.starts_with("NonZeroExit: exit code 7; try: ") && message.contains("\nlast output:\n"), "{message}");
        assert!(message.contains("line 499") && !message.contains("line 0 ") && message.len() <= MESSAGE_MAX);
        assert_eq!(report.execution_duration.as_deref(), Some("3s250ms"));
    }

    #[test]
    fn states_follow_the_outcome() {
        for (failure, want) in [
            (None, StateType::Success),
            (Some(Reason::Timeout { limit: Duration::from_secs(1), phase: Default::default() }), StateType::Timeout),
            (Some(Reason::CouldNotStart("x".into())), StateType::Failed),
        ] {
            assert_eq!(state(&outcome(failure, vec![])), want);
        }
    }
}
