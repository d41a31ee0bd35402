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
    if !past && !noted && now.duration_since(heard.at) <= SILENT {
        return false;
    }
    decide(workflow, &Command::LookAfter(heard), now).is_ok_and(|happened| !happened.is_empty())
}

/// The end of an action whose timeout and margin have passed, with the facts about its agent.
pub(super) fn look_after(workflow: &Workflow, heard: Heard, now: Timestamp) -> Option<Fact> {
    runs_on(workflow)?;
    let status = &workflow.status;
    let silent = now.duration_since(heard.at) > SILENT;
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
