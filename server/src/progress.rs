//! What a workflow does next and what a report does to it. Pure: no clock, no store.
//!
//! A workflow is a state machine with a log. `decide` returns the events of a command, and `evolve` applies an event to the
//! status. Nothing else changes a workflow that is ready, so its status can be derived from its log.
//!
//! The rules: actions run in order, one at a time, at least once. An action that is PENDING or RUNNING is handed out again
//! when its agent asks. A failed action runs again up to the number of its `retries`, after a pause. A final state stays
//! final: nothing runs after a recorded failure, and a finished workflow never runs again. Only an explicit order,
//! `Command::Retry`, continues a failed workflow.

mod begin;
mod choose;
mod command;
mod decide;
mod evolve;
mod failure;
mod happened;
mod lost;
mod moved;
mod stop;
mod waits;

use jiff::Timestamp;
use model::{ActionState, AgentId, Workflow, WorkflowAction, WorkflowState, WorkflowTask};

pub use begin::{begin, beginning, prepared};
pub use choose::{Idle, Next, Position, choose, has_begun_on, keeps_turn, next_action, next_image, turn, turn_agent};
pub use command::{Command, Phase, Word};
pub use decide::decide;
pub use evolve::evolve;
pub use failure::{deadline, time_left};
pub use happened::{Fact, Happened};
pub use lost::{Heard, is_neglected, is_silent, next_look, runs_on};
pub use stop::{is_agent_of, is_in_background, is_left_by, is_waiting, running_action, why_stop};
pub use waits::{Around, waits};

/// An agent's report about an action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub agent: AgentId,
    pub task_id: String,
    pub action_id: String,
    pub state: ActionState,
    pub started: Option<Timestamp>,
    pub stopped: Option<Timestamp>,
    pub duration: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("action not found")]
    NotFound,
    #[error("action {action} is already {recorded}, so the report {reported} does not count")]
    Final { action: String, recorded: ActionState, reported: ActionState },
    #[error("action {action} was ordered again since, so the report about its earlier attempt does not count")]
    Superseded { action: String },
    #[error("the workflow is already {state}")]
    Finished { state: WorkflowState },
    #[error("the workflow is cancelled: {reason}")]
    Cancelled { reason: String },
    #[error("action {action} is not the current one; the current one is {current}")]
    NotCurrent { action: String, current: String },
    #[error("the machine's intent gives the workflow no work now")]
    NotOrdered,
    #[error("nothing to do")]
    Idle(Idle),
    #[error("a workflow that {phase} cannot be {}{}", .word.participle(), hint(*.phase, *.word))]
    Not { word: Word, phase: Phase },
    #[error("it has no action {0}; `thimble workflow show` lists them")]
    NoAction(String),
    #[error("action {action} comes after {failed}, which has not succeeded; name {failed} or an earlier one")]
    TooLate { action: String, failed: String },
    #[error("it has no actions that could run again; `thimble workflow rerun` makes a new one")]
    NoTasks,
}

/// The advice for the operator after a refusal.
const fn hint(phase: Phase, word: Word) -> &'static str {
    match (phase, word) {
        (Phase::Succeeded, Word::Retry) => "; `thimble workflow rerun` makes a new one",
        (Phase::Pending | Phase::Running, Word::Retry) => "; it continues without an order",
        (Phase::Paused, Word::Retry) => "; `thimble workflow resume` continues it",
        (Phase::Cancelling, Word::Retry | Word::Resume) => "; wait until its action has ended, then use `thimble workflow retry`",
        (Phase::Failed | Phase::TimedOut, Word::Resume) => "; `thimble workflow retry` continues it",
        _ => "",
    }
}

/// Decides and evolves: applies the command to the workflow. Returns the events for its log.
///
/// # Errors
/// `Refused` leaves the workflow unchanged.
pub fn act(workflow: &mut Workflow, command: &Command<'_>, now: Timestamp) -> Result<Vec<Happened>, Refused> {
    let happened = decide(workflow, command, now)?;
    happened.iter().for_each(|event| evolve(workflow, event));
    Ok(happened)
}

/// Whether an action was handed out. If so, the machine's earlier content may be lost.
#[must_use]
pub const fn has_begun(workflow: &Workflow) -> bool {
    workflow.status.current_state.is_some()
}

/// Whether an action of the latest order was handed out. Workflows of an earlier version only record that of their first
/// order.
#[must_use]
pub const fn order_has_begun(workflow: &Workflow) -> bool {
    workflow.status.begun.is_some() || (workflow.status.logged.is_none() && has_begun(workflow))
}

/// Whether nothing of the action is left to run: it succeeded, was skipped, or failed and was passed over.
const fn is_done(action: &WorkflowAction) -> bool {
    matches!(action.state, ActionState::Success) || action.skip || action.passed_over
}

/// The first action that is not done.
fn current(workflow: &Workflow) -> Option<(usize, usize, &WorkflowTask, &WorkflowAction)> {
    workflow.status.tasks.iter().enumerate().find_map(|(t, task)| {
        let (a, action) = task.actions.iter().enumerate().find(|(_, action)| !is_done(action))?;
        Some((t, a, task, action))
    })
}

#[cfg(test)]
mod tests;
