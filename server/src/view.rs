//! The objects in memory, with indexes for the frequent questions: which workflows concern this agent, and which machine
//! has this MAC. Only the store's watch updates it, so it shows durable objects only.
//!
//! A copy shares all data with the view, so it costs the same at any size. A later change copies only what it touches.

mod counts;
pub(crate) mod index;
mod questions;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use api::{Intent, MachineState, What};
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use log::error;
use model::{AgentId, Hardware, Kind, Mac, ObjectName, Template, Workflow, WorkflowRuleSet};
use serde::de::DeserializeOwned;

use crate::last_steps::{LAST_STEPS, ShownStep};
use crate::progress::{deadline, runs_on};
use crate::store::{Change, KeyValue};
use crate::v1alpha2;
use crate::wake::Subject;
use counts::Counts;
use index::Index;

/// An object and the revisions of its first and latest write.
#[derive(Debug)]
pub struct Stored<T> {
    pub object: Arc<T>,
    pub created: u64,
    pub modified: u64,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), created: self.created, modified: self.modified }
    }
}

/// What a change means to watchers and to waiting calls.
#[derive(Debug, Default)]
pub struct News {
    pub events: Vec<What>,
    pub subjects: BTreeSet<Subject>,
}

impl News {
    pub fn add(&mut self, other: Self) {
        self.events.extend(other.events);
        self.subjects.extend(other.subjects);
    }

    fn concerns<'a>(&mut self, agents: impl IntoIterator<Item = &'a AgentId>) {
        self.subjects.extend(agents.into_iter().map(Subject::agent));
    }
}

#[derive(Default, Clone)]
pub struct View {
    pub hardware: OrdMap<ObjectName, Stored<Hardware>>,
    pub templates: OrdMap<ObjectName, Stored<Template>>,
    pub workflows: OrdMap<ObjectName, Stored<Workflow>>,
    pub rule_sets: OrdMap<ObjectName, Stored<WorkflowRuleSet>>,
    /// What machines should boot, by the name of their Hardware. This outlives the Hardware, so a machine is not installed
    /// again when its Hardware is deleted and created anew.
    pub machines: OrdMap<ObjectName, Stored<MachineState>>,
    /// The latest step of each machine's boot, by the name of its Hardware.
    pub last_steps: OrdMap<ObjectName, Stored<ShownStep>>,
    pub v1alpha2: v1alpha2::Objects,
    /// The revisions of the keys that two changes which give something to a Hardware both write.
    pub claims: OrdMap<u64, u64>,
    pub revision: u64,
    /// If several Hardware have the same MAC, the oldest one owns it.
    by_mac: Index<Mac>,
    by_address: Index<IpAddr>,
    by_agent_id: Index<AgentId>,
    /// The workflows of each agent, oldest first.
    by_agent: Index<AgentId>,
    by_hardware: Index<ObjectName>,
    by_template: Index<ObjectName>,
    /// Machines by the workflows that are ordered for them. These outlive what workflows and Hardware say of each other.
    by_order: Index<ObjectName>,
    /// Machines by the agents that have lost their Hardware.
    by_former: Index<AgentId>,
    /// Hardware by the objects that its references name.
    by_reference: Index<ObjectName>,
    expiring: OrdSet<(Timestamp, ObjectName)>,
    /// Workflows with a running action.
    running: OrdSet<ObjectName>,
    /// The machines that were discovered and wait for approval.
    pub discovered: OrdSet<ObjectName>,
    pub counts: Counts,
}

/// By what a workflow is found.
#[derive(PartialEq, Eq)]
struct Named {
    created: u64,
    agents: BTreeSet<AgentId>,
    hardware: Option<ObjectName>,
    template: ObjectName,
}

impl Named {
    fn by(name: &ObjectName, workflow: &Stored<Workflow>) -> Self {
        let spec = &workflow.object.spec;
        let hardware = (!spec.hardware_ref.is_empty()).then(|| ObjectName::new(&name.namespace, &spec.hardware_ref));
        let template = ObjectName::new(&name.namespace, &spec.template_ref);
        Self { created: workflow.created, agents: agents(&workflow.object), hardware, template }
    }
}

