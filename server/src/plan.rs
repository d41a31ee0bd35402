//! What applying a set of objects would write. If anything is refused, nothing is written. Pure.

mod addresses;
mod claims;
mod deletion;
mod imported;
mod orders;
mod rule_sets;
mod v1alpha2;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::{Change, Changed, MachineState};
use jiff::Timestamp;
use model::{
    AgentId, Hardware, Kind, Metadata, Mistake, Netboot, Object, ObjectName, Template, Workflow, WorkflowState, WorkflowStatus,
};
use serde::Serialize;

use crate::boot::is_open;
use crate::references::Source;
use crate::store::{Transaction, Write};
use crate::v1alpha2::{kind_of, runs, toggled};
use crate::view::{Stored, View, key, parsed};
use crate::{history, progress, template};

pub use deletion::{Kept, deletion};
pub use imported::with_intents;
use v1alpha2::not_ready;

/// The operator's settings for all machines.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whether the first order of a machine that never finished one waits for approval.
    pub hold_new: bool,
    /// The server's addresses, which no machine may have.
    pub addresses: Vec<IpAddr>,
    /// The person who explicitly orders these workflows. Such an order overrides a hold, a rescue and the setting for new
    /// machines.
    pub person: Option<Person>,
    /// The objects carry all their metadata, and their status. Otherwise what files do not carry stays as it is.
    pub complete: bool,
    /// Other servers write to the same store.
    pub shared: bool,
}

#[derive(Debug, Clone)]
pub struct Person {
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Default)]
pub struct Plan {
    pub transaction: Transaction,
    pub changes: Vec<Changed>,
    /// The Hardware that this change orders to be installed.
    pub installs: BTreeSet<ObjectName>,
}

/// # Errors
/// Everything that is refused. In that case the caller must not write anything.
pub fn plan(
    view: &View,
    objects: Vec<Object>,
    rules: &Rules,
    now: Timestamp,
    new_id: &mut dyn FnMut() -> String,
) -> Result<Plan, Vec<Mistake>> {
    let mut planner = Planner {
        view,
        rules,
        now,
        new_id,
        hardware: BTreeMap::new(),
        agents: BTreeMap::new(),
        templates: BTreeMap::new(),
        machines: BTreeMap::new(),
        plan: Plan::default(),
        refused: Vec::new(),
        touched: BTreeSet::new(),
        affected: BTreeSet::new(),
        removed: None,
        coming: v1alpha2::Coming::default(),
    };
    let (mut workflows, mut workflows_v1alpha2) = (Vec::new(), Vec::new());
    for object in objects {
        match object {
            Object::Hardware(hardware) => planner.hardware(*hardware),
            Object::Template(template) => planner.template(*template),
            Object::Workflow(workflow) => workflows.push(*workflow),
            Object::WorkflowRuleSet(rule_set) => planner.rule_set(*rule_set),
            Object::Task(task) => planner.task(*task),
            Object::Policy(policy) => planner.policy(*policy),
            Object::WorkflowV1alpha2(workflow) => workflows_v1alpha2.push(*workflow),
        }
    }
    planner.addresses();
    planner.index_agents();
    planner.affected = planner.affected(|_| true);
    let mut named: BTreeSet<ObjectName> = workflows.iter().map(Workflow::name).collect();
    workflows.into_iter().for_each(|workflow| planner.workflow(workflow));
    for workflow in workflows_v1alpha2 {
        if named.insert(workflow.name()) {
            planner.workflow_v1alpha2(workflow);
        } else {
            planner.refused.push(v1alpha2::taken(&workflow.name(), model::API_VERSION));
        }
    }
    planner.waiting(&named);
    planner.newcomers(&named);
    planner.write_claims();
    planner.write_hardware();
    planner.write_machines();
    if planner.refused.is_empty() { Ok(planner.plan) } else { Err(planner.refused) }
}

/// What a server without other objects would answer to these.
///
/// # Errors
/// Everything that it would refuse, or could not render.
pub fn validate(objects: Vec<Object>) -> Result<Vec<Changed>, Vec<Mistake>> {
    alone(objects).map(|plan| plan.changes)
}

