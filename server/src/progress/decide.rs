//! What a command does to a workflow, as events. Pure: the workflow is not changed.

use jiff::Timestamp;
use model::{ActionState, Workflow, WorkflowAction, took_text};

use super::choose::{Next, next_action};
use super::command::{Command, admitted};
use super::evolve::supersedes;
use super::failure::{consequences, expired, skipped};
use super::happened::{Fact, Happened, Which, bounded, name};
use super::{Refused, Report, current, lost, moved, stop};

/// The most characters of the duration that an agent reports.
const MOST_DURATION: usize = 32;

/// The events of the command, in order. An empty list means that it changes nothing.
///
/// # Errors
/// When the workflow does not take the command.
pub fn decide(workflow: &Workflow, command: &Command<'_>, now: Timestamp) -> Result<Vec<Happened>, Refused> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let fact = match command {
        // The state of the action decides first, and the state of the workflow second.
        Command::Report(report) => {
            let fact = reported(workflow, report, now)?;
            if let Some(Fact::Reported { which, state, .. }) = &fact {
                let detached = (*state == ActionState::Running).then(|| detached(workflow, which)).flatten();
                let end = if detached.is_some() { ActionState::Success } else { *state };
                after.extend(detached);
                after.extend(consequences(workflow, which, end, now));
            }
            fact
        }
        Command::HandOut { agent } => match next_action(workflow, agent) {
            Next::Idle(idle) => return Err(Refused::Idle(idle)),
            Next::Run(position) if admitted(workflow, command.word())? => {
                before = skipped(workflow, Some((position.task, position.action)));
                handed_out(workflow, position.again)
            }
            Next::Run(_) => None,
        },
        _ if !admitted(workflow, command.word())? => None,
        Command::Finish { netboot_closed } => Some(Fact::Finished { netboot_closed: *netboot_closed }),
        Command::Cancel { reason, at_once } => cancelled(workflow, reason, *at_once),
        Command::Leave { agent } => {
            let reason = workflow.status.cancellation.as_ref().map_or_else(String::new, |asked| asked.reason.clone());
            stop::is_left_by(workflow, agent).then_some(Fact::Cancelled { reason })
        }
        Command::Expire => expired(workflow, now),
        Command::ClockMoved(by) => moved::concerns(workflow, *by, now).then(|| Fact::ClockMoved { seconds: by.as_secs() }),
        Command::LookAfter(heard) => {
            let fact = lost::look_after(workflow, *heard, now);
            if let Some(Fact::ActionTimedOut { which, last_heard }) = &fact {
                after = lost::consequences(workflow, which, last_heard.is_some(), now);
            }
            fact
        }
        Command::Pause { by, reason } => Some(Fact::Paused { by: name(by), reason: bounded(reason) }),
        Command::Resume { by } => Some(Fact::Resumed { by: name(by) }),
        Command::Retry { from, by, reason } => {
            Some(Fact::Retried { which: retried_from(workflow, *from)?, by: name(by), reason: bounded(reason) })
        }
    };
    Ok(before.into_iter().chain(fact).chain(after).map(|fact| Happened { at: now, fact }).collect())
}

/// The current action, for an event.
pub(super) fn which(workflow: &Workflow) -> Option<Which> {
    current(workflow).and_then(|(task, action, ..)| place(workflow, (task, action)))
}

pub(super) fn place(workflow: &Workflow, (task, action): (usize, usize)) -> Option<Which> {
    let found = workflow.status.tasks.get(task)?;
    let agent = name(&found.agent_id.0).as_str().into();
    Some(Which { task, action, name: name(&found.actions.get(action)?.name), agent })
}

fn handed_out(workflow: &Workflow, again: bool) -> Option<Fact> {
    let (.., action) = current(workflow)?;
    let given = workflow.status.current_state.as_ref();
    if !again && action.attempts > 0 && given.is_some_and(|given| given.action_id == action.id) {
        return None; // the agent asked twice before it ran the action, which changes nothing
    }
    let attempt = if again { action.attempts + 1 } else { action.attempts.max(1) };
    Some(Fact::HandedOut { which: which(workflow)?, attempt, again })
}