/// `/workflows/default/install`.
#[must_use]
pub fn key(kind: Kind, name: &ObjectName) -> String {
    format!("{}{}/{}", prefix(kind), name.namespace, name.name)
}

const fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Hardware => "/hardware/",
        Kind::Template => "/templates/",
        Kind::Workflow => "/workflows/",
        Kind::WorkflowRuleSet => "/workflowrulesets/",
        Kind::Task => "/v1alpha2/tasks/",
        Kind::WorkflowV1alpha2 => "/v1alpha2/workflows/",
        Kind::Policy => "/v1alpha2/policies/",
    }
}

/// `/machines/default/node-1`. The name is that of the Hardware.
#[must_use]
pub fn machine_key(name: &ObjectName) -> String {
    format!("{MACHINES}{}/{}", name.namespace, name.name)
}

pub const MACHINES: &str = "/machines/";
const CLAIMS: &str = "/claims/";

/// `/claims/7`.
#[must_use]
pub fn claim_key(number: u64) -> String {
    format!("{CLAIMS}{number}")
}

/// The kind and name of a key.
#[must_use]
pub fn parsed(key: &str) -> Option<(Kind, ObjectName)> {
    let (kind, name) = Kind::ALL.into_iter().find_map(|kind| Some((kind, key.strip_prefix(prefix(kind))?)))?;
    let (namespace, name) = name.split_once('/')?;
    Some((kind, ObjectName::new(namespace, name)))
}

pub(crate) fn decoded<T: DeserializeOwned + Clone>(pair: &KeyValue) -> Option<Stored<T>> {
    match serde_json::from_slice::<T>(&pair.value) {
        // Lists that were decoded have room for more. Those of a copy have not, and the copy stays.
        Ok(object) => Some(Stored { object: Arc::new(object.clone()), created: pair.created, modified: pair.modified }),
        Err(reason) => {
            error!("{} in the store cannot be read and is left out: {reason}", pair.key);
            None
        }
    }
}

impl View {
    #[must_use]
    pub fn load(pairs: Vec<KeyValue>, revision: u64) -> Self {
        let mut view = Self::default();
        for pair in pairs {
            let (key, revision) = (pair.key.clone(), pair.modified);
            view.update(&Change { revision, whole: revision, key, pair: Some(Arc::new(pair)), previous: None });
        }
        view.revision = revision;
        view
    }

    /// Applies a change.
    pub fn update(&mut self, change: &Change) -> News {
        self.revision = change.revision;
        let mut news = News::default();
        let pair = change.pair.as_deref();
        if let Some((namespace, name)) = change.key.strip_prefix(MACHINES).and_then(|name| name.split_once('/')) {
            self.put_machine(ObjectName::new(namespace, name), pair.and_then(decoded), &mut news);
            return news;
        }
        if let Some((namespace, name)) = change.key.strip_prefix(LAST_STEPS).and_then(|name| name.split_once('/')) {
            put(&mut self.last_steps, ObjectName::new(namespace, name), pair.and_then(decoded));
            return news;
        }
        if let Some(number) = change.key.strip_prefix(CLAIMS).and_then(|number| number.parse().ok()) {
            match pair {
                Some(pair) => self.claims.insert(number, pair.modified),
                None => self.claims.remove(&number),
            };
            return news;
        }
        let Some((kind, name)) = parsed(&change.key) else { return news };
        let (existed, exists) = match kind {
            Kind::Hardware => self.put_hardware(name.clone(), pair.and_then(decoded), &mut news),
            Kind::Template => put(&mut self.templates, name.clone(), pair.and_then(decoded)),
            Kind::WorkflowRuleSet => put(&mut self.rule_sets, name.clone(), pair.and_then(decoded)),
            Kind::Workflow => {
                self.put_workflow(name, pair.and_then(decoded), &mut news);
                return news;
            }
            Kind::Task | Kind::WorkflowV1alpha2 | Kind::Policy => self.v1alpha2.update(kind, &name, pair),
        };
        // Events of a Workflow of v1alpha2 come from its running record.
        if kind == Kind::WorkflowV1alpha2 {
            return news;
        }
        news.events.extend(object_change(kind, &name, existed, exists));
        news
    }

