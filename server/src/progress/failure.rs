//! What follows the end of an action: another attempt after a pause, a command in its image, or continuing without it.

use jiff::{SignedDuration, Timestamp};
use model::{ActionState, Workflow, WorkflowAction, WorkflowState, WorkflowStatus, WorkflowTask};

use super::begin::current_state;
use super::evolve::{advance, next_id};
use super::happened::{Fact, Which};
use super::{current, is_done};

/// The first pause before an action runs again. Each further pause is twice as long.
const PAUSE: i64 = 5;
pub(super) const LONGEST_PAUSE: i64 = 300;

/// The pause before the next attempt, after this many failed ones.
fn pause(failed: u32) -> SignedDuration {
    let doubled = 1_i64.checked_shl(failed.saturating_sub(1).min(32)).unwrap_or(i64::MAX);
    SignedDuration::from_secs(PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE))
}

/// The further consequences of a report. `which` has just ended as `state`.
pub(super) fn consequences(workflow: &Workflow, which: &Which, state: ActionState, now: Timestamp) -> Vec<Fact> {
    if !state.is_final() || workflow.status.cancellation.is_some() {
        return Vec::new();
    }
    let Some(task) = workflow.status.tasks.get(which.task) else { return Vec::new() };
    let Some(action) = task.actions.get(which.action) else { return Vec::new() };
    let mut facts = Vec::new();
    if action.follows_failure {
        let failed = which.action.checked_sub(1).and_then(|index| Some((index, task.actions.get(index)?)));
        match failed {
            Some((index, failed)) if !failed.continues => {
                let which = Which { action: index, name: super::happened::name(&failed.name), ..which.clone() };
                return vec![Fact::CommandEnded { which }];
            }
            _ if state == ActionState::Success => {}
            _ => facts.push(Fact::PassedOver { which: which.clone() }),
        }
    } else if state != ActionState::Success {
        if let Some(begins) = next_attempt(action, now) {
            return vec![Fact::RetryScheduled { which: which.clone(), attempt: action.attempts.max(1) + 1, begins }];
        }
        if !command_after(action, state).is_empty() {
            return vec![Fact::CommandDue { which: which.clone() }];
        }
        if !action.continues {
            return Vec::new();
        }
        facts.push(Fact::PassedOver { which: which.clone() });
    }
    // No later call would record that the remaining actions are skipped, so this one does.
    let left = places(workflow).any(|(t, a, other)| (t, a) != (which.task, which.action) && !is_done(other));
    if !left {
        facts.extend(skipped(workflow, None));
    }
    facts
}

fn places(workflow: &Workflow) -> impl Iterator<Item = (usize, usize, &WorkflowAction)> {
    let tasks = workflow.status.tasks.iter().enumerate();
    tasks.flat_map(|(t, task)| task.actions.iter().enumerate().map(move |(a, action)| (t, a, action)))
}

/// The actions before this position, or all, that are passed over because their `if` is false. Each is recorded once.
pub(super) fn skipped(workflow: &Workflow, before: Option<(usize, usize)>) -> Vec<Fact> {
    let reached = places(workflow).take_while(|(t, a, _)| before.is_none_or(|before| (*t, *a) < before));
    let skipped = reached.filter(|(.., action)| action.skip && action.state == ActionState::Pending);
    skipped.filter_map(|(t, a, _)| Some(Fact::Skipped { which: super::decide::place(workflow, (t, a))? })).collect()
}

/// When the action runs again, if at all.
fn next_attempt(action: &WorkflowAction, now: Timestamp) -> Option<Timestamp> {
    if action.retried >= action.retries {
        return None;
    }
    let begins = now.checked_add(pause(action.retried + 1)).ok()?;
    // If the timeout covers all attempts, there must be time left when the next one begins.
    (time_left(action, begins) != Some(0)).then_some(begins)
}

/// How many seconds an attempt may take, or `None` without a limit.
#[must_use]
pub fn time_left(action: &WorkflowAction, now: Timestamp) -> Option<i64> {
    if action.timeout <= 0 {
        return None;
    }
    let Some(first) = action.first_start.filter(|_| action.timeout_of_all) else { return Some(action.timeout) };
    let spent = now.duration_since(first).as_secs().max(0);
    Some((action.timeout - spent).max(0))
}

fn command_after(action: &WorkflowAction, state: ActionState) -> &[String] {
    if state == ActionState::Timeout { &action.on_timeout } else { &action.on_failure }
}

/// The next attempt has a different id, so that reports about this one do not count for it.
pub(super) fn schedule(status: &mut WorkflowStatus, which: &Which, begins: Timestamp) {
    let Some(action) = status.tasks.get_mut(which.task).and_then(|task| task.actions.get_mut(which.action)) else { return };
    let said = if action.message.is_empty() { String::new() } else { format!(": {}", action.message) };
    let at = begins.round(jiff::Unit::Second).unwrap_or(begins);
    let next = action.attempts.max(1) + 1;
    let most = action.retries - action.retried.min(action.retries) + next - 1;
    status.message = format!(
        "action {} ended {} in attempt {}{said}; attempt {next} of {most} begins at {at}",
        action.name,
        action.state,
        next - 1
    );
    *action = WorkflowAction {
        id: next_id(&action.id),
        state: ActionState::Pending,
        execution_start: None,
        execution_stop: None,
        execution_duration: String::new(),
        attempts: next,
        retried: action.retried + 1,
        ..std::mem::take(action)
    };
    status.state = Some(WorkflowState::Running);
    status.action_stop = None;
    status.retry_at = Some(begins);
}

