//! What applying objects of v1alpha2 writes.

use std::collections::{BTreeMap, BTreeSet};

use model::v1alpha2::{API_VERSION, Policy, Task, Workflow};
use model::{Kind, Mistake, ObjectName, Reference};
use serde_json::Value;

use super::{Change, Planner, allow_netboot, mistake};
use crate::progress;
use crate::references::{self, References, Source};
use crate::template::hardware_data;
use crate::v1alpha2::{Bound, Wrong, check, render, run_of, runs, toggled};

/// The objects after this apply.
#[derive(Default)]
pub(super) struct Coming {
    tasks: BTreeMap<ObjectName, Task>,
    workflows: BTreeMap<ObjectName, Workflow>,
    policies: BTreeMap<ObjectName, Policy>,
    /// The workflows whose spec has changed.
    rewritten: BTreeSet<ObjectName>,
}

/// The mistakes in the templates of an object.
fn checked<Spec: serde::Serialize>(object: &str, spec: &Spec, places: &model::v1alpha2::Places) -> Vec<Mistake> {
    let wrong = check(serde_json::to_value(spec).unwrap_or_default()).err().unwrap_or_default();
    wrong.iter().map(|wrong| wrong.mistake(object, places)).collect()
}

/// `command` replaces the entrypoint of an image. An agent only gets arguments, so the command would be passed to the
/// entrypoint.
fn entrypoints(object: &str, task: &Task) -> Vec<Mistake> {
    let given = task
        .spec
        .actions
        .iter()
        .enumerate()
        .filter(|(_, action)| action.command.as_ref().is_some_and(|command| !command.is_empty()));
    let refused = given.map(|(index, _)| {
        let wrong = Wrong::at(
            format!("spec.actions[{index}].command"),
            "an agent cannot replace the entrypoint of an image: its protocol has no field for that",
        );
        let mut mistake = wrong.mistake(object, &task.spec.places);
        mistake.hint = Some(
            "take an image whose entrypoint is this program, or one without an entrypoint and the program as the first of args"
                .to_owned(),
        );
        mistake
    });
    refused.collect()
}

