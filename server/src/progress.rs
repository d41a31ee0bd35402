//! What a workflow does next and what a report does to it. Pure: no clock, no store.
//!
//! The rules: actions run in order, one at a time, at least once. An action that is PENDING or RUNNING is handed out
//! again when its agent asks. A final state stays final: nothing runs after a recorded failure, and a finished workflow
//! never runs again.

mod cancel;
mod lost;

use jiff::{SignedDuration, Timestamp};
use model::{ActionState, AgentId, CurrentState, Document, Workflow, WorkflowAction, WorkflowState, WorkflowTask, took_text};

pub use cancel::{cancel, end_cancelled, is_left_by, why_stop};
pub use lost::{Heard, is_neglected, look_after, runs_on};

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
    /// The intent of the machine gives it no work.
    NotOrdered,
    OtherAgent,
    NothingLeft,
}

/// What an agent reports of an action.
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

/// What a report did to a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A repeated report says nothing new.
    Nothing,
    Recorded,
    /// The last action succeeded; `finish` ends the workflow once the work after it is done.
    LastAction,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("action not found")]
    NotFound,
    #[error("action {action} is {recorded} and stays so, {reported} was reported")]
    Final { action: String, recorded: ActionState, reported: ActionState },
    #[error("the workflow is {state} and stays so")]
    Finished { state: WorkflowState },
    #[error("the workflow is cancelled: {reason}")]
    Cancelled { reason: String },
    #[error("action {action} is not the current one, {current} is")]
    NotCurrent { action: String, current: String },
}

/// Puts the rendered tasks into a workflow that has not started. `new_id` gives each task and action its ULID.
pub fn begin(workflow: &mut Workflow, document: Document, mut new_id: impl FnMut() -> String) {
    let mut task = |task: model::Task| WorkflowTask {
        id: new_id(),
        name: task.name,
        agent_id: AgentId(task.worker),
        volumes: task.volumes,
        environment: task.environment,
        actions: task.actions.into_iter().map(|action| pending(action, new_id())).collect(),
    };
    let status = &mut workflow.status;
    status.tasks = document.tasks.into_iter().map(&mut task).collect();
    status.agent_id = status.tasks.first().map(|task| task.agent_id.clone());
    status.global_timeout = document.global_timeout;
    status.template_rendering = Some("successful".to_owned());
    status.state = Some(WorkflowState::Pending);
    status.message.clear();
}

fn pending(action: model::Action, id: String) -> WorkflowAction {
    WorkflowAction {
        id,
        name: action.name,
        image: action.image,
        timeout: action.timeout,
        command: action.command,
        volumes: action.volumes,
        pid: action.pid,
        namespaces: action.namespaces,
        environment: action.environment,
        ..WorkflowAction::default()
    }
}

/// Whether an action was handed out: what a machine had may be gone.
#[must_use]
pub const fn has_begun(workflow: &Workflow) -> bool {
    workflow.status.current_state.is_some()
}

/// The first action that has not succeeded.
fn current(workflow: &Workflow) -> Option<(usize, usize, &WorkflowTask, &WorkflowAction)> {
    workflow.status.tasks.iter().enumerate().find_map(|(t, task)| {
        let (a, action) = task.actions.iter().enumerate().find(|(_, action)| action.state != ActionState::Success)?;
        Some((t, a, task, action))
    })
}

