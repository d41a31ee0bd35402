//! What a machine should boot, and what changes that: success and explicit orders. Pure: no clock, no store.
//!
//! A workflow is ordered once, when it first becomes ready. If the order ends before its first action was handed out, the
//! machine gets back its earlier intent. After that the intent stays `install` until success or an explicit order.

use api::{Decision, Intent, MachineState};
use jiff::{SignedDuration, Timestamp};

/// The names of what sets intents besides people.
pub const BY_APPLY: &str = "apply";
pub const BY_SUCCESS: &str = "success";
pub const BY_NEW_MACHINES: &str = "new_machines";
pub const BY_DISCOVERY: &str = "discovery";
pub const BY_IMPORT: &str = "import";
pub const BY_RESTORE: &str = "restore";
const BY_BREAKER: &str = "reboot-loop breaker";

/// A machine that fetches the ramdisk for its orders more often than this, without progress, is held.
pub const MOST_RETURNS: usize = 10;
const WITHIN: SignedDuration = SignedDuration::from_hours(2);
/// iPXE asks for the script twice per boot: before and after it lists its devices.
const SAME_BOOT: SignedDuration = SignedDuration::from_secs(20);

/// The state of a machine that never had an order.
#[must_use]
pub fn unordered(since: Timestamp) -> MachineState {
    let reason = "this machine has no workflow".to_owned();
    decided(Decision { intent: Intent::Inventory, by: "default".to_owned(), at: since, reason })
}

const fn decided(decision: Decision) -> MachineState {
    MachineState {
        decision,
        orders: Vec::new(),
        begun: false,
        before: None,
        finished: false,
        returns: Vec::new(),
        former: Vec::new(),
    }
}

/// The state of a discovered machine. It gets no work until a person or a rule set approves it.
#[must_use]
pub fn discovered(from: &str, now: Timestamp) -> MachineState {
    let reason = format!("its agent called from {from}; it waits for approval");
    decided(Decision { intent: Intent::Discover, by: BY_DISCOVERY.to_owned(), at: now, reason })
}

/// What a file says of a machine that this server has not seen.
#[must_use]
pub fn imported(decision: Decision, orders: Vec<String>, finished: bool) -> MachineState {
    MachineState { orders, finished, ..decided(decision) }
}

/// A rule set approves a discovered machine, for which its workflow is ordered.
pub fn enrolled(state: &mut MachineState, workflow: &str, rule_set: &str, hold_new: bool, now: Timestamp) {
    let is_ordered = state.orders.iter().any(|order| order == workflow);
    if state.decision.intent != Intent::Discover || !is_ordered {
        return;
    }
    let decision = if hold_new && !state.finished {
        let reason = format!("workflow {workflow} is the first order of a new machine and waits for approval");
        Decision { intent: Intent::Hold, by: BY_NEW_MACHINES.to_owned(), at: now, reason }
    } else {
        let reason = format!("workflow {workflow} was ordered");
        Decision { intent: Intent::Install, by: format!("WorkflowRuleSet {rule_set}"), at: now, reason }
    };
    state.before = Some(std::mem::replace(&mut state.decision, decision));
}

/// A workflow was ordered. If the machine is held or waits for approval, the order waits as well.
pub fn order(state: &mut MachineState, workflow: &str, hold_new: bool, now: Timestamp) {
    if !matches!(state.decision.intent, Intent::Install | Intent::Hold | Intent::Discover) {
        state.orders.clear();
        state.begun = false;
        let held = hold_new && !state.finished;
        let decision = if held {
            let reason = format!("workflow {workflow} is the first order of a new machine and waits for approval");
            Decision { intent: Intent::Hold, by: BY_NEW_MACHINES.to_owned(), at: now, reason }
        } else {
            let reason = format!("workflow {workflow} was ordered");
            Decision { intent: Intent::Install, by: BY_APPLY.to_owned(), at: now, reason }
        };
        state.before = Some(std::mem::replace(&mut state.decision, decision));
    }
    state.orders.retain(|other| other != workflow);
    state.orders.push(workflow.to_owned());
    state.returns.clear();
}

