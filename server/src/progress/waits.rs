//! What a workflow waits for, since when, and whether that is overdue. Pure.

use api::{Intent, MachineState, WaitPhase, Waiting};
use jiff::{SignedDuration, Timestamp};
use model::{ActionState, ObjectName, Workflow, WorkflowAction, WorkflowState, WorkflowTask};

use super::command::Phase;
use super::failure::LONGEST_PAUSE;
use super::lost::{MARGIN, SILENT};
use super::{current, order_has_begun};

/// The limit for people: templates, approvals, pauses, and workflows that go first.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The limit from the order to the agent's first call. Servers take minutes to start.
const BOOT: SignedDuration = SignedDuration::from_mins(20);
/// The limit for an action without a timeout.
const ACTION: SignedDuration = SignedDuration::from_hours(1);

/// The facts besides the workflow itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// The machine of the agent whose turn it is.
    pub machine: Option<(&'a ObjectName, &'a MachineState)>,
    /// The latest call of that agent.
    pub heard: Option<Timestamp>,
    /// The workflow that goes first on that machine.
    pub ahead: Option<&'a ObjectName>,
}

/// Why the workflow does not continue now, or `None` after its end.
#[must_use]
pub fn waits(workflow: &Workflow, around: Around<'_>, now: Timestamp) -> Option<Waiting> {
    let status = &workflow.status;
    let latest =
        status.logged.map(|logged| logged.latest).or(status.ordered).or(workflow.metadata.creation_timestamp).unwrap_or(now);
    let waiting = |phase, reason: String, since: Timestamp, limit: SignedDuration| {
        let overdue = now.duration_since(since) > limit;
        Some(Waiting { phase, reason, since, limit: limit.as_secs().unsigned_abs(), overdue })
    };
    match Phase::of(workflow) {
        Phase::Succeeded | Phase::Failed | Phase::TimedOut => return None,
        Phase::NotReady | Phase::Preparing | Phase::Post => {
            return waiting(WaitPhase::Ready, not_ready(workflow), latest, DAY);
        }
        Phase::Cancelling => {
            let since = status.cancellation.as_ref().map_or(latest, |asked| asked.requested);
            return waiting(WaitPhase::Stop, "its running action is being stopped".to_owned(), since, SILENT);
        }
        Phase::Pending | Phase::Running | Phase::Paused => {}
    }
    let (.., task, action) = current(workflow)?;
    if action.state == ActionState::Running {
        let (since, limit) = running(workflow, action).unwrap_or((latest, ACTION));
        return waiting(WaitPhase::Report, format!("action {} runs on agent {}", action.name, task.agent_id), since, limit);
    }
    if let Some(paused) = &status.paused {
        let reason = if paused.reason.is_empty() { String::new() } else { format!(": {}", paused.reason) };
        let reason = format!("paused by {}{reason}; `thimble workflow resume` continues it", paused.by);
        return waiting(WaitPhase::Resume, reason, paused.since, DAY);
    }
    if let Some(begins) = status.retry_at {
        let at = begins.round(jiff::Unit::Second).unwrap_or(begins);
        let reason = format!("action {} has failed; attempt {} begins at {at}", action.name, action.attempts);
        return waiting(WaitPhase::Retry, reason, latest, SignedDuration::from_secs(LONGEST_PAUSE).saturating_add(MARGIN));
    }
    if status.current_state.as_ref().is_some_and(|given| given.action_id == action.id) && action.attempts > 0 {
        let reason =
            format!("action {} was handed out to agent {}, which has not reported that it runs", action.name, task.agent_id);
        return waiting(WaitPhase::Start, reason, latest, SILENT);
    }
    if let Some((phase, reason, since)) = of_machine(workflow, around) {
        return waiting(phase, reason, since, DAY);
    }
    if let Some(ahead) = around.ahead {
        return waiting(WaitPhase::Queue, format!("workflow {ahead} goes first on this machine"), latest, DAY);
    }
    let ordered = around.machine.map_or(latest, |(_, state)| state.decision.at.max(latest));
    let called = around.heard.filter(|heard| *heard >= ordered);
    let (phase, since, limit) = match called {
        _ if order_has_begun(workflow) => (WaitPhase::Agent, latest, SILENT),
        Some(heard) => (WaitPhase::Agent, heard, SILENT),
        None => (WaitPhase::Boot, ordered, BOOT),
    };
    waiting(phase, for_agent(phase, task, action), since, limit)
}

fn for_agent(phase: WaitPhase, task: &WorkflowTask, action: &WorkflowAction) -> String {
    match phase {
        WaitPhase::Boot => format!("agent {} has not called since the order; its machine has to boot the ramdisk", task.agent_id),
        _ => format!("agent {} gets action {} with its next call", task.agent_id, action.name),
    }
}

fn not_ready(workflow: &Workflow) -> String {
    let status = &workflow.status;
    match status.state {
        _ if workflow.spec.disabled == Some(true) => "it is disabled".to_owned(),
        Some(WorkflowState::Post) => "the work after its last action is not done".to_owned(),
        Some(WorkflowState::Preparing) => "it is being prepared".to_owned(),
        _ if status.message.is_empty() => "it is not rendered".to_owned(),
        _ => status.message.clone(),
    }
}

/// The time by the server's clock since which the action runs, and its limit.
fn running(workflow: &Workflow, action: &WorkflowAction) -> Option<(Timestamp, SignedDuration)> {
    let timeout = SignedDuration::from_secs(action.timeout);
    match workflow.status.action_stop {
        Some(stop) => Some((stop.checked_sub(timeout).ok()?, timeout.checked_add(MARGIN)?)),
        None => Some((action.execution_start?, ACTION)),
    }
}

/// Whether the machine's intent prevents it from working on this.
fn of_machine(workflow: &Workflow, around: Around<'_>) -> Option<(WaitPhase, String, Timestamp)> {
    let (hardware, state) = around.machine?;
    let (decision, name) = (&state.decision, workflow.name().to_string());
    let why = format!("the intent of Hardware {hardware} is {} by {}: {}", decision.intent, decision.by, decision.reason);
    let ordered = state.orders.contains(&name);
    match decision.intent {
        Intent::Install if ordered => None,
        Intent::Hold if ordered => {
            Some((WaitPhase::Approval, format!("{why}; `thimble machine approve {hardware}` ends the hold"), decision.at))
        }
        _ => Some((WaitPhase::Order, format!("{why}; `thimble machine reinstall {hardware}` orders it"), decision.at)),
    }
}