/// What the agent is to do in this workflow.
#[must_use]
pub fn next_action(workflow: &Workflow, agent: &AgentId) -> Next {
    if workflow.spec.disabled == Some(true) || workflow.status.tasks.is_empty() {
        return Next::Idle(Idle::NoTasks);
    }
    match workflow.status.state {
        Some(WorkflowState::Pending | WorkflowState::Running) => {}
        Some(WorkflowState::Preparing) => return Next::Idle(Idle::Preparing),
        _ => return Next::Idle(Idle::NotRunnable),
    }
    if workflow.status.cancellation.is_some() {
        return Next::Idle(Idle::NotRunnable);
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

/// Notes that the action was handed out.
pub fn hand_out(workflow: &mut Workflow, position: Position) {
    let status = &mut workflow.status;
    let Some(task) = status.tasks.get_mut(position.task) else { return };
    let Some(action) = task.actions.get_mut(position.action) else { return };
    if position.again {
        action.attempts += 1;
        action.message = format!("interrupted; handed out again, attempt {}", action.attempts);
        status.message = format!("action {} was interrupted and begins again, attempt {}", action.name, action.attempts);
    } else {
        action.attempts = action.attempts.max(1);
    }
    let now = CurrentState {
        agent_id: task.agent_id.clone(),
        task_id: task.id.clone(),
        action_id: action.id.clone(),
        state: action.state,
        action_name: action.name.clone(),
        task_name: task.name.clone(),
    };
    status.agent_id = Some(now.agent_id.clone());
    status.current_state = Some(now);
}

/// Records a report.
///
/// # Errors
/// `Refused` leaves the workflow as it was.
pub fn record(workflow: &mut Workflow, report: &Report, now: Timestamp) -> Result<Effect, Refused> {
    let (task, index) = locate(workflow, report).ok_or(Refused::NotFound)?;
    let found = workflow.status.tasks.get(task).and_then(|task| task.actions.get(index)).ok_or(Refused::NotFound)?;
    if found.state.is_final() && found.state == report.state {
        return Ok(Effect::Nothing);
    }
    if found.state.is_final() {
        return Err(Refused::Final { action: found.name.clone(), recorded: found.state, reported: report.state });
    }
    match workflow.status.state {
        Some(state) if state.is_runnable() => {}
        state => return Err(Refused::Finished { state: state.unwrap_or(WorkflowState::Preparing) }),
    }
    match current(workflow) {
        Some((t, a, ..)) if (t, a) == (task, index) => {}
        Some((.., current)) => return Err(Refused::NotCurrent { action: found.name.clone(), current: current.name.clone() }),
        None => return Err(Refused::NotFound),
    }
    if report.state == ActionState::Pending {
        return Ok(Effect::Nothing); // says nothing that is not known
    }
    if let Some(cancellation) = &workflow.status.cancellation
        && report.state == ActionState::Running
    {
        return Err(Refused::Cancelled { reason: cancellation.reason.clone() });
    }
    Ok(set_state(workflow, (task, index), report, now))
}

fn locate(workflow: &Workflow, report: &Report) -> Option<(usize, usize)> {
    workflow.status.tasks.iter().enumerate().filter(|(_, task)| task.agent_id == report.agent).find_map(|(t, task)| {
        let (a, _) = task.actions.iter().enumerate().find(|(_, action)| action.id == report.action_id)?;
        Some((t, a))
    })
}

fn set_state(workflow: &mut Workflow, (task, index): (usize, usize), report: &Report, now: Timestamp) -> Effect {
    let status = &mut workflow.status;
    let (Some(task), first) = (status.tasks.get_mut(task), (task, index) == (0, 0)) else { return Effect::Nothing };
    let Some(action) = task.actions.get_mut(index) else { return Effect::Nothing };
    let before = action.clone();
    action.state = report.state;
    action.attempts = action.attempts.max(1);
    action.execution_start = report.started.or(action.execution_start).or(Some(now));
    if !report.message.is_empty() {
        action.message.clone_from(&report.message);
    }
    if report.state.is_final() {
        let stop = report.stopped.unwrap_or(now);
        action.execution_stop = Some(stop);
        let took =
            action.execution_start.map(|start| stop.duration_since(start)).filter(|took| !took.is_negative()).unwrap_or_default();
        action.execution_duration = if report.duration.is_empty() { took_text(took) } else { report.duration.clone() };
    }
    let limit = (report.state == ActionState::Running && action.timeout > 0).then_some(action.timeout);
    status.action_stop = limit.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
    let unchanged = *action == before;
    status.current_state = Some(CurrentState {
        agent_id: task.agent_id.clone(),
        task_id: task.id.clone(),
        action_id: action.id.clone(),
        state: report.state,
        action_name: action.name.clone(),
        task_name: task.name.clone(),
    });
    let (name, message, attempts) = (action.name.clone(), action.message.clone(), action.attempts);
    match report.state {
        ActionState::Failed | ActionState::Timeout => {
            let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
            let tries = if attempts > 1 { format!(" in attempt {attempts}") } else { String::new() };
            status.message = format!("action {name} ended {}{tries}{reason}", report.state);
            cancel::say_if_cancelled(status);
            status.state = Some(if report.state == ActionState::Failed { WorkflowState::Failed } else { WorkflowState::Timeout });
            return Effect::Recorded;
        }
        _ => status.state = Some(WorkflowState::Running),
    }
    if first && status.global_execution_stop.is_none() && status.global_timeout > 0 {
        status.global_execution_stop = now.checked_add(SignedDuration::from_secs(status.global_timeout)).ok();
    }
    if report.state == ActionState::Running {
        return if unchanged { Effect::Nothing } else { Effect::Recorded };
    }
    advance(workflow)
}

/// After a success: the next task's agent, or the end.
fn advance(workflow: &mut Workflow) -> Effect {
    match current(workflow).map(|(_, _, task, _)| task.agent_id.clone()) {
        Some(_) if workflow.status.cancellation.is_some() => {
            cancel::end_between_actions(workflow);
            Effect::Recorded
        }
        Some(agent) => {
            workflow.status.agent_id = Some(agent);
            Effect::Recorded
        }
        None => {
            workflow.status.state = Some(WorkflowState::Post);
            Effect::LastAction
        }
    }
}

/// The work after the last action is done.
pub fn finish(workflow: &mut Workflow) {
    if workflow.status.state == Some(WorkflowState::Post) {
        workflow.status.state = Some(WorkflowState::Success);
        let repeated: u32 =
            workflow.status.tasks.iter().flat_map(|task| &task.actions).map(|action| action.attempts.saturating_sub(1)).sum();
        let note = if repeated > 0 { format!("; {repeated} interrupted attempts were repeated") } else { String::new() };
        let late = if workflow.status.cancellation.is_some() { "; the request to cancel it came too late" } else { "" };
        workflow.status.message = format!("all actions succeeded{note}{late}");
    }
}

/// Ends a workflow whose global timeout has passed. True if it did.
pub fn expire(workflow: &mut Workflow, now: Timestamp) -> bool {
    let status = &mut workflow.status;
    if !status.state.is_some_and(WorkflowState::is_runnable) || status.global_execution_stop.is_none_or(|stop| now < stop) {
        return false;
    }
    let message = format!("the workflow's global timeout of {} s has passed", status.global_timeout);
    if let Some(action) =
        status.tasks.iter_mut().flat_map(|task| &mut task.actions).find(|action| action.state == ActionState::Running)
    {
        action.state = ActionState::Timeout;
        action.execution_stop = Some(now);
        action.message.clone_from(&message);
    }
    if let Some(current) = &mut status.current_state {
        current.state = ActionState::Timeout;
    }
    status.state = Some(WorkflowState::Timeout);
    status.message = message;
    true
}

#[cfg(test)]
mod tests;