/// The Workflows as a server without other objects would store them: with their actions, if it could render them.
///
/// # Errors
/// As `validate`.
pub fn rendered(objects: Vec<Object>) -> Result<Vec<Workflow>, Vec<Mistake>> {
    let plan = alone(objects)?;
    let workflow = |write: &Write| match write {
        Write::Put { key, value } if parsed(key)?.0 == Kind::Workflow => serde_json::from_slice(value).ok(),
        _ => None,
    };
    Ok(plan.transaction.writes.iter().filter_map(workflow).collect())
}

fn alone(objects: Vec<Object>) -> Result<Plan, Vec<Mistake>> {
    let mut number = 0_u32;
    let mut new_id = || {
        number += 1;
        number.to_string()
    };
    plan(&View::default(), objects, &Rules::default(), Timestamp::now(), &mut new_id)
}

struct Planner<'p> {
    view: &'p View,
    rules: &'p Rules,
    now: Timestamp,
    new_id: &'p mut dyn FnMut() -> String,
    /// The Hardware after this change. It hides that of the view.
    hardware: BTreeMap<ObjectName, Hardware>,
    templates: BTreeMap<ObjectName, Template>,
    machines: BTreeMap<ObjectName, MachineState>,
    /// The agents that `hardware` names.
    agents: BTreeMap<AgentId, ObjectName>,
    /// The Hardware and templates of this apply that differ from the stored ones.
    touched: BTreeSet<(Kind, ObjectName)>,
    /// Stored workflows that may render otherwise than before.
    affected: BTreeSet<ObjectName>,
    /// No longer there after this change.
    removed: Option<(Kind, ObjectName)>,
    coming: v1alpha2::Coming,
    plan: Plan,
    refused: Vec<Mistake>,
}

fn encode<T: Serialize>(object: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(object).map_err(|error| error.to_string())
}

fn mistake(kind: Kind, name: &ObjectName, message: String, hint: Option<&str>) -> Mistake {
    let file = format!("{kind} {name}");
    Mistake { file, line: 0, column: 0, path: String::new(), message, hint: hint.map(str::to_owned) }
}

/// Compares the metadata that a client may change.
fn same_words(one: &Metadata, other: &Metadata) -> bool {
    (&one.labels, &one.annotations, &one.kept) == (&other.labels, &other.annotations, &other.kept)
}

