//! What applying a set of objects would write: all of it, or, when something is refused, nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Change, Changed};
use jiff::Timestamp;
use model::{
    BootOptionsStatus, Hardware, Kind, Mac, Metadata, Mistake, Netboot, Object, ObjectName, Template, Workflow, WorkflowState,
};
use serde::Serialize;

use crate::store::Transaction;
use crate::view::{Stored, View, key};
use crate::{progress, template};

#[derive(Debug, Default)]
pub struct Plan {
    pub transaction: Transaction,
    pub changes: Vec<Changed>,
    /// Those of templates, whose workflows are stored all the same.
    pub mistakes: Vec<Mistake>,
}

/// # Errors
/// Everything that is refused; then nothing shall be written.
pub fn plan(view: &View, objects: Vec<Object>, now: Timestamp, new_id: &mut dyn FnMut() -> String) -> Result<Plan, Vec<Mistake>> {
    let mut planner = Planner {
        view,
        now,
        new_id,
        hardware: BTreeMap::new(),
        templates: BTreeMap::new(),
        plan: Plan::default(),
        refused: Vec::new(),
        touched: BTreeSet::new(),
    };
    let mut workflows = Vec::new();
    for object in objects {
        match object {
            Object::Hardware(hardware) => planner.hardware(*hardware),
            Object::Template(template) => planner.template(*template),
            Object::Workflow(workflow) => workflows.push(*workflow),
        }
    }
    planner.addresses_are_unique();
    let named: BTreeSet<ObjectName> = workflows.iter().map(Workflow::name).collect();
    workflows.into_iter().for_each(|workflow| planner.workflow(workflow));
    planner.waiting(&named);
    planner.write_hardware();
    if planner.refused.is_empty() { Ok(planner.plan) } else { Err(planner.refused) }
}

/// What a server without objects would say of these.
///
/// # Errors
/// Everything that it would refuse, or could not render.
pub fn validate(objects: Vec<Object>) -> Result<Vec<Changed>, Vec<Mistake>> {
    let mut number = 0_u32;
    let mut new_id = || {
        number += 1;
        number.to_string()
    };
    let plan = plan(&View::default(), objects, Timestamp::now(), &mut new_id)?;
    if plan.mistakes.is_empty() { Ok(plan.changes) } else { Err(plan.mistakes) }
}

struct Planner<'p> {
    view: &'p View,
    now: Timestamp,
    new_id: &'p mut dyn FnMut() -> String,
    /// As they will be; they come before those of the view.
    hardware: BTreeMap<ObjectName, Hardware>,
    templates: BTreeMap<ObjectName, Template>,
    /// Hardware and templates of this apply that differ from what is stored.
    touched: BTreeSet<(Kind, ObjectName)>,
    plan: Plan,
    refused: Vec<Mistake>,
}

fn mistake(kind: Kind, name: &ObjectName, message: String, hint: Option<&str>) -> Mistake {
    let file = format!("{kind} {name}");
    Mistake { file, line: 0, column: 0, path: String::new(), message, hint: hint.map(str::to_owned) }
}

/// The metadata that a person may change.
fn same_words(one: &Metadata, other: &Metadata) -> bool {
    (&one.labels, &one.annotations) == (&other.labels, &other.annotations)
}