    fn put_machine(&mut self, name: ObjectName, new: Option<Stored<MachineState>>, news: &mut News) {
        if let Some(hardware) = self.hardware.get(&name) {
            news.concerns(&agents_of(&hardware.object));
        }
        if new.as_ref().is_some_and(|new| new.object.decision.intent == Intent::Discover) {
            self.discovered.insert(name.clone());
        } else {
            self.discovered.remove(&name);
        }
        for (state, present) in [(self.machines.get(&name).cloned(), false), (new.clone(), true)] {
            for order in state.iter().flat_map(|state| &state.object.orders) {
                let Ok(workflow) = order.parse::<ObjectName>();
                self.by_order.set(workflow, 0, &name, present);
            }
            for agent in state.iter().flat_map(|state| &state.object.former) {
                self.by_former.set(agent.clone(), 0, &name, present);
            }
        }
        self.count_machine(&name, false);
        let old = match &new {
            Some(new) => self.machines.insert(name.clone(), new.clone()),
            None => self.machines.remove(&name),
        };
        self.count_machine(&name, true);
        let Some(new) = &new else { return };
        let decision = &new.object.decision;
        if old.is_none_or(|old| old.object.decision != *decision) {
            news.events.push(What::Intent {
                hardware: name.to_string(),
                intent: decision.intent,
                by: decision.by.clone(),
                reason: decision.reason.clone(),
            });
        }
    }

    fn put_hardware(&mut self, name: ObjectName, new: Option<Stored<Hardware>>, news: &mut News) -> (bool, bool) {
        if let Some(old) = self.hardware.get(&name).cloned() {
            self.own(&name, &old, false);
            news.concerns(&agents_of(&old.object));
        }
        if let Some(new) = &new {
            self.own(&name, new, true);
            news.concerns(&agents_of(&new.object));
        }
        self.count_machine(&name, false);
        let put = put(&mut self.hardware, name.clone(), new);
        self.count_machine(&name, true);
        put
    }

    fn count_machine(&mut self, name: &ObjectName, present: bool) {
        if self.hardware.contains_key(name) {
            let intent = self.machines.get(name).map_or(Intent::Inventory, |stored| stored.object.decision.intent);
            self.counts.machine(intent, present);
        }
    }

    fn own(&mut self, name: &ObjectName, hardware: &Stored<Hardware>, present: bool) {
        let (created, spec) = (hardware.created, &hardware.object.spec);
        spec.macs().for_each(|mac| self.by_mac.set(mac, created, name, present));
        spec.addresses().for_each(|address| self.by_address.set(address, created, name, present));
        if let Some(id) = &spec.agent_id {
            self.by_agent_id.set(AgentId(id.clone()), created, name, present);
        }
        for to in spec.references.values() {
            self.by_reference.set(to.object_name(&name.namespace), created, name, present);
        }
    }

    fn put_workflow(&mut self, name: ObjectName, new: Option<Stored<Workflow>>, news: &mut News) {
        let old = self.workflows.get(&name).cloned();
        let (before, now) = (old.as_ref().map(|old| Named::by(&name, old)), new.as_ref().map(|new| Named::by(&name, new)));
        for named in [&before, &now].into_iter().flatten() {
            news.concerns(&named.agents);
        }
        // Most changes are those of a running workflow, which names the same as before.
        if before != now {
            before.iter().for_each(|named| self.index(&name, named, false));
            now.iter().for_each(|named| self.index(&name, named, true));
        }
        let [old, new_object] = [&old, &new].map(|stored| stored.as_ref().map(|stored| &*stored.object));
        old.iter().for_each(|old| self.counts.workflow(&name, old, false));
        new_object.iter().for_each(|new| self.counts.workflow(&name, new, true));
        self.watch_time(&name, old, new_object);
        news.subjects.insert(Subject::Workflow(name.clone()));
        news.events.extend(workflow_changes(&name, old, new_object));
        put(&mut self.workflows, name, new);
    }

    fn index(&mut self, name: &ObjectName, Named { created, agents, hardware, template }: &Named, present: bool) {
        for agent in agents {
            self.by_agent.set(agent.clone(), *created, name, present);
        }
        if let Some(hardware) = hardware {
            self.by_hardware.set(hardware.clone(), *created, name, present);
        }
        self.by_template.set(template.clone(), *created, name, present);
    }

