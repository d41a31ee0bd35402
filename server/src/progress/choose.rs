//! Which action an agent is given: of one workflow, and of all that concern it.

use model::{ActionState, AgentId, Workflow};

use super::command::Phase;
use super::{current, order_has_begun};

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
    /// An action has failed and runs again after a pause.
    BackingOff,
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
    if workflow.status.retry_at.is_some() {
        return Next::Idle(Idle::BackingOff);
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
    later.filter(|action| !action.skip).map(|action| action.image.as_str()).find(|image| *image != now.image && !image.is_empty())
}

/// The turn of a workflow on its machine; the lowest comes first, and the order of the orders decides between equals. What
/// has begun is ended before something else begins.
#[must_use]
pub fn turn(workflow: &Workflow) -> u8 {
    if current(workflow).is_some_and(|(.., action)| action.state == ActionState::Running) {
        0
    } else if order_has_begun(workflow) {
        1
    } else {
        2
    }
}

/// The agent whose turn it is in the workflow.
#[must_use]
pub fn turn_agent(workflow: &Workflow) -> Option<&AgentId> {
    current(workflow).map(|(_, _, task, _)| &task.agent_id)
}

/// Of an agent's workflows, in the order of their orders, the one to work on. Only those that are `ordered` count. A paused
/// one that has begun keeps its turn.
///
/// # Errors
/// Why there is none: the reason of the last workflow, or `None` without any workflow.
pub fn choose<'w>(
    workflows: impl Iterator<Item = &'w Workflow>,
    agent: &AgentId,
    ordered: impl Fn(&Workflow) -> bool,
) -> Result<(&'w Workflow, Position), Option<Idle>> {
    let (mut best, mut reason): (Option<(u8, &Workflow, Option<Position>)>, _) = (None, None);
    for workflow in workflows {
        let position = match next_action(workflow, agent) {
            Next::Run(_) if !ordered(workflow) => {
                reason = Some(Idle::NotOrdered);
                continue;
            }
            Next::Run(position) => Some(position),
            Next::Idle(idle) => {
                reason = Some(idle);
                None
            }
        };
        let waits = position.is_none() && keeps_turn(workflow, agent) && ordered(workflow);
        let turn = turn(workflow);
        if (position.is_some() || waits) && best.as_ref().is_none_or(|(other, ..)| turn < *other) {
            best = Some((turn, workflow, position));
        }
    }
    match best {
        Some((_, workflow, Some(position))) => Ok((workflow, position)),
        Some((_, _, None)) => Err(Some(Idle::Paused)),
        None => Err(reason),
    }
}

fn keeps_turn(workflow: &Workflow, agent: &AgentId) -> bool {
    Phase::of(workflow) == Phase::Paused
        && order_has_begun(workflow)
        && current(workflow).is_some_and(|(_, _, task, _)| task.agent_id == *agent)
}
