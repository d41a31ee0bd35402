//! What deleting an object would write. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::Intent;
use jiff::Timestamp;
use model::{AgentId, Kind, ObjectName, Workflow, WorkflowState};

use super::{Plan, Planner, Rules};
use crate::last_steps::last_step_key;
use crate::progress::{has_begun, order_has_begun};
use crate::v1alpha2::runs;
use crate::view::{View, agents_of, key, machine_key};
use crate::{history, intent};

/// Why an object is not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Missing,
    /// These unfinished workflows use it.
    Used(Vec<ObjectName>),
}

/// Deletes an object. With `force` this includes an object that unfinished workflows use.
///
/// # Errors
/// Why the object is not deleted.
pub fn deletion(view: &View, kind: Kind, name: &ObjectName, force: bool, now: Timestamp) -> Result<Plan, Kept> {
    let modified = match kind {
        Kind::Hardware => view.hardware.get(name).map(|stored| stored.modified),
        Kind::Template => view.templates.get(name).map(|stored| stored.modified),
        Kind::Workflow => view.workflows.get(name).filter(|stored| !runs(&stored.object)).map(|stored| stored.modified),
        Kind::Task => view.v1alpha2.tasks.get(name).map(|stored| stored.modified),
        Kind::WorkflowV1alpha2 => view.v1alpha2.workflows.get(name).map(|stored| stored.modified),
        Kind::Policy => view.v1alpha2.policies.get(name).map(|stored| stored.modified),
        Kind::WorkflowRuleSet => view.rule_sets.get(name).map(|stored| stored.modified),
    };
    let modified = modified.ok_or(Kept::Missing)?;
    let users = users(view, kind, name);
    if !force && !users.is_empty() {
        return Err(Kept::Used(users));
    }
    let (rules, mut new_id) = (Rules::default(), String::new);
    let mut planner = Planner {
        view,
        rules: &rules,
        now,
        new_id: &mut new_id,
        hardware: BTreeMap::new(),
        templates: BTreeMap::new(),
        machines: BTreeMap::new(),
        agents: BTreeMap::new(),
        touched: BTreeSet::from([(kind, name.clone())]),
        removed: Some((kind, name.clone())),
        plan: Plan::default(),
        refused: Vec::new(),
        affected: BTreeSet::new(),
        coming: super::v1alpha2::Coming::default(),
    };
    planner.plan.transaction = std::mem::take(&mut planner.plan.transaction).delete(key(kind, name), modified);
    if let Some(workflow) = view.workflows.get(name).filter(|_| matches!(kind, Kind::Workflow | Kind::WorkflowV1alpha2)) {
        if kind == Kind::WorkflowV1alpha2 {
            // The record of what runs is deleted with the object that was written.
            let transaction = std::mem::take(&mut planner.plan.transaction);
            planner.plan.transaction = transaction.delete(key(Kind::Workflow, name), workflow.modified);
        }
        planner.withdraw(&workflow.object);
        planner.plan.transaction = history::forgotten(std::mem::take(&mut planner.plan.transaction), &workflow.object);
    }
    if kind == Kind::Hardware
        && let Some(state) = view.machines.get(name).filter(|state| state.object.decision.intent == Intent::Discover)
    {
        // The machine has only waited, so nothing about it needs to be kept.
        planner.plan.transaction = std::mem::take(&mut planner.plan.transaction).delete(machine_key(name), state.modified);
    } else if let Some(hardware) = view.hardware.get(name).filter(|_| kind == Kind::Hardware) {
        planner.bind(name, agents_of(&hardware.object));
    }
    if let Some(last) = view.last_steps.get(name).filter(|_| kind == Kind::Hardware) {
        planner.plan.transaction = std::mem::take(&mut planner.plan.transaction).delete(last_step_key(name), last.modified);
    }
    planner.waiting(&BTreeSet::new());
    planner.write_machines();
    Ok(planner.plan)
}

/// Unfinished workflows that need the object.
fn users(view: &View, kind: Kind, name: &ObjectName) -> Vec<ObjectName> {
    let dependents = if kind == Kind::Policy { BTreeSet::new() } else { view.dependents(kind, name) };
    // What has begun is rendered, and looks at nothing any more.
    let direct = |user: &Workflow| view.users(kind, name).any(|stored| stored.object.name() == user.name());
    let needs = |user: &Workflow| unfinished(user) && (!has_begun(user) || direct(user));
    let mut found: BTreeSet<ObjectName> =
        dependents.into_iter().filter(|user| view.workflows.get(user).is_some_and(|stored| needs(&stored.object))).collect();
    if let Some(hardware) = view.hardware.get(name).filter(|_| kind == Kind::Hardware) {
        let spec = &hardware.object.spec;
        let agents = spec.agent_id.iter().cloned().chain(spec.macs().map(|mac| mac.to_string())).map(AgentId);
        found.extend(
            agents
                .flat_map(|agent| view.workflows_of(&agent).map(|user| &user.object).collect::<Vec<_>>())
                .filter(|user| unfinished(user))
                .map(|user| user.name()),
        );
    }
    found.into_iter().collect()
}

fn unfinished(workflow: &Workflow) -> bool {
    !workflow.status.state.is_some_and(WorkflowState::is_final)
}

impl Planner<'_> {
    /// Withdraws the orders of a workflow, which ends without success.
    pub(super) fn withdraw(&mut self, workflow: &Workflow) {
        let mut machines = self.view.machines_of(workflow);
        machines.extend(self.view.ordered_on(&workflow.name()));
        for machine in machines {
            if self.view.machines.contains_key(&machine) {
                intent::withdrawn(self.machine(&machine), &workflow.name().to_string(), order_has_begun(workflow));
            }
        }
    }
}
