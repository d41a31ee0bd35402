//! Applies an event to the status of its workflow. It decides nothing and cannot fail.

use jiff::{SignedDuration, Timestamp};
use model::{ActionState, Cancellation, Logged, Paused, Workflow, WorkflowAction, WorkflowState, WorkflowStatus};

use super::begin::current_state;
use super::current;
use super::failure::{self, time_left};
use super::happened::{Fact, Happened, Which};
use super::lost::lost_message;
use super::moved::follow_clock;

/// Applies an event to the workflow.
pub fn evolve(workflow: &mut Workflow, Happened { at, fact }: &Happened) {
    let status = &mut workflow.status;
    let entries = status.logged.map_or(0, |logged| logged.entries) + 1;
    status.logged = Some(Logged { entries, latest: *at });
    match fact {
        Fact::Prepared { state, message, rendering, ordered, boot_options, .. } => {
            status.state = *state;
            status.message.clone_from(message);
            status.template_rendering.clone_from(rendering);
            status.ordered = *ordered;
            status.boot_options.clone_from(boot_options);
        }
        Fact::HandedOut { which, again, .. } => hand_out(status, which, *again, *at),
        Fact::Reported { .. } => report(workflow, fact, *at),
        Fact::Detached { which } => detach(workflow, which, *at),
        Fact::Finished { netboot_closed } => finish(status, *netboot_closed),
        Fact::CancelAsked { reason, waits_for } => {
            ask_to_end(status, reason, *at);
            status.message = format!("cancelled: {reason}; waits for action {waits_for} to end");
        }
        Fact::Cancelled { reason } => {
            ask_to_end(status, reason, *at);
            end_running(status, ActionState::Failed, "cancelled", *at);
            end_between_actions(status);
        }
        Fact::Expired => {
            let message = format!("the workflow's global timeout of {} s has passed", status.global_timeout);
            end_running(status, ActionState::Timeout, &message, *at);
            status.state = Some(WorkflowState::Timeout);
            status.message = message;
        }
        Fact::ActionTimedOut { which, last_heard } => time_out(status, which, *last_heard, *at),
        Fact::AgentLost { last_heard, .. } => workflow.status.message = lost_message(workflow, *last_heard),
        Fact::AgentHeard => status.message.clear(),
        Fact::ClockMoved { seconds } => follow_clock(workflow, SignedDuration::from_secs(*seconds), *at),
        Fact::Paused { by, reason } => {
            status.paused = Some(Paused { since: *at, by: by.clone(), reason: reason.clone() });
        }
        Fact::Resumed { .. } => status.paused = None,
        Fact::Retried { which, by, reason } => retry(status, which, by, reason),
        Fact::Skipped { which } => failure::skip(status, which),
        Fact::RetryScheduled { which, begins, .. } => failure::schedule(status, which, *begins),
        Fact::RetryDue => status.retry_at = None,
        Fact::CommandDue { which } => failure::add_command(status, which),
        Fact::CommandEnded { which } => failure::end_after_command(status, which),
        Fact::PassedOver { which } => failure::pass_over(workflow, which),
        Fact::TaskExpired { name, seconds, .. } => {
            let message = format!("the timeout of {seconds} s of task {name} has passed");
            end_running(status, ActionState::Timeout, &message, *at);
            status.state = Some(WorkflowState::Timeout);
            status.message = message;
        }
    }
    let status = &mut workflow.status;
    if !says_nothing_of_actions(fact) {
        status.progress = None;
    }
    if status.state.is_some_and(WorkflowState::is_final) {
        (status.retry_at, status.task_stop) = (None, None);
    }
}

/// The running action goes on as if this had not happened.
const fn says_nothing_of_actions(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::AgentLost { .. }
            | Fact::AgentHeard
            | Fact::ClockMoved { .. }
            | Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::CancelAsked { .. }
    )
}

