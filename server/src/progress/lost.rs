//! Actions that their agent does not end, because it is lost or ignores the time limit.

use jiff::{SignedDuration, Timestamp};
use model::{ActionState, AgentId, Workflow, WorkflowState};

use super::happened::{Fact, Which};
use super::{Command, current, decide, decide::which, failure};

/// An agent that watches its workflow calls about once a minute. After this long without a call it is lost.
pub const SILENT: SignedDuration = SignedDuration::from_secs(150);
/// The time for the agent's report of the timeout, and for the grace period of the action.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// The time for an agent that still calls. Its timeout may have started at a later moment.
const LONG_MARGIN: SignedDuration = SignedDuration::from_mins(15);

const IS_LOST: &str = " is lost: it was last heard at ";

/// When the server heard from an agent.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    pub at: Timestamp,
    /// Whether it calls while its action runs, so that silence means that it is lost.
    pub watches: bool,
}

/// The agent of the running action.
#[must_use]
pub fn runs_on(workflow: &Workflow) -> Option<&AgentId> {
    let runnable = workflow.status.state.is_some_and(WorkflowState::is_runnable);
    let (.., task, action) = current(workflow).filter(|_| runnable)?;
    (action.state == ActionState::Running).then_some(&task.agent_id)
}

/// Whether `Command::LookAfter` would change the workflow.
#[must_use]
pub fn is_neglected(workflow: &Workflow, heard: Heard, now: Timestamp) -> bool {
    let past = workflow.status.action_stop.is_some_and(|stop| now.duration_since(stop) > MARGIN);
    let noted = workflow.status.message.contains(IS_LOST);
    if !past && !noted && !is_silent(heard, now) {
        return false;
    }
    decide(workflow, &Command::LookAfter(heard), now).is_ok_and(|happened| !happened.is_empty())
}

/// When time alone can make a workflow neglected that is not so now. `None` if only a change or a call of its agent can.
#[must_use]
pub fn next_look(workflow: &Workflow, heard: Heard, now: Timestamp) -> Option<Timestamp> {
    runs_on(workflow)?;
    let silent_from = heard.at.checked_add(SILENT).unwrap_or(Timestamp::MAX);
    let is_silent = now > silent_from;
    let margin = if is_silent { MARGIN } else { LONG_MARGIN };
    let over = workflow.status.action_stop.map(|stop| stop.checked_add(margin).unwrap_or(Timestamp::MAX));
    [Some(silent_from).filter(|_| !is_silent), over].into_iter().flatten().min()
}

/// Whether the agent is silent for so long that its next call is news.
#[must_use]
pub fn is_silent(heard: Heard, now: Timestamp) -> bool {
    now.duration_since(heard.at) > SILENT
}

/// The end of an action whose timeout and margin have passed, with the facts about its agent.
pub(super) fn look_after(workflow: &Workflow, heard: Heard, now: Timestamp) -> Option<Fact> {
    runs_on(workflow)?;
    let status = &workflow.status;
    let silent = is_silent(heard, now);
    let last_heard = heard.at.round(jiff::Unit::Second).unwrap_or(heard.at);
    let over = status.action_stop.map(|stop| now.duration_since(stop));
    if over.is_some_and(|over| over > LONG_MARGIN || (over > MARGIN && silent)) {
        return Some(Fact::ActionTimedOut { which: which(workflow)?, last_heard: silent.then_some(last_heard) });
    }
    if silent && heard.watches && status.cancellation.is_none() {
        return (status.message != lost_message(workflow, last_heard))
            .then(|| Some(Fact::AgentLost { which: which(workflow)?, last_heard }))?;
    }
    (!silent && status.message.contains(IS_LOST)).then_some(Fact::AgentHeard)
}

/// What follows the end of an action that its agent did not end. A command after the failure needs the agent: without it the
/// workflow ends.
pub(super) fn consequences(workflow: &Workflow, which: &Which, silent: bool, now: Timestamp) -> Vec<Fact> {
    let after = failure::consequences(workflow, which, ActionState::Timeout, now);
    let continues = current(workflow).is_some_and(|(.., action)| action.continues);
    let needs_agent = matches!(after.as_slice(), [Fact::CommandDue { .. }]);
    if silent && needs_agent && !continues { Vec::new() } else { after }
}

pub(super) fn lost_message(workflow: &Workflow, last_heard: Timestamp) -> String {
    let Some((.., task, action)) = current(workflow) else { return String::new() };
    format!("agent {}{IS_LOST}{last_heard}, while action {} was RUNNING", task.agent_id, action.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow(action_stop: Option<Timestamp>, message: &str, is_cancelled: bool) -> Workflow {
        let cancellation = is_cancelled.then(|| json!({"requested": Timestamp::UNIX_EPOCH}));
        let action = json!({"id": "1", "name": "one", "image": "i", "timeout": 300, "state": "RUNNING"});
        let status = json!({
            "state": "RUNNING", "message": message, "actionStop": action_stop, "cancellation": cancellation,
            "tasks": [{"id": "t", "name": "t", "agentID": "a", "actions": [action]}],
        });
        let (metadata, spec) = (json!({"name": "w", "namespace": "default"}), json!({"templateRef": "t"}));
        let object = json!({"apiVersion": "tinkerbell.org/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    /// Each second of two hours is looked at in one way, and only what is due in the other.
    #[test]
    fn looks_that_are_due_find_a_neglected_workflow_in_the_same_second_as_one_that_is_looked_at_each_second() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let lost = lost_message(&workflow(None, "", false), at(-400));
        for stop in [None, Some(-2000), Some(-10), Some(0), Some(100), Some(400), Some(6000)] {
            for heard in [-1000, -400, -151, -150, -149, 0] {
                for (watches, message, is_cancelled) in
                    [(true, "", false), (false, "", false), (true, lost.as_str(), false), (true, "", true), (false, "", true)]
                {
                    let case = format!("{stop:?} {heard} {watches} {message:?} {is_cancelled}");
                    let (workflow, heard) = (workflow(stop.map(at), message, is_cancelled), Heard { at: at(heard), watches });
                    let each = (0..7200).find(|second| is_neglected(&workflow, heard, at(*second)));
                    let (mut due, mut looks, mut found) = (Some(at(0)), 0, None);
                    for second in 0..7200 {
                        if found.is_none() && due.is_some_and(|due| due <= at(second)) {
                            looks += 1;
                            found = is_neglected(&workflow, heard, at(second)).then_some(second);
                            due = next_look(&workflow, heard, at(second));
                        }
                    }
                    assert_eq!(found, each, "{case}");
                    assert!(looks <= 8, "{case}: {looks} looks");
                }
            }
        }
    }
}