impl Planner<'_> {
    fn say(&mut self, kind: Kind, name: &ObjectName, change: Change, problem: Option<String>) {
        self.plan.changes.push(Changed { kind, name: name.to_string(), change, problem });
    }

    /// Gives an object the metadata that the server keeps, and says what the change is. `old` also says whether its spec is
    /// the same.
    fn carried(&self, new: &mut Metadata, old: Option<(&Metadata, bool)>) -> Change {
        let Some((old, same_spec)) = old else {
            new.creation_timestamp = Some(self.now);
            return Change::Created;
        };
        new.creation_timestamp = old.creation_timestamp;
        if !self.rules.complete {
            new.kept.clone_from(&old.kept);
        }
        let marked = new.kept.deletion_timestamp.is_some() && old.kept.deletion_timestamp.is_none();
        let generation = old.kept.generation.unwrap_or(1) + u64::from(!same_spec || marked);
        new.kept.generation = Some(generation).filter(|generation| *generation > 1);
        if same_spec && same_words(old, new) { Change::Unchanged } else { Change::Updated }
    }

    fn put<T: Serialize>(&mut self, kind: Kind, name: &ObjectName, object: &T, expected: u64) {
        match encode(object) {
            Ok(value) => self.plan.transaction = std::mem::take(&mut self.plan.transaction).put(key(kind, name), expected, value),
            Err(error) => self.refused.push(mistake(kind, name, error, None)),
        }
    }

    /// Writes a workflow and the entry of its log.
    fn put_workflow(&mut self, old: Option<&Workflow>, mut new: Workflow, expected: u64) {
        let happened = progress::prepared(old, &mut new, self.now);
        let happened: Vec<_> = happened.into_iter().collect();
        happened.iter().for_each(|event| progress::evolve(&mut new, event));
        self.put(Kind::Workflow, &new.name(), &new, expected);
        match history::logged(std::mem::take(&mut self.plan.transaction), &new, &happened) {
            Ok(transaction) => self.plan.transaction = transaction,
            Err(error) => self.refused.push(mistake(Kind::Workflow, &new.name(), error.to_string(), None)),
        }
    }

    fn hardware(&mut self, mut new: Hardware) {
        let name = new.name();
        let old = self.view.hardware.get(&name).map(|old| &old.object);
        let mut change = self.carried(&mut new.metadata, old.map(|old| (&old.metadata, old.spec == new.spec)));
        if let Some(old) = old {
            if !self.rules.complete {
                new.status.clone_from(&old.status);
            } else if new.status != old.status {
                change = Change::Updated;
            }
        }
        let unused = (change != Change::Unchanged).then(|| crate::unused::unused(&new.spec)).flatten();
        self.say(Kind::Hardware, &name, change, unused);
        if change != Change::Unchanged {
            self.touched.insert((Kind::Hardware, name.clone()));
            self.hardware.insert(name, new);
        }
    }

    fn template(&mut self, mut new: Template) {
        let name = new.name();
        if let Err(found) = template::check(&new) {
            self.refused.extend(found);
        }
        let old = self.view.templates.get(&name);
        let mut change = self.carried(&mut new.metadata, old.map(|old| (&old.object.metadata, old.object.spec == new.spec)));
        if let Some(old) = old {
            if !self.rules.complete {
                new.status.clone_from(&old.object.status);
            } else if new.status != old.object.status {
                change = Change::Updated;
            }
        }
        self.say(Kind::Template, &name, change, None);
        if change != Change::Unchanged {
            self.put(Kind::Template, &name, &new, old.map_or(0, |old| old.modified));
            self.touched.insert((Kind::Template, name.clone()));
            self.templates.insert(name, new);
        }
    }

    fn workflow(&mut self, mut new: Workflow) {
        let (name, kind) = (new.name(), kind_of(&new));
        if self.is_of_other_version(&new) {
            return;
        }
        let came_finished = new.status.state.is_some_and(WorkflowState::is_final);
        let Some(Stored { object: old, modified, .. }) = self.view.workflows.get(&name).cloned() else {
            if !came_finished && self.boot_mode_is_refused(&new) {
                return;
            }
            self.carried(&mut new.metadata, None);
            let problem = if came_finished {
                (new.status.logged, new.status.paused) = (None, None);
                new.status.log_servers.clear(); // the lines stay where they are
                self.imported(&new)
            } else {
                new.status = WorkflowStatus::default();
                let problem = self.render_or_refuse(&mut new);
                let problem = self.settle(None, &mut new, true).or(problem);
                self.refuse_unless_ready(&new);
                problem
            };
            self.put_workflow(None, new, 0);
            return self.say(kind, &name, Change::Created, problem);
        };
        let same = old.spec == new.spec && !self.is_rewritten(&name);
        let over = progress::has_begun(&old) || old.status.state.is_some_and(WorkflowState::is_final);
        if !same && over {
            let state = old.status.state.map_or("not started", WorkflowState::as_str);
            let message = format!("it is {state}, so its spec can no longer change");
            return self.refused.push(mistake(
                Kind::Workflow,
                &name,
                message,
                Some("create a workflow with another name, or delete this one first"),
            ));
        }
        if !same && !came_finished && self.boot_mode_is_refused(&new) {
            return;
        }
        let mut next = Workflow::clone(&old);
        self.carried(&mut new.metadata, Some((&old.metadata, same)));
        (next.spec, next.metadata) = (new.spec, new.metadata);
        let stale = !same || next.status.tasks.is_empty() || self.affected.contains(&name);
        let problem = if over || !stale {
            None
        } else if came_finished && !is_open(&old) {
            // A workflow that was not ready yet, but finished elsewhere, does not become an order.
            let log_servers = old.status.log_servers.clone();
            next.status = WorkflowStatus { logged: old.status.logged, paused: None, log_servers, ..new.status };
            self.imported(&next)
        } else {
            let problem = self.render_or_refuse(&mut next);
            keep_unless_other(&old, &mut next);
            self.settle(Some(&old), &mut next, !same).or(problem)
        };
        let change = if next == *old { Change::Unchanged } else { Change::Updated };
        if change == Change::Updated {
            self.put_workflow(Some(&old), next, modified);
        }
        self.say(kind, &name, change, problem);
    }

    /// A person's order is for now. What only waits for a Template would surprise once that comes.
    fn refuse_unless_ready(&mut self, workflow: &Workflow) {
        if self.rules.person.is_none() || is_open(workflow) || !self.refused.is_empty() {
            return;
        }
        let message = format!("cannot be ordered now: {}", workflow.status.message);
        self.refused.push(mistake(Kind::Workflow, &workflow.name(), message, None));
    }

    /// What nothing acts on would let a machine wait for ever.
    fn boot_mode_is_refused(&mut self, workflow: &Workflow) -> bool {
        let mode = workflow.spec.boot_options.as_ref().and_then(|options| options.boot_mode.as_deref());
        let Some(mode) = mode.filter(|mode| *mode != "netboot") else { return false };
        let hint = "start the machine by hand and leave bootMode out; netboot and toggleAllowNetboot are supported";
        let message = format!("bootMode {mode:?} needs a BMC, which Thimble cannot control yet");
        self.refused.push(mistake(Kind::Workflow, &workflow.name(), message, Some(hint)));
        true
    }

    /// Stored workflows that depend on touched objects of these kinds.
    fn affected(&self, of: impl Fn(Kind) -> bool) -> BTreeSet<ObjectName> {
        let touched = self.touched.iter().filter(|(kind, _)| of(*kind));
        touched.flat_map(|(kind, name)| self.view.dependents(*kind, name)).collect()
    }

    /// Renders stored workflows that have not begun again, if an object that they refer to has changed.
    fn waiting(&mut self, named: &BTreeSet<ObjectName>) {
        let (view, needed) = (self.view, self.affected(|kind| kind != Kind::Policy));
        let affected: Vec<ObjectName> = self.affected(|_| true).into_iter().filter(|name| !named.contains(name)).collect();
        for name in affected {
            let Some(stored) = view.workflows.get(&name) else { continue };
            let old = &stored.object;
            if progress::has_begun(old) || old.status.state.is_some_and(WorkflowState::is_final) {
                continue;
            }
            let mut next = Workflow::clone(old);
            // One that could not be rendered before shall not stand in the way of others, and none in that of a Policy.
            let may_fail = old.status.template_rendering.as_deref() == Some("failed") || !needed.contains(&name);
            let problem = if may_fail { self.render(&mut next).0 } else { self.render_or_refuse(&mut next) };
            keep_unless_other(old, &mut next);
            let problem = self.settle(Some(old), &mut next, false).or(problem);
            if next != **old {
                self.put_workflow(Some(old), next, stored.modified);
                self.say(kind_of(old), &name, Change::Updated, problem);
            }
        }
    }

    /// `render`, but mistakes of the template refuse the whole change.
    fn render_or_refuse(&mut self, workflow: &mut Workflow) -> Option<String> {
        let (problem, mistakes) = self.render(workflow);
        self.refused.extend(mistakes);
        problem
    }

    /// Renders the tasks. If that is not possible, the status says why. The reason is then returned, too, with the mistakes
    /// of the template.
    fn render(&mut self, workflow: &mut Workflow) -> (Option<String>, Vec<Mistake>) {
        let namespace = workflow.metadata.namespace.clone();
        let WorkflowStatus { ordered, logged, paused, log_servers, .. } = std::mem::take(&mut workflow.status);
        workflow.status = WorkflowStatus { ordered, logged, paused, log_servers, ..WorkflowStatus::default() };
        if workflow.spec.disabled == Some(true) {
            return not_ready(workflow, None, "disabled".to_owned());
        }
        if runs(workflow) {
            return self.render_v1alpha2(workflow);
        }
        let hardware_name = ObjectName::new(&namespace, &workflow.spec.hardware_ref);
        let hardware = self.hardware_as_it_will_be(&hardware_name).cloned();
        if hardware.is_none() && !workflow.spec.hardware_ref.is_empty() {
            return not_ready(workflow, None, format!("waits for Hardware {hardware_name}, which does not exist"));
        }
        let template_name = ObjectName::new(&namespace, &workflow.spec.template_ref);
        let stored = self.view.templates.get(&template_name).filter(|_| !self.is_removed(Kind::Template, &template_name));
        let template = self.templates.get(&template_name).cloned().or_else(|| Some(Template::clone(&stored?.object)));
        let Some(template) = template else {
            return not_ready(workflow, None, format!("waits for Template {template_name}, which does not exist"));
        };
        let references = hardware.as_ref().map(|hardware| {
            let source = Source { kind: Kind::Hardware, metadata: &hardware.metadata };
            self.references(source, &hardware.spec.references)
        });
        match template::render_with(&template, workflow, hardware.as_ref(), references.unwrap_or_default()) {
            Err(mistakes) => {
                let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
                (not_ready(workflow, Some("failed"), first).0, template::located(&template, mistakes))
            }
            Ok(document) => {
                progress::begin(workflow, document, &mut *self.new_id);
                if let Some(hardware) = hardware.filter(|_| toggles(workflow)) {
                    workflow.status.boot_options.get_or_insert_default().allow_netboot.toggled_true = true;
                    self.hardware.insert(hardware_name, allow_netboot(hardware, true));
                }
                (None, Vec::new())
            }
        }
    }

    fn is_removed(&self, kind: Kind, name: &ObjectName) -> bool {
        self.removed.as_ref().is_some_and(|(removed, other)| (*removed, other) == (kind, name))
    }

    fn write_hardware(&mut self) {
        for (name, hardware) in std::mem::take(&mut self.hardware) {
            let stored = self.view.hardware.get(&name);
            if stored.is_none_or(|stored| *stored.object != hardware) {
                self.put(Kind::Hardware, &name, &hardware, stored.map_or(0, |stored| stored.modified));
            }
        }
    }
}