fn hand_out(status: &mut WorkflowStatus, which: &Which, again: bool, now: Timestamp) {
    let Some(task) = status.tasks.get_mut(which.task) else { return };
    let Some(action) = task.actions.get_mut(which.action) else { return };
    if again {
        action.attempts += 1;
        action.message = format!("interrupted; handed out again, attempt {}", action.attempts);
        status.message = format!("action {} was interrupted and begins again, attempt {}", action.name, action.attempts);
        status.action_stop = after(now, time_left(action, now).unwrap_or(0));
    } else {
        action.attempts = action.attempts.max(1);
    }
    action.first_start = action.first_start.or(Some(now));
    if status.current_state.as_ref().is_none_or(|given| given.task_id != task.id) || status.task_stop.is_none() {
        status.task_stop = after(now, task.timeout);
    }
    status.agent_id = Some(task.agent_id.clone());
    status.current_state = current_state(task, which.action);
    begin_to_count(status, now);
}

/// The global timeout starts when the first action is handed out.
fn begin_to_count(status: &mut WorkflowStatus, now: Timestamp) {
    status.begun.get_or_insert(now);
    if status.global_execution_stop.is_none() {
        status.global_execution_stop = after(now, status.global_timeout);
    }
}

fn after(now: Timestamp, seconds: i64) -> Option<Timestamp> {
    (seconds > 0).then(|| now.checked_add(SignedDuration::from_secs(seconds)).ok()).flatten()
}

fn report(workflow: &mut Workflow, fact: &Fact, now: Timestamp) {
    let Fact::Reported { which, state, started, stopped, duration, message } = fact else { return };
    let status = &mut workflow.status;
    let Some(task) = status.tasks.get_mut(which.task) else { return };
    let Some(action) = task.actions.get_mut(which.action) else { return };
    action.state = *state;
    action.attempts = action.attempts.max(1);
    action.execution_start = *started;
    if !message.is_empty() {
        action.message.clone_from(message);
    }
    if state.is_final() {
        action.execution_stop = *stopped;
        action.execution_duration.clone_from(duration);
    }
    action.first_start = action.first_start.or(Some(now));
    let left = time_left(action, now).unwrap_or(0);
    status.action_stop = if *state == ActionState::Running { after(now, left) } else { None };
    status.current_state = current_state(task, which.action);
    let Some(action) = task.actions.get(which.action) else { return };
    if matches!(state, ActionState::Failed | ActionState::Timeout) {
        let reason = if action.message.is_empty() { String::new() } else { format!(": {}", action.message) };
        let tries = if action.attempts > 1 { format!(" in attempt {}", action.attempts) } else { String::new() };
        status.message = format!("action {} ended {state}{tries}{reason}", action.name);
        say_if_cancelled(status);
        status.state = Some(if *state == ActionState::Failed { WorkflowState::Failed } else { WorkflowState::Timeout });
        return;
    }
    status.state = Some(WorkflowState::Running);
    begin_to_count(status, now);
    if *state == ActionState::Success {
        advance(workflow);
    }
}

fn detach(workflow: &mut Workflow, which: &Which, now: Timestamp) {
    let status = &mut workflow.status;
    let Some(task) = status.tasks.get_mut(which.task) else { return };
    let Some(action) = task.actions.get_mut(which.action) else { return };
    (action.state, action.execution_stop) = (ActionState::Success, Some(now));
    "goes on in the background".clone_into(&mut action.message);
    status.action_stop = None;
    status.current_state = current_state(task, which.action);
    advance(workflow);
}

/// After a success: the next task's agent, or the end.
pub(super) fn advance(workflow: &mut Workflow) {
    let next = current(workflow).map(|(_, _, task, _)| (task.id.clone(), task.agent_id.clone()));
    let status = &mut workflow.status;
    let given = status.current_state.as_ref().map(|given| &given.task_id);
    if next.as_ref().map(|(task, _)| task) != given {
        status.task_stop = None;
    }
    let next = next.map(|(_, agent)| agent);
    match next {
        Some(_) if status.cancellation.is_some() => end_between_actions(status),
        Some(agent) => status.agent_id = Some(agent),
        None => status.state = Some(WorkflowState::Post),
    }
}

fn finish(status: &mut WorkflowStatus, netboot_closed: bool) {
    status.state = Some(WorkflowState::Success);
    let failed = status.tasks.iter().flat_map(|task| &task.actions).any(|action| action.passed_over);
    let (all, note) = (if failed { "all other actions" } else { "all actions" }, failure::notes(status));
    let late = if status.cancellation.is_some() { "; the cancellation came too late" } else { "" };
    status.message = format!("{all} succeeded{note}{late}");
    if netboot_closed {
        status.boot_options.get_or_insert_default().allow_netboot.toggled_false = true;
    }
}

