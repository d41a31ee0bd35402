//! Chooses the action that an agent gets, from one workflow and from all workflows of the agent.

use model::{ActionState, AgentId, Workflow};

use super::command::Phase;
use super::{current, is_done, order_has_begun};

/// What an agent that asks for work should do in this workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Run(Position),
    Idle(Idle),
}

/// The position of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub task: usize,
    pub action: usize,
    /// Whether the agent has already reported this action as RUNNING. It was interrupted and begins again.
    pub again: bool,
}

/// Why this workflow has no work for this agent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Not rendered, or disabled.
    NoTasks,
    Preparing,
    /// The state does not allow handing out actions.
    NotRunnable,
    Paused,
    /// An action has failed and runs again after a pause.
    BackingOff,
    /// The machine's intent gives it no work.
    NotOrdered,
    /// Another workflow has begun on one of its machines.
    Queued,
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

/// The image that the same agent needs after this action, if it differs. The search ends at the first action of another
/// agent.
#[must_use]
pub fn next_image(workflow: &Workflow, position: Position) -> Option<&str> {
    let task = workflow.status.tasks.get(position.task)?;
    let now = task.actions.get(position.action)?;
    let following = workflow.status.tasks.iter().skip(position.task + 1).take_while(|other| other.agent_id == task.agent_id);
    let later = task.actions.iter().skip(position.action + 1).chain(following.flat_map(|task| &task.actions));
    later.filter(|action| !action.skip).map(|action| action.image.as_str()).find(|image| *image != now.image && !image.is_empty())
}

/// The priority of a workflow on its machine. The lowest number comes first, and equal ones follow the order of their
/// orders. A workflow that has begun comes before one that has not.
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

/// Of an agent's workflows, in the order of their orders, the one to work on. `may` says whether the machines let it run. One
/// that has begun keeps its turn while it is paused, waits for its next attempt, or goes on elsewhere first.
///
/// # Errors
/// Why there is none: the reason of the workflow whose turn it is, or of the last one; `None` without any workflow.
pub fn choose<'w>(
    workflows: impl Iterator<Item = &'w Workflow>,
    agent: &AgentId,
    may: impl Fn(&Workflow) -> Result<(), Idle>,
) -> Result<(&'w Workflow, Position), Option<Idle>> {
    type Candidate<'w> = ((u8, bool), &'w Workflow, Result<Position, Idle>);
    let (mut best, mut reason): (Option<Candidate<'w>>, _) = (None, None);
    for workflow in workflows {
        let next = match next_action(workflow, agent) {
            Next::Run(position) => may(workflow).map(|()| position),
            Next::Idle(idle) => Err(idle),
        };
        reason = next.err().or(reason);
        if next.is_err() && !(keeps_turn(workflow, agent) && may(workflow).is_ok()) {
            continue;
        }
        let rank = (turn(workflow), next.is_err());
        if best.as_ref().is_none_or(|(other, ..)| rank < *other) {
            best = Some((rank, workflow, next));
        }
    }
    match best {
        Some((_, workflow, Ok(position))) => Ok((workflow, position)),
        Some((.., Err(idle))) => Err(Some(idle)),
        None => Err(reason),
    }
}

/// Whether it has begun and is to run something on this agent yet: nothing else begins there meanwhile.
#[must_use]
pub fn keeps_turn(workflow: &Workflow, agent: &AgentId) -> bool {
    let goes_on = matches!(Phase::of(workflow), Phase::Pending | Phase::Running | Phase::Paused | Phase::Cancelling);
    let own = workflow.status.tasks.iter().filter(|task| task.agent_id == *agent);
    goes_on && order_has_begun(workflow) && own.flat_map(|task| &task.actions).any(|action| !is_done(action))
}

/// Whether an action of its latest order was handed out to one of these agents.
#[must_use]
pub fn has_begun_on(workflow: &Workflow, is_here: impl Fn(&AgentId) -> bool) -> bool {
    let here = workflow.status.tasks.iter().filter(|task| is_here(&task.agent_id));
    order_has_begun(workflow) && here.flat_map(|task| &task.actions).any(|action| action.attempts > 0)
}