impl Planner<'_> {
    pub(super) fn task(&mut self, mut new: Task) {
        let name = new.name();
        let object = format!("Task {name}");
        self.refused.extend(checked(&object, &new.spec, &new.spec.places));
        self.refused.extend(entrypoints(&object, &new));
        let old = self.view.v1alpha2.tasks.get(&name);
        let change = self.carried(&mut new.metadata, old.map(|old| (&old.object.metadata, old.object.spec == new.spec)));
        self.say(Kind::Task, &name, change, None);
        if change != Change::Unchanged {
            self.put(Kind::Task, &name, &new, old.map_or(0, |old| old.modified));
            self.touched.insert((Kind::Task, name.clone()));
            self.coming.tasks.insert(name, new);
        }
    }

    pub(super) fn policy(&mut self, mut new: Policy) {
        let name = new.name();
        self.refused.extend(references::check(&new));
        let old = self.view.v1alpha2.policies.get(&name);
        let change = self.carried(&mut new.metadata, old.map(|old| (&old.object.metadata, old.object.spec == new.spec)));
        self.say(Kind::Policy, &name, change, None);
        if change != Change::Unchanged {
            self.put(Kind::Policy, &name, &new, old.map_or(0, |old| old.modified));
            self.touched.insert((Kind::Policy, name.clone()));
            self.coming.policies.insert(name, new);
        }
    }

    /// Writes the Workflow's record. The record that runs has the form of a Workflow of v1alpha1, and follows from this
    /// one.
    pub(super) fn workflow_v1alpha2(&mut self, mut new: Workflow) {
        let name = new.name();
        self.refused.extend(checked(&format!("Workflow {name}"), &new.spec, &new.spec.places));
        let run = run_of(&new);
        new.status = model::WorkflowStatus::default();
        let old = self.view.v1alpha2.workflows.get(&name);
        let same_spec = old.is_some_and(|old| old.object.spec == new.spec);
        let change = self.carried(&mut new.metadata, old.map(|old| (&old.object.metadata, same_spec)));
        if change != Change::Unchanged {
            self.put(Kind::WorkflowV1alpha2, &name, &new, old.map_or(0, |old| old.modified));
        }
        if !same_spec {
            self.coming.rewritten.insert(name.clone());
        }
        self.coming.workflows.insert(name, new);
        self.workflow(run);
    }

    /// Whether the run with this name is rendered again.
    pub(super) fn is_rewritten(&self, name: &ObjectName) -> bool {
        self.coming.rewritten.contains(name)
    }

    /// Agents know workflows by their names, so the two versions cannot share a name.
    pub(super) fn is_of_other_version(&mut self, run: &model::Workflow) -> bool {
        let name = run.name();
        let Some(stored) = self.view.workflows.get(&name) else { return false };
        let version = stored.object.api_version.clone();
        if version == run.api_version {
            return false;
        }
        self.refused.push(taken(&name, &version));
        true
    }

    fn workflow_of(&self, name: &ObjectName) -> Option<Workflow> {
        let stored = || Some(Workflow::clone(&self.view.v1alpha2.workflows.get(name)?.object));
        self.coming.workflows.get(name).cloned().or_else(stored)
    }

    /// The Hardware that each of its tasks names, in their order.
    pub(super) fn hardware_of_tasks(&self, name: &ObjectName) -> Vec<Option<ObjectName>> {
        let workflow = self.workflow_of(name);
        workflow.iter().flat_map(|workflow| &workflow.spec.tasks).map(|task| task.hardware_name(&name.namespace)).collect()
    }

    /// `render` for the run of a Workflow of v1alpha2.
    pub(super) fn render_v1alpha2(&mut self, run: &mut model::Workflow) -> (Option<String>, Vec<Mistake>) {
        let name = run.name();
        let Some(workflow) = self.workflow_of(&name) else {
            return not_ready(run, None, "it has no record of v1alpha2; apply it again".to_owned());
        };
        let document = match self.bound(&workflow) {
            Ok(bound) => {
                let source = Source { kind: Kind::WorkflowV1alpha2, metadata: &workflow.metadata };
                render(&workflow, &self.references(source, &workflow.spec.references), &bound)
            }
            Err(waits) => return not_ready(run, None, waits),
        };
        match document {
            Err(mistakes) => {
                let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
                (not_ready(run, Some("failed"), first).0, mistakes)
            }
            Ok(document) => {
                progress::begin(run, document, &mut *self.new_id);
                for name in toggled(&workflow) {
                    let Some(hardware) = self.hardware_as_it_will_be(&name).cloned() else { continue };
                    run.status.boot_options.get_or_insert_default().allow_netboot.toggled_true = true;
                    self.hardware.insert(name, allow_netboot(hardware, true));
                }
                (None, Vec::new())
            }
        }
    }

    /// The objects that another object refers to, as far as Policies allow it to read them.
    pub(super) fn references(&self, source: Source<'_>, named: &BTreeMap<String, Reference>) -> References {
        let stored = self
            .view
            .v1alpha2
            .policies
            .iter()
            .filter(|(name, _)| !self.coming.policies.contains_key(*name) && !self.is_removed(Kind::Policy, name));
        let policies = self.coming.policies.values().chain(stored.map(|(_, stored)| &*stored.object));
        references::resolve(source, named, policies, |kind, name| self.looked_up(kind, name))
    }

    fn looked_up(&self, kind: Kind, name: &ObjectName) -> Option<Value> {
        if self.is_removed(kind, name) {
            return None;
        }
        match kind {
            Kind::Hardware => self.hardware_as_it_will_be(name).map(hardware_data),
            Kind::Template => {
                let stored = || Some(&*self.view.templates.get(name)?.object);
                serde_json::to_value(self.templates.get(name).or_else(stored)?).ok()
            }
            Kind::Workflow => {
                let stored = self.view.workflows.get(name).filter(|stored| !runs(&stored.object))?;
                serde_json::to_value(&*stored.object).ok()
            }
            Kind::Task if self.coming.tasks.contains_key(name) => serde_json::to_value(self.coming.tasks.get(name)?).ok(),
            Kind::Policy if self.coming.policies.contains_key(name) => serde_json::to_value(self.coming.policies.get(name)?).ok(),
            other => crate::v1alpha2::get(self.view, other, name),
        }
    }

    /// What each task of the workflow names, or what is missing.
    fn bound<'b>(&'b self, workflow: &Workflow) -> Result<Vec<Bound<'b>>, String> {
        let namespace = &workflow.metadata.namespace;
        let bind = |entry: &model::v1alpha2::WorkflowTask| {
            let name = entry.task_ref.object_name(namespace);
            let stored = || self.view.v1alpha2.tasks.get(&name).filter(|_| !self.is_removed(Kind::Task, &name));
            let task = self.coming.tasks.get(&name).or_else(|| Some(&*stored()?.object));
            let task = task.ok_or_else(|| format!("waits for Task {name}, which does not exist"))?;
            let hardware = match entry.hardware_name(namespace) {
                Some(name) => Some(
                    self.hardware_as_it_will_be(&name)
                        .ok_or_else(|| format!("waits for Hardware {name}, which does not exist"))?,
                ),
                None => None,
            };
            let source = Source { kind: Kind::Task, metadata: &task.metadata };
            Ok(Bound { task, hardware, references: self.references(source, &task.spec.references) })
        };
        workflow.spec.tasks.iter().map(bind).collect()
    }
}

/// The status of a workflow that cannot run now, and why.
pub(super) fn not_ready(
    workflow: &mut model::Workflow,
    rendering: Option<&str>,
    problem: String,
) -> (Option<String>, Vec<Mistake>) {
    workflow.status.template_rendering = rendering.map(str::to_owned);
    workflow.status.message.clone_from(&problem);
    (Some(problem), Vec::new())
}

/// The mistake for two Workflows with the same name.
pub(super) fn taken(name: &ObjectName, version: &str) -> Mistake {
    let other = version.rsplit('/').next().unwrap_or(API_VERSION);
    let message = format!("a Workflow of {other} has this name, and agents know workflows by their names only");
    mistake(Kind::Workflow, name, message, Some("give it another name, or delete the other one first"))
}
