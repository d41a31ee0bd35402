//! Which action an agent is given: of one workflow, and of all that concern it.

use model::{ActionState, AgentId, Workflow};

use super::command::Phase;
use super::current;

/// What an agent that asks this workflow for work is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Run(Position),
    Idle(Idle),
}

/// An action by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub task: usize,
    pub action: usize,
    /// The agent has reported this action as RUNNING before: it was interrupted and begins again.
    pub again: bool,
}

/// Why there is nothing to do in this workflow for this agent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Not rendered, or disabled.
    NoTasks,
    Preparing,
    /// In a state in which nothing is handed out.
    NotRunnable,
    Paused,
    /// The intent of the machine gives it no work.
    NotOrdered,
    OtherAgent,
    NothingLeft,
}

/// What the agent is to do in this workflow.
#[must_use]
pub fn next_action(workflow: &Workflow, agent: &AgentId) -> Next {
    if workflow.spec.disabled == Some(true) || workflow.status.tasks.is_empty() {
        return Next::Idle(Idle::NoTasks);
    }
    match Phase::of(workflow) {
        Phase::Pending | Phase::Running => {}
        Phase::Preparing => return Next::Idle(Idle::Preparing),
        Phase::Paused => return Next::Idle(Idle::Paused),
        _ => return Next::Idle(Idle::NotRunnable),
    }
    match current(workflow) {
        None => Next::Idle(Idle::NothingLeft),
        Some((.., action)) if action.state.is_final() => Next::Idle(Idle::NotRunnable),
        Some((_, _, task, _)) if task.agent_id != *agent => Next::Idle(Idle::OtherAgent),
        Some((task, index, _, action)) => {
            Next::Run(Position { task, action: index, again: action.state == ActionState::Running })
        }
    }
}

/// The image that the same agent needs after this action, if it is another one. It looks no further than to the first
/// action of another agent.
#[must_use]
pub fn next_image(workflow: &Workflow, position: Position) -> Option<&str> {
    let task = workflow.status.tasks.get(position.task)?;
    let now = task.actions.get(position.action)?;
    let following = workflow.status.tasks.iter().skip(position.task + 1).take_while(|other| other.agent_id == task.agent_id);
    let later = task.actions.iter().skip(position.action + 1).chain(following.flat_map(|task| &task.actions));
    later.map(|action| action.image.as_str()).find(|image| *image != now.image && !image.is_empty())
}

/// Of an agent's workflows, oldest first, the one to work on: where it was interrupted, else the oldest that has work. Only
/// those that are `ordered` count.
///
/// # Errors
/// Why there is none: the reason of the newest workflow, or `None` without any workflow.
pub fn choose<'w>(
    workflows: impl Iterator<Item = &'w Workflow>,
    agent: &AgentId,
    ordered: impl Fn(&Workflow) -> bool,
) -> Result<(&'w Workflow, Position), Option<Idle>> {
    let (mut first, mut reason) = (None, None);
    for workflow in workflows {
        match next_action(workflow, agent) {
            Next::Run(_) if !ordered(workflow) => reason = Some(Idle::NotOrdered),
            Next::Run(position) if position.again => return Ok((workflow, position)),
            Next::Run(position) => first = first.or(Some((workflow, position))),
            Next::Idle(idle) => reason = Some(idle),
        }
    }
    first.ok_or(reason)
}