/// Inserts the command after the failed action, as a separate action.
pub(super) fn add_command(status: &mut WorkflowStatus, which: &Which) {
    let Some(task) = status.tasks.get_mut(which.task) else { return };
    let Some(failed) = task.actions.get_mut(which.action) else { return };
    let word = if failed.state == ActionState::Timeout { "on-timeout" } else { "on-failure" };
    let command = WorkflowAction {
        id: format!("{}-{word}", failed.id),
        name: format!("{}: {word}", failed.name),
        image: failed.image.clone(),
        timeout: failed.timeout,
        command: command_after(failed, failed.state).to_vec(),
        volumes: failed.volumes.clone(),
        pid: failed.pid.clone(),
        namespaces: failed.namespaces.clone(),
        environment: failed.environment.clone(),
        follows_failure: true,
        ..WorkflowAction::default()
    };
    failed.passed_over = true;
    task.actions.insert(which.action + 1, command);
    status.state = Some(WorkflowState::Running);
}

/// The command after the failure has ended, which also ends the workflow.
pub(super) fn end_after_command(status: &mut WorkflowStatus, which: &Which) {
    let Some(task) = status.tasks.get_mut(which.task) else { return };
    let command = task.actions.get(which.action + 1).map(|command| command.state);
    let Some(failed) = task.actions.get_mut(which.action) else { return };
    failed.passed_over = false;
    let said = if failed.message.is_empty() { String::new() } else { format!(": {}", failed.message) };
    let command = command.map_or_else(String::new, |state| format!("; the command after it ended {state}"));
    status.message = format!("action {} ended {}{said}{command}", failed.name, failed.state);
    status.state = Some(if failed.state == ActionState::Timeout { WorkflowState::Timeout } else { WorkflowState::Failed });
    status.current_state = current_state(task, which.action);
}

pub(super) fn pass_over(workflow: &mut Workflow, which: &Which) {
    let status = &mut workflow.status;
    let Some(action) = status.tasks.get_mut(which.task).and_then(|task| task.actions.get_mut(which.action)) else { return };
    action.passed_over = true;
    let said = if action.message.is_empty() { String::new() } else { format!(": {}", action.message) };
    status.message = format!("action {} ended {}{said}; the workflow goes on", action.name, action.state);
    status.state = Some(WorkflowState::Running);
    advance(workflow);
}

pub(super) fn skip(status: &mut WorkflowStatus, which: &Which) {
    let Some(action) = status.tasks.get_mut(which.task).and_then(|task| task.actions.get_mut(which.action)) else { return };
    action.state = ActionState::Success;
    "skipped: its `if` is false".clone_into(&mut action.message);
}

/// Removes commands after failures of a task, from this action on, because a new try does not include them.
pub(super) fn without_commands(task: &mut WorkflowTask, first: usize) {
    let mut index = 0;
    task.actions.retain(|action| {
        index += 1;
        index <= first || !action.follows_failure
    });
}

/// The next moment at which something ends or begins without a call.
#[must_use]
pub fn deadline(workflow: &Workflow) -> Option<Timestamp> {
    let status = &workflow.status;
    let runnable = status.state.is_some_and(WorkflowState::is_runnable);
    [status.global_execution_stop, status.task_stop, status.retry_at].into_iter().flatten().min().filter(|_| runnable)
}

/// What happens because time has passed.
pub(super) fn expired(workflow: &Workflow, now: Timestamp) -> Option<Fact> {
    let status = &workflow.status;
    let past = |stop: Option<Timestamp>| stop.is_some_and(|stop| now >= stop);
    if past(status.global_execution_stop) {
        return Some(Fact::Expired);
    }
    if past(status.task_stop) {
        let (task, ..) = current(workflow)?;
        let found = status.tasks.get(task)?;
        return Some(Fact::TaskExpired { task, name: super::happened::name(&found.name), seconds: found.timeout });
    }
    past(status.retry_at).then_some(Fact::RetryDue)
}

/// What the message of a success should mention: skipped actions, failed ones, attempts.
pub(super) fn notes(status: &WorkflowStatus) -> String {
    let actions = || status.tasks.iter().flat_map(|task| &task.actions);
    let count = |number: usize, words: &str| if number > 0 { format!("; {number} {words}") } else { String::new() };
    let retried: u32 = actions().map(|action| action.retried).sum();
    let interrupted: u32 = actions().map(|action| action.attempts.saturating_sub(1).saturating_sub(action.retried)).sum();
    let failed = actions().filter(|action| action.passed_over && !action.follows_failure).count();
    count(interrupted as usize, "interrupted attempts were repeated")
        + &count(retried as usize, "failed attempts were repeated")
        + &count(actions().filter(|action| action.skip).count(), "were skipped")
        + &count(failed, "failed and were passed over")
}

#[cfg(test)]
mod tests;
