//! Ends a workflow early. Tinkerbell has no state for that, so a cancelled workflow is FAILED, and its message says why.
//! The agent ends the running action first, and no other action is handed out meanwhile.

use api::RunningAction;
use model::{ActionState, AgentId, Workflow};

use super::command::Phase;
use super::{Report, current};

/// The running action, whose end a cancelled workflow waits for.
#[must_use]
pub fn running_action(workflow: &Workflow) -> Option<RunningAction> {
    let (.., task, action) = current(workflow).filter(|(.., action)| action.state == ActionState::Running)?;
    Some(RunningAction { agent: task.agent_id.clone(), action: action.name.clone() })
}

/// Whether a cancelled workflow waits in vain: its agent asks for work, so it no longer runs the action.
#[must_use]
pub fn is_left_by(workflow: &Workflow, agent: &AgentId) -> bool {
    Phase::of(workflow) == Phase::Cancelling && current(workflow).is_some_and(|(.., task, _)| task.agent_id == *agent)
}

/// Whether the agent has a task in this workflow.
#[must_use]
pub fn is_agent_of(workflow: &Workflow, agent: &AgentId) -> bool {
    workflow.status.tasks.iter().any(|task| task.agent_id == *agent)
}

/// Whether the report is of an action that has not been reported before.
#[must_use]
pub fn is_waiting(workflow: &Workflow, report: &Report) -> bool {
    let own = workflow.status.tasks.iter().filter(|task| task.agent_id == report.agent).flat_map(|task| &task.actions);
    own.filter(|action| action.id == report.action_id).any(|action| action.state == ActionState::Pending)
}

/// Whether the report is of an action that counts as a success since it runs.
#[must_use]
pub fn is_in_background(workflow: &Workflow, report: &Report) -> bool {
    let own = workflow.status.tasks.iter().filter(|task| task.agent_id == report.agent).flat_map(|task| &task.actions);
    own.filter(|action| action.id == report.action_id).any(|action| action.background && action.state == ActionState::Success)
}

/// Why an agent shall stop what it runs of this workflow; `None` while it shall go on.
#[must_use]
pub fn why_stop(workflow: &Workflow, agent: &AgentId) -> Option<String> {
    let status = &workflow.status;
    let own = status.tasks.iter().filter(|task| task.agent_id == *agent);
    let runs = own.flat_map(|task| &task.actions).any(|action| action.state == ActionState::Running);
    match (&status.cancellation, status.state) {
        (Some(cancellation), _) => Some(cancellation.reason.clone()),
        (None, Some(state)) if state.is_final() => Some(format!("the workflow is {state}: {}", status.message)),
        // The workflow was ordered again, and the agent still runs an action of the earlier order.
        _ => (!runs).then(|| format!("no action of workflow {} is RUNNING on agent {agent}", workflow.name())),
    }
}
