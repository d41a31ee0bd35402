//! Ending a workflow before its end. Tinkerbell has no state for that, so a cancelled workflow is FAILED and its message
//! says why. The agent ends the running action first, and no other action is handed out meanwhile.

use api::RunningAction;
use jiff::Timestamp;
use model::{ActionState, AgentId, Cancellation, Workflow, WorkflowState, WorkflowStatus};

use super::current;

/// Ends the workflow. While an action runs, it only asks for the end and returns that action: the workflow ends when its
/// agent reports that the action has ended. `at_once` does not wait for the agent.
///
/// # Errors
/// The state of a workflow that is over, or that has nothing left to stop.
pub fn cancel(
    workflow: &mut Workflow,
    reason: &str,
    at_once: bool,
    now: Timestamp,
) -> Result<Option<RunningAction>, WorkflowState> {
    if let Some(state) = workflow.status.state.filter(|state| state.is_final() || *state == WorkflowState::Post) {
        return Err(state);
    }
    let running = current(workflow).filter(|(.., action)| action.state == ActionState::Running);
    let running = running.map(|(.., task, action)| RunningAction { agent: task.agent_id.clone(), action: action.name.clone() });
    let status = &mut workflow.status;
    let asked = || Cancellation { requested: now, reason: reason.to_owned() };
    let cancellation = status.cancellation.get_or_insert_with(asked);
    if let Some(running) = running.filter(|_| !at_once) {
        status.message = format!("cancelled: {}; waits for action {} to end", cancellation.reason, running.action);
        return Ok(Some(running));
    }
    end_cancelled(workflow, now);
    Ok(None)
}

/// Ends it without an agent's report that the action has ended.
pub fn end_cancelled(workflow: &mut Workflow, now: Timestamp) {
    let status = &mut workflow.status;
    let mut actions = status.tasks.iter_mut().flat_map(|task| &mut task.actions);
    if let Some(action) = actions.find(|action| action.state == ActionState::Running) {
        action.state = ActionState::Failed;
        action.execution_stop = Some(now);
        action.message = "cancelled".to_owned();
        if let Some(current) = &mut status.current_state {
            current.state = ActionState::Failed;
        }
    }
    end_between_actions(workflow);
}

pub(super) fn end_between_actions(workflow: &mut Workflow) {
    workflow.status.state = Some(WorkflowState::Failed);
    workflow.status.message.clear();
    say_if_cancelled(&mut workflow.status);
}

/// Puts the reason before what the message says already.
pub(super) fn say_if_cancelled(status: &mut WorkflowStatus) {
    let Some(cancellation) = &status.cancellation else { return };
    let before = if status.message.is_empty() { String::new() } else { format!("; {}", status.message) };
    status.message = format!("cancelled: {}{before}", cancellation.reason);
}

/// Whether a cancelled workflow waits in vain: its agent asks for work, so it no longer runs the action.
#[must_use]
pub fn is_left_by(workflow: &Workflow, agent: &AgentId) -> bool {
    workflow.status.cancellation.is_some()
        && workflow.status.state.is_some_and(WorkflowState::is_runnable)
        && current(workflow).is_some_and(|(.., task, _)| task.agent_id == *agent)
}

/// Why an agent shall stop what it runs of this workflow; `None` while it shall go on.
#[must_use]
pub fn why_stop(workflow: &Workflow) -> Option<String> {
    let status = &workflow.status;
    match (&status.cancellation, status.state) {
        (Some(cancellation), _) => Some(cancellation.reason.clone()),
        (None, Some(state)) if state.is_final() => Some(format!("the workflow is {state}: {}", status.message)),
        _ => None,
    }
}
