//! Objects of `tinkerbell.org/v1alpha2`: how they are stored, and how they become tasks that the engine runs.
//!
//! A Workflow of v1alpha2 has two records. The one below `/v1alpha2/workflows/` is what an operator wrote. The one below
//! `/workflows/`, with the same name, is what runs. Agents know workflows by name only, so the two versions share their
//! names.

mod render;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use model::v1alpha2::{API_VERSION, Policy, Task, Workflow};
use model::{BootOptions, Kind, ObjectName, WorkflowSpec};
use serde_json::Value;

use crate::store::KeyValue;
use crate::view::index::Index;
use crate::view::{Stored, View, decoded, put};

pub use render::{Bound, render};
pub use values::{Wrong, check};

/// The objects in memory.
#[derive(Default, Clone)]
pub struct Objects {
    pub tasks: OrdMap<ObjectName, Stored<Task>>,
    pub workflows: OrdMap<ObjectName, Stored<Workflow>>,
    pub policies: OrdMap<ObjectName, Stored<Policy>>,
    /// The Workflows by the Task and by the Hardware that they name.
    by_task: Index<ObjectName>,
    by_hardware: Index<ObjectName>,
    /// Tasks and Workflows by the objects that their references name.
    tasks_by_reference: Index<ObjectName>,
    workflows_by_reference: Index<ObjectName>,
}

impl Objects {
    /// Applies a change. Returns whether the object existed before, and whether it exists now.
    pub fn update(&mut self, kind: Kind, name: &ObjectName, pair: Option<&KeyValue>) -> (bool, bool) {
        match kind {
            Kind::Task => {
                let new: Option<Stored<Task>> = pair.and_then(decoded);
                for (task, present) in [(self.tasks.get(name).cloned(), false), (new.clone(), true)] {
                    for to in task.iter().flat_map(|task| task.object.spec.references.values()) {
                        self.tasks_by_reference.set(to.object_name(&name.namespace), 0, name, present);
                    }
                }
                put(&mut self.tasks, name.clone(), new)
            }
            Kind::Policy => put(&mut self.policies, name.clone(), pair.and_then(decoded)),
            Kind::WorkflowV1alpha2 => {
                let new: Option<Stored<Workflow>> = pair.and_then(decoded);
                if let Some(old) = self.workflows.get(name).cloned() {
                    self.index(name, &old, false);
                }
                if let Some(new) = &new {
                    self.index(name, new, true);
                }
                put(&mut self.workflows, name.clone(), new)
            }
            Kind::Hardware | Kind::Template | Kind::Workflow | Kind::WorkflowRuleSet => (false, false),
        }
    }

    /// The Tasks and the Workflows whose references name this object, or any.
    pub fn referring(&self, to: Option<&ObjectName>) -> (BTreeSet<&ObjectName>, BTreeSet<&ObjectName>) {
        match to {
            Some(to) => (self.tasks_by_reference.of(to).collect(), self.workflows_by_reference.of(to).collect()),
            None => (self.tasks_by_reference.names().collect(), self.workflows_by_reference.names().collect()),
        }
    }

    fn index(&mut self, name: &ObjectName, workflow: &Stored<Workflow>, present: bool) {
        for to in workflow.object.spec.references.values() {
            self.workflows_by_reference.set(to.object_name(&name.namespace), 0, name, present);
        }
        for task in &workflow.object.spec.tasks {
            self.by_task.set(task.task_ref.object_name(&name.namespace), workflow.created, name, present);
            if let Some(hardware) = task.hardware_name(&name.namespace) {
                self.by_hardware.set(hardware, workflow.created, name, present);
            }
        }
    }

    /// The Workflows that name this Task or Hardware.
    pub fn users(&self, kind: Kind, name: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let users = match kind {
            Kind::Task => Some(self.by_task.of(name)),
            Kind::Hardware => Some(self.by_hardware.of(name)),
            _ => None,
        };
        users.into_iter().flatten()
    }
}

/// Whether a running record belongs to a Workflow of v1alpha2.
#[must_use]
pub fn runs(workflow: &model::Workflow) -> bool {
    workflow.api_version == API_VERSION
}

#[must_use]
pub fn kind_of(workflow: &model::Workflow) -> Kind {
    if runs(workflow) { Kind::WorkflowV1alpha2 } else { Kind::Workflow }
}

/// The running record for a Workflow.
#[must_use]
pub fn run_of(workflow: &Workflow) -> model::Workflow {
    let options = || workflow.spec.tasks.iter().filter_map(|task| task.boot_options());
    let boot_mode = options().find_map(|options| options.boot_mode.clone());
    let boot_options = boot_mode.map(|mode| BootOptions { boot_mode: Some(mode), ..BootOptions::default() });
    model::Workflow {
        api_version: API_VERSION.to_owned(),
        kind: Kind::WorkflowV1alpha2.word().to_owned(),
        metadata: workflow.metadata.clone(),
        spec: WorkflowSpec { disabled: workflow.spec.disabled, boot_options, ..WorkflowSpec::default() },
        status: workflow.status.clone(),
    }
}

/// The Hardware that its tasks name.
#[must_use]
pub fn hardware_of(workflow: &Workflow) -> BTreeSet<ObjectName> {
    workflow.spec.tasks.iter().filter_map(|task| task.hardware_name(&workflow.metadata.namespace)).collect()
}

/// The Hardware whose `allowPXE` a Workflow toggles.
pub fn toggled(workflow: &Workflow) -> impl Iterator<Item = ObjectName> {
    let namespace = &workflow.metadata.namespace;
    let toggles = workflow.spec.tasks.iter().filter(|task| task.boot_options().is_some_and(|options| options.toggle_netboot));
    toggles.filter_map(move |task| task.hardware_name(namespace))
}

/// A Workflow as clients see it: what was written, with the status of the running record.
#[must_use]
pub fn shown(view: &View, workflow: &Stored<Workflow>) -> Option<Value> {
    let mut whole = Workflow::clone(&workflow.object);
    if let Some(run) = view.workflows.get(&whole.name()) {
        whole.status = run.object.status.clone();
    }
    serde_json::to_value(whole).ok()
}

/// An object of one of these kinds as JSON.
#[must_use]
pub fn get(view: &View, kind: Kind, name: &ObjectName) -> Option<Value> {
    let objects = &view.v1alpha2;
    match kind {
        Kind::Task => objects.tasks.get(name).and_then(json),
        Kind::Policy => objects.policies.get(name).and_then(json),
        Kind::WorkflowV1alpha2 => objects.workflows.get(name).and_then(|stored| shown(view, stored)),
        Kind::Hardware | Kind::Template | Kind::Workflow | Kind::WorkflowRuleSet => None,
    }
}

#[must_use]
pub fn list(view: &View, kind: Kind) -> Vec<Value> {
    let objects = &view.v1alpha2;
    match kind {
        Kind::Task => objects.tasks.values().filter_map(json).collect(),
        Kind::Policy => objects.policies.values().filter_map(json).collect(),
        Kind::WorkflowV1alpha2 => objects.workflows.values().filter_map(|stored| shown(view, stored)).collect(),
        Kind::Hardware | Kind::Template | Kind::Workflow | Kind::WorkflowRuleSet => Vec::new(),
    }
}

fn json<T: serde::Serialize>(stored: &Stored<T>) -> Option<Value> {
    serde_json::to_value(&*Arc::clone(&stored.object)).ok()
}