    fn watch_time(&mut self, name: &ObjectName, old: Option<&Workflow>, new: Option<&Workflow>) {
        let runs = |workflow: Option<&Workflow>| workflow.and_then(runs_on).is_some();
        match (runs(old), runs(new)) {
            (false, true) => drop(self.running.insert(name.clone())),
            (true, false) => drop(self.running.remove(name)),
            _ => {}
        }
        let (before, now) = (old.and_then(deadline), new.and_then(deadline));
        if before == now {
            return;
        }
        if let Some(stop) = before {
            self.expiring.remove(&(stop, name.clone()));
        }
        if let Some(stop) = now {
            self.expiring.insert((stop, name.clone()));
        }
    }
}

/// The agents of a workflow. Before it is rendered, the values of its map are the best guess.
pub fn agents(workflow: &Workflow) -> BTreeSet<AgentId> {
    let tasks = &workflow.status.tasks;
    if tasks.is_empty() {
        return workflow.spec.hardware_map.values().cloned().map(AgentId).collect();
    }
    tasks.iter().map(|task| task.agent_id.clone()).collect()
}

/// The agents that run on a machine: the one that its Hardware names, and one for each interface.
pub fn agents_of(hardware: &Hardware) -> Vec<AgentId> {
    let macs = hardware.spec.macs().map(|mac| AgentId(mac.to_string()));
    hardware.spec.agent_id.iter().cloned().map(AgentId).chain(macs).collect()
}

pub(crate) fn put<T>(map: &mut OrdMap<ObjectName, Stored<T>>, name: ObjectName, new: Option<Stored<T>>) -> (bool, bool) {
    let exists = new.is_some();
    let old = match new {
        Some(new) => map.insert(name, new),
        None => map.remove(&name),
    };
    (old.is_some(), exists)
}

fn object_change(kind: Kind, name: &ObjectName, existed: bool, exists: bool) -> Option<What> {
    let change = match (existed, exists) {
        (false, true) => api::Change::Created,
        (true, true) => api::Change::Updated,
        (true, false) => api::Change::Deleted,
        (false, false) => return None,
    };
    Some(What::Object { kind, name: name.to_string(), change })
}

fn workflow_changes(name: &ObjectName, old: Option<&Workflow>, new: Option<&Workflow>) -> Vec<What> {
    let mut found = Vec::new();
    if old.is_none() != new.is_none() {
        let kind = old.or(new).map_or(Kind::Workflow, v1alpha2::kind_of);
        found.extend(object_change(kind, name, old.is_some(), new.is_some()));
    }
    let Some(new) = new else { return found };
    let before: HashMap<&str, _> = old
        .iter()
        .flat_map(|old| &old.status.tasks)
        .flat_map(|task| &task.actions)
        .map(|action| (action.id.as_str(), action))
        .collect();
    for task in &new.status.tasks {
        for action in &task.actions {
            let news = |old: &&model::WorkflowAction| {
                old.state != action.state || (old.attempts != action.attempts && action.attempts > 1)
            };
            if before.get(action.id.as_str()).is_some_and(news) {
                found.push(What::Action {
                    workflow: name.to_string(),
                    task: task.name.clone(),
                    action: action.name.clone(),
                    agent: task.agent_id.clone(),
                    state: action.state,
                    attempts: action.attempts,
                    duration: action.execution_duration.clone(),
                    message: action.message.clone(),
                });
            }
        }
    }
    let status = &new.status;
    if old.is_none_or(|old| (old.status.state, &old.status.message) != (status.state, &status.message)) {
        found.push(What::Workflow { workflow: name.to_string(), state: status.state, message: status.message.clone() });
    }
    let paused = |workflow: &Workflow| workflow.status.paused.as_ref().map(|paused| format!("paused by {}", paused.by));
    let (before, now) = (old.and_then(paused), paused(new));
    if before != now {
        let message = now.unwrap_or_else(|| "resumed".to_owned());
        found.push(What::Workflow { workflow: name.to_string(), state: status.state, message });
    }
    found
}

#[cfg(test)]
mod tests;
