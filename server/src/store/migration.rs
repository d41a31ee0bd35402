//! Converts the content of an earlier format to this version's. Pure: it takes pairs and returns writes.
//!
//! | format | what it added |
//! |---|---|
//! | 1 | Hardware, Templates, Workflows, agents, announcements |
//! | 2 | `/machines/`: what each machine shall boot; `ordered` in workflows |

use api::{Booted, Decision, Intent, MachineState};
use jiff::Timestamp;
use log::info;
use model::{Hardware, Kind, Workflow, WorkflowState};

use super::{KeyValue, Write};
use crate::boot::is_open;
use crate::intent::unordered;
use crate::progress::has_begun;
use crate::view::{Stored, View, key, machine_key};

/// The format that this version writes.
pub const FORMAT: u64 = 2;

const BY: &str = "upgrade";

/// The writes that convert the content of format 1 to format 2.
///
/// # Errors
/// When an object cannot be encoded.
pub fn from_format_1(pairs: Vec<KeyValue>, revision: u64, now: Timestamp) -> Result<Vec<Write>, serde_json::Error> {
    let booted: Vec<(String, Booted)> = pairs
        .iter()
        .filter_map(|pair| {
            let mac = pair.key.strip_prefix("/booted/")?.to_owned();
            Some((mac, serde_json::from_slice(&pair.value).ok()?))
        })
        .collect();
    let view = View::load(pairs, revision);
    let mut writes = Vec::new();
    for stored in view.hardware.values() {
        let hardware = &stored.object;
        let announced = booted.iter().filter(|(mac, _)| hardware.spec.macs().any(|own| own.to_string() == *mac));
        let announced = announced.map(|(_, booted)| booted.time).max();
        let state = state(&view.workflows_for(hardware), hardware, announced, now);
        info!("hardware={} intent={}: {}", hardware.name(), state.decision.intent, state.decision.reason);
        writes.push(Write::Put { key: machine_key(&hardware.name()), value: serde_json::to_vec(&state)? });
    }
    // What runs on hosts that are not provisioned here is ordered for no machine.
    let is_ordered = |workflow: &Workflow| !workflow.status.tasks.is_empty() && !view.machines_of(workflow).is_empty();
    for stored in view.workflows.values().filter(|stored| is_ordered(&stored.object)) {
        let mut workflow = Workflow::clone(&stored.object);
        workflow.status.ordered = Some(workflow.metadata.creation_timestamp.unwrap_or(now));
        writes.push(Write::Put { key: key(Kind::Workflow, &workflow.name()), value: serde_json::to_vec(&workflow)? });
    }
    Ok(writes)
}

/// `workflows` are the machine's, newest first. The state never leads to an installation that format 1 would not have
/// booted.
fn state(workflows: &[&Stored<Workflow>], hardware: &Hardware, announced: Option<Timestamp>, now: Timestamp) -> MachineState {
    let newest = workflows.first().map(|stored| &*stored.object);
    let succeeded = |workflow: &Workflow| matches!(workflow.status.state, Some(WorkflowState::Success | WorkflowState::Post));
    // An announcement from before the newest workflow does not count for that workflow.
    let announced = announced.filter(|time| {
        newest.and_then(|workflow| workflow.metadata.creation_timestamp).is_none_or(|created| created <= *time)
            || !newest.is_some_and(is_open)
    });
    let decision = |intent, reason| Decision { intent, by: BY.to_owned(), at: now, reason };
    let mut state = unordered(hardware.metadata.creation_timestamp.unwrap_or(now));
    state.finished = announced.is_some() || workflows.iter().any(|stored| succeeded(&stored.object));
    if let Some(workflow) = newest.filter(|workflow| succeeded(workflow)) {
        state.decision = decision(Intent::Local, format!("workflow {} is SUCCESS", workflow.name()));
        return state;
    }
    if let Some(time) = announced {
        state.decision = decision(Intent::Local, format!("its installed system was up at {time}"));
        return state;
    }
    let mut open: Vec<&Workflow> = workflows.iter().map(|stored| &*stored.object).filter(|one| is_open(one)).collect();
    open.reverse();
    if let Some(first) = open.first() {
        let reason = format!("workflow {} is {}", first.name(), first.status.state.map_or("", WorkflowState::as_str));
        state.begun = workflows.iter().any(|stored| has_begun(&stored.object));
        state.before = (!state.begun).then(|| state.decision.clone());
        state.orders = open.iter().map(|workflow| workflow.name().to_string()).collect();
        state.decision = decision(Intent::Install, reason);
        return state;
    }
    if let Some(workflow) = newest {
        state.decision = decision(Intent::Inventory, format!("workflow {} has nothing to run", workflow.name()));
    }
    state
}

#[cfg(test)]
mod tests;
