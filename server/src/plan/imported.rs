//! What machines boot after an import. An import orders nothing by itself: `install` comes from the file or not at all.

use std::collections::{BTreeMap, BTreeSet};

use api::{Decision, ImportedMachine, Intent, MachineState};
use jiff::Timestamp;
use model::ObjectName;

use super::Plan;
use crate::intent::{self, BY_IMPORT};
use crate::store::Write;
use crate::view::{MACHINES, View, machine_key, parsed};

/// The plan of an import, with the intents that the machines have where the file comes from. A machine that this server has
/// seen before keeps its intent.
///
/// # Errors
/// When a state cannot be encoded.
pub fn with_intents(
    view: &View,
    mut plan: Plan,
    machines: &BTreeMap<ObjectName, ImportedMachine>,
    now: Timestamp,
) -> Result<Plan, serde_json::Error> {
    let planned: BTreeMap<ObjectName, MachineState> = plan.transaction.writes.iter().filter_map(planned_state).collect();
    let come: BTreeSet<ObjectName> = plan.transaction.writes.iter().filter_map(hardware).collect();
    let workflows: BTreeSet<String> = plan.transaction.writes.iter().filter_map(workflow).collect();
    let names: BTreeSet<&ObjectName> = planned.keys().chain(machines.keys()).collect();
    for name in names {
        let stored = view.machines.get(name);
        let state = match (stored, machines.get(name)) {
            (Some(stored), _) => planned.get(name).map(|state| without_orders(&stored.object, state)),
            (None, Some(machine)) if come.contains(name) || view.hardware.contains_key(name) => {
                let exists = |order: &String| workflows.contains(order) || view.workflow(order).is_some();
                from_file(machine, planned.get(name), exists, now)
            }
            (None, _) => planned.get(name).map(|state| held(state, now)),
        };
        let key = machine_key(name);
        let transaction = &mut plan.transaction;
        transaction.writes.retain(|write| write.key() != key);
        transaction.conditions.retain(|(condition, _)| *condition != key);
        if let Some(state) = state.filter(|state| stored.is_none_or(|stored| *stored.object != *state)) {
            let value = serde_json::to_vec(&state)?;
            plan.transaction = std::mem::take(&mut plan.transaction).put(key, stored.map_or(0, |stored| stored.modified), value);
            if state.decision.intent == Intent::Install {
                plan.installs.insert(name.clone());
                continue;
            }
        }
        plan.installs.remove(name);
    }
    Ok(plan)
}

fn planned_state(write: &Write) -> Option<(ObjectName, MachineState)> {
    let Write::Put { key, value } = write else { return None };
    let (namespace, name) = key.strip_prefix(MACHINES)?.split_once('/')?;
    Some((ObjectName::new(namespace, name), serde_json::from_slice(value).ok()?))
}

fn hardware(write: &Write) -> Option<ObjectName> {
    parsed(write.key()).filter(|(kind, _)| *kind == model::Kind::Hardware).map(|(_, name)| name)
}

fn workflow(write: &Write) -> Option<String> {
    parsed(write.key()).filter(|(kind, _)| *kind == model::Kind::Workflow).map(|(_, name)| name.to_string())
}

/// What finished workflows say of the machine is taken, orders are not.
fn without_orders(stored: &MachineState, planned: &MachineState) -> MachineState {
    if planned.orders == stored.orders { planned.clone() } else { MachineState { finished: planned.finished, ..stored.clone() } }
}

/// `None` for a machine that has had no order.
fn from_file(
    machine: &ImportedMachine,
    planned: Option<&MachineState>,
    exists: impl Fn(&String) -> bool,
    now: Timestamp,
) -> Option<MachineState> {
    let orders: Vec<String> = machine.orders.iter().filter(|order| exists(order)).cloned().collect();
    if machine.intent == Intent::Inventory && machine.by.is_empty() && !machine.finished && planned.is_none() {
        return None;
    }
    let by = if machine.by.is_empty() { BY_IMPORT } else { &machine.by };
    let decision = Decision { intent: machine.intent, by: by.to_owned(), at: now, reason: machine.reason.clone() };
    Some(intent::imported(decision, orders, machine.finished))
}

/// The file does not say what the machine shall boot.
fn held(planned: &MachineState, now: Timestamp) -> MachineState {
    if planned.decision.intent != Intent::Install {
        return planned.clone();
    }
    let orders = planned.orders.join(", ");
    let reason = format!("workflow {orders} came by an import, which orders nothing by itself");
    let decision = Decision { intent: Intent::Hold, by: BY_IMPORT.to_owned(), at: now, reason };
    MachineState { decision, ..planned.clone() }
}

#[cfg(test)]
mod tests;