impl Planner<'_> {
    fn say(&mut self, kind: Kind, name: &ObjectName, change: Change, problem: Option<String>) {
        self.plan.changes.push(Changed { kind, name: name.to_string(), change, problem });
    }

    fn put<T: Serialize>(&mut self, kind: Kind, name: &ObjectName, object: &T, expected: u64) {
        match serde_json::to_vec(object) {
            Ok(value) => self.plan.transaction = std::mem::take(&mut self.plan.transaction).put(key(kind, name), expected, value),
            Err(error) => self.refused.push(mistake(kind, name, error.to_string(), None)),
        }
    }

    fn hardware(&mut self, mut new: Hardware) {
        let name = new.name();
        let change = match self.view.hardware.get(&name) {
            Some(old) if old.object.spec == new.spec && same_words(&old.object.metadata, &new.metadata) => Change::Unchanged,
            Some(old) => {
                new.metadata.creation_timestamp = old.object.metadata.creation_timestamp;
                new.status.clone_from(&old.object.status);
                Change::Updated
            }
            None => {
                new.metadata.creation_timestamp = Some(self.now);
                Change::Created
            }
        };
        self.say(Kind::Hardware, &name, change, None);
        if change != Change::Unchanged {
            self.touched.insert((Kind::Hardware, name.clone()));
            self.hardware.insert(name, new);
        }
    }

    fn template(&mut self, mut new: Template) {
        let name = new.name();
        if let Err(found) = template::check_syntax(&new) {
            self.refused.push(found);
        }
        let old = self.view.templates.get(&name);
        let change = match old {
            Some(old) if old.object.spec == new.spec && same_words(&old.object.metadata, &new.metadata) => Change::Unchanged,
            Some(old) => {
                new.metadata.creation_timestamp = old.object.metadata.creation_timestamp;
                Change::Updated
            }
            None => {
                new.metadata.creation_timestamp = Some(self.now);
                Change::Created
            }
        };
        self.say(Kind::Template, &name, change, None);
        if change != Change::Unchanged {
            self.put(Kind::Template, &name, &new, old.map_or(0, |old| old.modified));
            self.touched.insert((Kind::Template, name.clone()));
            self.templates.insert(name, new);
        }
    }

    fn workflow(&mut self, mut new: Workflow) {
        let name = new.name();
        if let Some(mode) = new.spec.boot_options.as_ref().and_then(|options| options.boot_mode.as_deref()) {
            let hint = "start the machine by hand and leave bootMode out; toggleAllowNetboot works";
            self.refused.push(mistake(
                Kind::Workflow,
                &name,
                format!("bootMode {mode:?} needs a BMC, and none can be driven yet"),
                Some(hint),
            ));
            return;
        }
        let Some(Stored { object: old, modified, .. }) = self.view.workflows.get(&name).cloned() else {
            new.metadata.creation_timestamp = Some(self.now);
            let problem = self.render(&mut new);
            self.put(Kind::Workflow, &name, &new, 0);
            return self.say(Kind::Workflow, &name, Change::Created, problem);
        };
        let same = old.spec == new.spec;
        if !same && old.status.current_state.is_some() {
            let state = old.status.state.map_or("not started", WorkflowState::as_str);
            let message = format!("it is {state} and its spec can no longer change");
            return self.refused.push(mistake(
                Kind::Workflow,
                &name,
                message,
                Some("create a workflow with another name, or delete this one first"),
            ));
        }
        let mut next = Workflow::clone(&old);
        (next.spec, next.metadata.labels, next.metadata.annotations) = (new.spec, new.metadata.labels, new.metadata.annotations);
        let problem = if same && !next.status.tasks.is_empty() { None } else { self.render(&mut next) };
        let change = if next == *old { Change::Unchanged } else { Change::Updated };
        if change == Change::Updated {
            self.put(Kind::Workflow, &name, &next, modified);
        }
        self.say(Kind::Workflow, &name, change, problem);
    }

    /// Stored workflows that could not be rendered and may be now, because what they refer to has changed.
    fn waiting(&mut self, named: &BTreeSet<ObjectName>) {
        let view = self.view;
        for (name, stored) in
            view.workflows.iter().filter(|(name, stored)| stored.object.status.tasks.is_empty() && !named.contains(name))
        {
            let refers = |kind, to: &str| self.touched.contains(&(kind, ObjectName::new(&name.namespace, to)));
            let spec = &stored.object.spec;
            if !refers(Kind::Template, &spec.template_ref) && !refers(Kind::Hardware, &spec.hardware_ref) {
                continue;
            }
            let mut next = Workflow::clone(&stored.object);
            let problem = self.render(&mut next);
            if next != *stored.object {
                self.put(Kind::Workflow, name, &next, stored.modified);
                self.say(Kind::Workflow, name, Change::Updated, problem);
            }
        }
    }

    /// Renders the tasks, or notes in the status why that is not possible; then also returns it.
    fn render(&mut self, workflow: &mut Workflow) -> Option<String> {
        let namespace = workflow.metadata.namespace.clone();
        workflow.status = model::WorkflowStatus::default();
        let status = |workflow: &mut Workflow, rendering: Option<&str>, problem: String| {
            workflow.status.template_rendering = rendering.map(str::to_owned);
            workflow.status.message.clone_from(&problem);
            Some(problem)
        };
        if workflow.spec.disabled == Some(true) {
            return status(workflow, None, "disabled".to_owned());
        }
        let hardware_name = ObjectName::new(&namespace, &workflow.spec.hardware_ref);
        let hardware = self
            .hardware
            .get(&hardware_name)
            .cloned()
            .or_else(|| Some(Hardware::clone(&self.view.hardware.get(&hardware_name)?.object)));
        if hardware.is_none() && !workflow.spec.hardware_ref.is_empty() {
            return status(workflow, None, format!("waits for Hardware {hardware_name}, which does not exist"));
        }
        let template_name = ObjectName::new(&namespace, &workflow.spec.template_ref);
        let template = self
            .templates
            .get(&template_name)
            .cloned()
            .or_else(|| Some(Template::clone(&self.view.templates.get(&template_name)?.object)));
        let Some(template) = template else {
            return status(workflow, None, format!("waits for Template {template_name}, which does not exist"));
        };
        match template::render(&template, workflow, hardware.as_ref()) {
            Err(mistakes) => {
                let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
                self.plan.mistakes.extend(mistakes);
                status(workflow, Some("failed"), first)
            }
            Ok(document) => {
                progress::begin(workflow, document, &mut *self.new_id);
                if let Some(hardware) = hardware.filter(|_| toggles(workflow)) {
                    workflow.status.boot_options.get_or_insert_default().allow_netboot.toggled_true = true;
                    self.hardware.insert(hardware_name, allow_netboot(hardware, true));
                }
                None
            }
        }
    }

    fn write_hardware(&mut self) {
        for (name, hardware) in std::mem::take(&mut self.hardware) {
            let stored = self.view.hardware.get(&name);
            if stored.is_none_or(|stored| *stored.object != hardware) {
                self.put(Kind::Hardware, &name, &hardware, stored.map_or(0, |stored| stored.modified));
            }
        }
    }

    /// One address on two machines would send one machine's system to the other.
    fn addresses_are_unique(&mut self) {
        let mut owners: BTreeMap<Mac, ObjectName> = BTreeMap::new();
        for (name, hardware) in &self.hardware {
            for mac in hardware.spec.macs() {
                let stored = self.view.by_mac(mac).map(|stored| stored.object.name()).filter(|owner| owner != name);
                let stored =
                    stored.filter(|owner| self.hardware.get(owner).is_none_or(|new| new.spec.macs().any(|other| other == mac)));
                if let Some(owner) = owners.insert(mac, name.clone()).or(stored) {
                    let message = if owner == *name {
                        format!("has {mac} on two interfaces")
                    } else {
                        format!("has {mac}, which is Hardware {owner}'s")
                    };
                    self.refused.push(mistake(Kind::Hardware, name, message, None));
                }
            }
        }
    }
}

#[must_use]
pub fn toggles(workflow: &Workflow) -> bool {
    workflow.spec.boot_options.as_ref().is_some_and(|options| options.toggle_allow_netboot == Some(true))
}

/// `toggleAllowNetboot`: all interfaces, as Tinkerbell does.
#[must_use]
pub fn allow_netboot(mut hardware: Hardware, allowed: bool) -> Hardware {
    for interface in &mut hardware.spec.interfaces {
        interface.netboot.get_or_insert_with(Netboot::default).allow_pxe = Some(allowed);
    }
    hardware
}

/// After the last action: what else to write together with the workflow's end.
#[must_use]
pub fn after_success(view: &View, workflow: &mut Workflow) -> Option<(ObjectName, Hardware, u64)> {
    let name = ObjectName::new(&workflow.metadata.namespace, &workflow.spec.hardware_ref);
    let stored = view.hardware.get(&name).filter(|_| toggles(workflow))?;
    let options: &mut BootOptionsStatus = workflow.status.boot_options.get_or_insert_default();
    options.allow_netboot.toggled_false = true;
    Some((name, allow_netboot(Hardware::clone(&Arc::clone(&stored.object)), false), stored.modified))
}