/// If the result of a rendering is the same, its actions keep their ids, which an agent may have.
fn keep_unless_other(old: &Workflow, new: &mut Workflow) {
    let without_ids = |workflow: &Workflow| {
        let mut tasks = workflow.status.tasks.clone();
        for task in &mut tasks {
            task.id.clear();
            task.actions.iter_mut().for_each(|action| action.id.clear());
        }
        (tasks, workflow.status.global_timeout)
    };
    if !old.status.tasks.is_empty() && without_ids(old) == without_ids(new) {
        new.status = old.status.clone();
    }
}

#[must_use]
pub fn toggles(workflow: &Workflow) -> bool {
    workflow.spec.boot_options.as_ref().is_some_and(|options| options.toggle_allow_netboot == Some(true))
}

/// `toggleAllowNetboot` for all interfaces, as in Tinkerbell.
#[must_use]
pub fn allow_netboot(mut hardware: Hardware, allowed: bool) -> Hardware {
    for interface in &mut hardware.spec.interfaces {
        interface.netboot.get_or_insert_with(Netboot::default).allow_pxe = Some(allowed);
    }
    hardware
}

/// What else to write together with the success of a workflow.
#[must_use]
pub fn after_success(view: &View, workflow: &Workflow) -> Vec<(ObjectName, Hardware, u64)> {
    let name = ObjectName::new(&workflow.metadata.namespace, &workflow.spec.hardware_ref);
    let mut names: BTreeSet<ObjectName> = Some(name).filter(|_| toggles(workflow)).into_iter().collect();
    if let Some(written) = view.v1alpha2.workflows.get(&workflow.name()).filter(|_| runs(workflow)) {
        names.extend(toggled(&written.object));
    }
    let closed = names.into_iter().filter_map(|name| {
        let stored = view.hardware.get(&name)?;
        Some((name, allow_netboot(Hardware::clone(&Arc::clone(&stored.object)), false), stored.modified))
    });
    closed.collect()
}