/// An order ended without success: deleted, cancelled, disabled, no longer renderable, or for another machine now. A workflow
/// of several machines may have failed before it began on this one.
pub fn withdrawn(state: &mut MachineState, workflow: &str, workflow_begun: bool) {
    if workflow_begun && state.begun {
        return; // the order stays, as the reason why the machine waits
    }
    state.orders.retain(|other| other != workflow);
    let ordered = state.decision.intent == Intent::Install || state.decision.by == BY_NEW_MACHINES;
    if state.orders.is_empty()
        && !state.begun
        && ordered
        && let Some(before) = state.before.take()
    {
        state.decision = before;
    }
}

/// The first action of an order was handed out, so the content of the disk may be lost.
pub fn began(state: &mut MachineState) {
    state.begun = true;
    state.before = None;
}

/// A workflow succeeded. The machine boots its disk, unless another order waits. A hold or a rescue of a person stays.
/// `has_begun` says whether an action of another order was handed out to this machine.
pub fn succeeded(
    state: &mut MachineState,
    workflow: &str,
    is_open: impl Fn(&str) -> bool,
    has_begun: impl Fn(&str) -> bool,
    now: Timestamp,
) {
    state.orders.retain(|other| other != workflow && is_open(other));
    state.finished = true;
    state.begun = state.orders.iter().any(|other| has_begun(other));
    state.returns.clear();
    let reason = format!("workflow {workflow} is SUCCESS");
    let local = Decision { intent: Intent::Local, by: BY_SUCCESS.to_owned(), at: now, reason };
    if matches!(state.decision.intent, Intent::Hold | Intent::Rescue) || !state.orders.is_empty() {
        state.before = (!state.begun).then_some(local);
    } else {
        state.decision = local;
        state.before = None;
    }
}

/// Sets a person's decision. A hold keeps the orders. Every other intent except an installation withdraws them.
pub fn set(state: &mut MachineState, intent: Intent, by: &str, reason: String, now: Timestamp) {
    let decision = Decision { intent, by: by.to_owned(), at: now, reason };
    let earlier = std::mem::replace(&mut state.decision, decision);
    match intent {
        Intent::Hold => {
            if !matches!(earlier.intent, Intent::Install | Intent::Hold) {
                state.before = Some(earlier);
            }
        }
        Intent::Install => {}
        Intent::Local | Intent::Rescue | Intent::Inventory | Intent::Discover => {
            state.orders.clear();
            (state.begun, state.before) = (false, None);
        }
    }
    state.returns.clear();
}

/// An explicit order to run this workflow.
pub fn ordered_by(state: &mut MachineState, workflow: &str, by: &str, reason: String, now: Timestamp) {
    if state.decision.intent != Intent::Install && state.before.is_none() {
        state.before = Some(state.decision.clone());
    }
    state.orders.retain(|other| other != workflow);
    state.orders.push(workflow.to_owned());
    set(state, Intent::Install, by, reason, now);
}

/// Ends a hold: the orders continue, or the machine gets back its earlier intent.
pub fn approved(state: &mut MachineState, is_open: impl Fn(&str) -> bool, by: &str, reason: String, now: Timestamp) {
    if state.begun || state.orders.iter().any(|order| is_open(order)) {
        return set(state, Intent::Install, by, reason, now);
    }
    let before = state.before.take().map_or(Intent::Inventory, |before| before.intent);
    set(state, before, by, reason, now);
}

/// Whether an agent of the machine may get an action of this workflow.
#[must_use]
pub fn takes(state: &MachineState, workflow: &str) -> bool {
    state.decision.intent == Intent::Install && state.orders.iter().any(|order| order == workflow)
}

/// An action succeeded, so the machine makes progress.
pub fn progressed(state: &mut MachineState) {
    state.returns.clear();
}

/// The machine fetches the ramdisk for its orders. True if that changed the state. A machine that came too often is held.
pub fn came_back(state: &mut MachineState, now: Timestamp) -> bool {
    if state.decision.intent != Intent::Install {
        return false;
    }
    if state.returns.last().is_some_and(|last| now.duration_since(*last).abs() < SAME_BOOT) {
        return false;
    }
    state.returns.retain(|at| now.duration_since(*at).abs() < WITHIN);
    state.returns.push(now);
    if state.returns.len() > MOST_RETURNS {
        let reason = format!(
            "the machine got the ramdisk {} times within {} h and no action succeeded meanwhile",
            state.returns.len(),
            WITHIN.as_hours()
        );
        set(state, Intent::Hold, BY_BREAKER, reason, now);
    }
    true
}

#[cfg(test)]
mod licences;
#[cfg(test)]
mod tests;