fn ask_to_end(status: &mut WorkflowStatus, reason: &str, now: Timestamp) {
    status.cancellation.get_or_insert_with(|| Cancellation { requested: now, reason: reason.to_owned() });
}

fn end_running(status: &mut WorkflowStatus, state: ActionState, message: &str, now: Timestamp) {
    let mut actions = status.tasks.iter_mut().flat_map(|task| &mut task.actions);
    let Some(action) = actions.find(|action| action.state == ActionState::Running) else { return };
    action.state = state;
    action.execution_stop = Some(now);
    message.clone_into(&mut action.message);
    status.action_stop = None;
    if let Some(current) = &mut status.current_state {
        current.state = state;
    }
}

fn end_between_actions(status: &mut WorkflowStatus) {
    status.state = Some(WorkflowState::Failed);
    status.message.clear();
    say_if_cancelled(status);
}

/// Puts the reason for a cancellation in front of the message.
fn say_if_cancelled(status: &mut WorkflowStatus) {
    let Some(cancellation) = &status.cancellation else { return };
    let before = if status.message.is_empty() { String::new() } else { format!("; {}", status.message) };
    status.message = format!("cancelled: {}{before}", cancellation.reason);
}

fn time_out(status: &mut WorkflowStatus, which: &Which, last_heard: Option<Timestamp>, now: Timestamp) {
    let Some(task) = status.tasks.get(which.task) else { return };
    let Some(action) = task.actions.get(which.action) else { return };
    let lost = last_heard.map_or_else(String::new, |at| format!("; agent {} was last heard at {at}", task.agent_id));
    let message = format!("its timeout of {} s has passed without a report{lost}", action.timeout);
    let workflow = format!("action {} ended TIMEOUT: {message}", action.name);
    end_running(status, ActionState::Timeout, &message, now);
    status.state = Some(WorkflowState::Timeout);
    status.message = workflow;
}

/// Resets the actions from this one on, as if they had never run. New ids exclude reports about earlier attempts.
fn retry(status: &mut WorkflowStatus, which: &Which, by: &str, reason: &str) {
    for (t, task) in status.tasks.iter_mut().enumerate().skip(which.task) {
        let first = if t == which.task { which.action } else { 0 };
        failure::without_commands(task, first);
        task.actions.iter_mut().skip(first).for_each(reset);
    }
    let Some(task) = status.tasks.get(which.task) else { return };
    let Some(action) = task.actions.get(which.action) else { return };
    status.state = Some(if (which.task, which.action) == (0, 0) { WorkflowState::Pending } else { WorkflowState::Running });
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    status.message = format!("ordered again from action {} by {by}{why}", action.name);
    status.agent_id = Some(task.agent_id.clone());
    if status.current_state.is_some() {
        status.current_state = current_state(task, which.action);
    }
    (status.cancellation, status.paused) = (None, None);
    (status.begun, status.action_stop, status.global_execution_stop) = (None, None, None);
    (status.retry_at, status.task_stop) = (None, None);
}

fn reset(action: &mut WorkflowAction) {
    *action = WorkflowAction {
        // An agent may have the id of an action that has begun. An imported workflow has no attempts.
        id: if action.attempts > 0 || action.state != ActionState::Pending { next_id(&action.id) } else { action.id.clone() },
        state: ActionState::Pending,
        execution_start: None,
        execution_stop: None,
        execution_duration: String::new(),
        message: String::new(),
        attempts: 0,
        retried: 0,
        passed_over: false,
        first_start: None,
        ..std::mem::take(action)
    };
}

/// `ID` is the first order of an action, and `ID.2` the second.
fn split(id: &str) -> (&str, u32) {
    let parts = id.rsplit_once('.').and_then(|(first, order)| Some((first, order.parse().ok()?)));
    parts.unwrap_or((id, 1))
}

pub(super) fn first_id(id: &str) -> &str {
    split(id).0
}

pub(super) fn next_id(id: &str) -> String {
    let (first, order) = split(id);
    format!("{first}.{}", order.saturating_add(1))
}

/// Whether the other id belongs to an earlier order of the same action.
pub(super) fn supersedes(id: &str, other: &str) -> bool {
    let ((first, order), (other_first, other_order)) = (split(id), split(other));
    first == other_first && other_order < order
}
