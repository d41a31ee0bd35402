//! Actions that their agent does not end: it is lost, or it does not keep the time.

use jiff::{SignedDuration, Timestamp};
use model::{ActionState, AgentId, Workflow, WorkflowState};

use super::current;

/// An agent that watches its workflow calls about once a minute. After this long without a call it is lost.
pub const SILENT: SignedDuration = SignedDuration::from_secs(150);
/// For the agent's own report of the timeout, and the grace that it gives the action.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// For an agent that is heard: it may count its timeout from a later moment.
const LONG_MARGIN: SignedDuration = SignedDuration::from_mins(15);

const IS_LOST: &str = " is lost: it was last heard at ";

/// What the server has heard of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    pub at: Timestamp,
    /// It calls while its action runs, so silence means something.
    pub watches: bool,
}

/// The agent of the running action.
#[must_use]
pub fn runs_on(workflow: &Workflow) -> Option<&AgentId> {
    let runnable = workflow.status.state.is_some_and(WorkflowState::is_runnable);
    let (.., task, action) = current(workflow).filter(|_| runnable)?;
    (action.state == ActionState::Running).then_some(&task.agent_id)
}

/// Whether `look_after` would change it.
#[must_use]
pub fn is_neglected(workflow: &Workflow, heard: Heard, now: Timestamp) -> bool {
    let past = workflow.status.action_stop.is_some_and(|stop| now.duration_since(stop) > MARGIN);
    let noted = workflow.status.message.contains(IS_LOST);
    if !past && !noted && now.duration_since(heard.at) <= SILENT {
        return false;
    }
    let mut after = workflow.clone();
    look_after(&mut after, heard, now);
    after != *workflow
}

/// Ends a workflow whose action is past its timeout and a margin, and says that an agent is lost.
pub fn look_after(workflow: &mut Workflow, heard: Heard, now: Timestamp) {
    let Some(agent) = runs_on(workflow).cloned() else { return };
    let Some((task, index, ..)) = current(workflow) else { return };
    let status = &mut workflow.status;
    let Some(action) = status.tasks.get_mut(task).and_then(|task| task.actions.get_mut(index)) else { return };
    let silent = now.duration_since(heard.at) > SILENT;
    let since = heard.at.round(jiff::Unit::Second).unwrap_or(heard.at);
    let over = status.action_stop.map(|stop| now.duration_since(stop));
    if over.is_some_and(|over| over > LONG_MARGIN || (over > MARGIN && silent)) {
        let lost = if silent { format!("; agent {agent} was last heard at {since}") } else { String::new() };
        action.message = format!("its timeout of {} s has passed without a report{lost}", action.timeout);
        action.state = ActionState::Timeout;
        action.execution_stop = Some(now);
        status.message = format!("action {} ended TIMEOUT: {}", action.name, action.message);
        status.state = Some(WorkflowState::Timeout);
        status.action_stop = None;
        if let Some(current) = &mut status.current_state {
            current.state = ActionState::Timeout;
        }
    } else if silent && heard.watches && status.cancellation.is_none() {
        status.message = format!("agent {agent}{IS_LOST}{since}, while action {} was RUNNING", action.name);
    } else if !silent && status.message.contains(IS_LOST) {
        status.message.clear();
    }
}