fn reported(workflow: &Workflow, report: &Report, now: Timestamp) -> Result<Option<Fact>, Refused> {
    let Some(place_of) = locate(workflow, report)? else { return Ok(None) };
    let (task, index) = place_of;
    let found = workflow.status.tasks.get(task).and_then(|task| task.actions.get(index)).ok_or(Refused::NotFound)?;
    if found.state.is_final() && (found.state == report.state || is_detached(found)) {
        return Ok(None);
    }
    if found.state.is_final() {
        return Err(Refused::Final { action: found.name.clone(), recorded: found.state, reported: report.state });
    }
    admitted(workflow, Command::Report(report).word())?;
    match current(workflow) {
        Some((t, a, ..)) if (t, a) == place_of => {}
        Some((.., current)) => return Err(Refused::NotCurrent { action: found.name.clone(), current: current.name.clone() }),
        None => return Err(Refused::NotFound),
    }
    if report.state == ActionState::Pending {
        return Ok(None); // the report contains nothing new
    }
    if let Some(cancellation) = &workflow.status.cancellation
        && report.state == ActionState::Running
    {
        return Err(Refused::Cancelled { reason: cancellation.reason.clone() });
    }
    let started = report.started.or(found.execution_start).or(Some(now));
    let message = bounded(&report.message);
    let timed = found.timeout <= 0 || workflow.status.action_stop.is_some();
    let same = found.state == report.state && found.execution_start == started && timed;
    if same && (message.is_empty() || message == found.message) {
        return Ok(None);
    }
    let stopped = report.state.is_final().then(|| report.stopped.unwrap_or(now));
    let took = || {
        let took = stopped.zip(started).map(|(stop, start)| stop.duration_since(start));
        took_text(took.filter(|took| !took.is_negative()).unwrap_or_default())
    };
    let duration = match stopped {
        None => String::new(),
        Some(_) if report.duration.is_empty() => took(),
        Some(_) => report.duration.chars().take(MOST_DURATION).collect(),
    };
    let which = place(workflow, place_of).ok_or(Refused::NotFound)?;
    Ok(Some(Fact::Reported { which, state: report.state, started, stopped, duration, message }))
}

/// What an action in the background does once it runs.
fn detached(workflow: &Workflow, which: &Which) -> Option<Fact> {
    let action = workflow.status.tasks.get(which.task)?.actions.get(which.action)?;
    action.background.then(|| Fact::Detached { which: which.clone() })
}

/// It has succeeded by beginning. An agent that knows nothing of that still reports how it ends.
fn is_detached(action: &WorkflowAction) -> bool {
    action.background && action.state == ActionState::Success
}

/// An action of this agent. The id says which attempt of it is meant: an earlier one counts no more. `None` for the end of
/// an attempt that was recorded before the next one was scheduled: its acknowledgement was lost.
fn locate(workflow: &Workflow, report: &Report) -> Result<Option<(usize, usize)>, Refused> {
    let own = workflow.status.tasks.iter().enumerate().filter(|(_, task)| task.agent_id == report.agent);
    for (t, task) in own {
        for (a, action) in task.actions.iter().enumerate() {
            if action.id == report.action_id {
                return Ok(Some((t, a)));
            }
            if supersedes(&action.id, &report.action_id) {
                if action.retried > 0 && matches!(report.state, ActionState::Failed | ActionState::Timeout) {
                    return Ok(None);
                }
                return Err(Refused::Superseded { action: action.name.clone() });
            }
        }
    }
    Err(Refused::NotFound)
}

fn cancelled(workflow: &Workflow, reason: &str, at_once: bool) -> Option<Fact> {
    let asked = workflow.status.cancellation.as_ref();
    let reason = asked.map_or_else(|| bounded(reason), |asked| asked.reason.clone());
    match stop::running_action(workflow).filter(|_| !at_once) {
        Some(_) if asked.is_some() => None,
        Some(running) => Some(Fact::CancelAsked { reason, waits_for: name(&running.action) }),
        None => Some(Fact::Cancelled { reason }),
    }
}

/// The action that did not succeed, or an earlier one by its name.
fn retried_from(workflow: &Workflow, from: Option<&str>) -> Result<Which, Refused> {
    let (task, action, ..) = current(workflow).ok_or(Refused::NoTasks)?;
    let (task, action) = own_action(workflow, (task, action));
    let place = |at| place(workflow, at).ok_or(Refused::NoTasks);
    let Some(from) = from else { return place((task, action)) };
    let mut all = workflow.status.tasks.iter().enumerate().flat_map(|(t, task)| {
        task.actions.iter().enumerate().map(move |(a, action)| (t, a, task.name.as_str(), action.name.as_str()))
    });
    let named = |task: &str, action: &str| {
        from == action || from.strip_prefix(task).and_then(|rest| rest.strip_prefix('/')) == Some(action)
    };
    let found = all.find(|(_, _, task, action)| named(task, action)).ok_or_else(|| Refused::NoAction(bounded(from)))?;
    let wanted = own_action(workflow, (found.0, found.1));
    if wanted > (task, action) {
        return Err(Refused::TooLate { action: found.3.to_owned(), failed: place((task, action))?.name });
    }
    place(wanted)
}

/// A command after a failure belongs to the action before it, which is what a retry begins with.
fn own_action(workflow: &Workflow, (task, action): (usize, usize)) -> (usize, usize) {
    let found = workflow.status.tasks.get(task).and_then(|task| task.actions.get(action));
    let follows = found.is_some_and(|action| action.follows_failure);
    (task, if follows { action.saturating_sub(1) } else { action })
}
