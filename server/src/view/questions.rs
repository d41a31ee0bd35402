//! What is asked of the view.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use model::{AgentId, Hardware, Kind, Mac, ObjectName, Workflow};

use super::{Stored, View, agents, agents_of};
use crate::v1alpha2;

impl View {
    /// Workflows that concern this agent, oldest first.
    pub fn workflows_of(&self, agent: &AgentId) -> impl Iterator<Item = &Stored<Workflow>> {
        self.by_agent.of(agent).filter_map(|name| self.workflows.get(name))
    }

    /// Workflows that concern this machine, by reference or by agent, newest first.
    #[must_use]
    pub fn workflows_for(&self, hardware: &Hardware) -> Vec<&Stored<Workflow>> {
        let mut found: BTreeSet<(u64, &ObjectName)> = self.by_hardware.entries(&hardware.name()).collect();
        for agent in agents_of(hardware) {
            found.extend(self.by_agent.entries(&agent));
        }
        found.into_iter().rev().filter_map(|(_, name)| self.workflows.get(name)).collect()
    }

    #[must_use]
    pub fn by_mac(&self, mac: Mac) -> Option<&Stored<Hardware>> {
        self.owner(self.by_mac.of(&mac))
    }

    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&Stored<Hardware>> {
        self.owner(self.by_address.of(&address))
    }

    /// All Hardware with this MAC, the owner first. Only a store of an earlier version can have more than one.
    pub fn macs_owners(&self, mac: Mac) -> impl Iterator<Item = &ObjectName> {
        self.by_mac.of(&mac)
    }

    pub fn address_owners(&self, address: IpAddr) -> impl Iterator<Item = &ObjectName> {
        self.by_address.of(&address)
    }

    fn owner<'v>(&'v self, mut owners: impl Iterator<Item = &'v ObjectName>) -> Option<&'v Stored<Hardware>> {
        self.hardware.get(owners.next()?)
    }

    /// The machine that this agent runs on.
    #[must_use]
    pub fn machine_of(&self, agent: &AgentId) -> Option<&Stored<Hardware>> {
        let by_id = self.owner(self.by_agent_id.of(agent));
        by_id.or_else(|| self.by_mac(agent.0.parse().ok()?))
    }

    /// The machines of a workflow: the Hardware that it names, and the machines of its agents.
    #[must_use]
    pub fn machines_of(&self, workflow: &Workflow) -> BTreeSet<ObjectName> {
        let named = ObjectName::new(&workflow.metadata.namespace, &workflow.spec.hardware_ref);
        let named = Some(named).filter(|name| self.hardware.contains_key(name));
        let agents = agents(workflow);
        let of_agents = agents.iter().filter_map(|agent| self.machine_of(agent)).map(|stored| stored.object.name());
        let written = self.v1alpha2.workflows.get(&workflow.name()).filter(|_| v1alpha2::runs(workflow));
        let of_tasks = written.map(|written| v1alpha2::hardware_of(&written.object)).unwrap_or_default();
        let of_tasks = of_tasks.into_iter().filter(|name| self.hardware.contains_key(name));
        named.into_iter().chain(of_agents).chain(of_tasks).collect()
    }

    /// The machines for which it is ordered.
    #[must_use]
    pub fn ordered_on(&self, workflow: &ObjectName) -> BTreeSet<ObjectName> {
        self.by_order.of(workflow).cloned().collect()
    }

    /// The machine on which an agent without Hardware ran before.
    #[must_use]
    pub fn former_machine(&self, agent: &AgentId) -> Option<&ObjectName> {
        self.by_former.of(agent).next()
    }

    /// Workflows that name this object, or show what it says in their templates. A Policy may concern every reference.
    #[must_use]
    pub fn dependents(&self, kind: Kind, name: &ObjectName) -> BTreeSet<ObjectName> {
        let mut found: BTreeSet<ObjectName> = self.users(kind, name).map(|stored| stored.object.name()).collect();
        let hardware: BTreeSet<&ObjectName> = match kind {
            Kind::Policy => self.by_reference.names().collect(),
            _ => self.by_reference.of(name).collect(),
        };
        let (tasks, workflows) = self.v1alpha2.referring((kind != Kind::Policy).then_some(name));
        let of_hardware = hardware.into_iter().flat_map(|name| self.users(Kind::Hardware, name));
        let of_tasks = tasks.into_iter().flat_map(|name| self.users(Kind::Task, name));
        found.extend(of_hardware.chain(of_tasks).map(|stored| stored.object.name()));
        found.extend(workflows.into_iter().filter(|name| self.workflows.contains_key(*name)).cloned());
        found
    }

    /// All Hardware on which this agent runs, by its id or by a MAC. More than one comes from a store of an earlier version only.
    pub fn agent_owners(&self, agent: &AgentId) -> impl Iterator<Item = &ObjectName> {
        let mac: Option<Mac> = agent.0.parse().ok();
        self.by_agent_id.of(agent).chain(mac.into_iter().flat_map(|mac| self.by_mac.of(&mac)))
    }

    /// A workflow by `namespace/name`.
    #[must_use]
    pub fn workflow(&self, name: &str) -> Option<&Workflow> {
        let (namespace, name) = name.split_once('/')?;
        self.workflows.get(&ObjectName::new(namespace, name)).map(|stored| &*stored.object)
    }

    /// The workflows that name this Hardware, Template or Task. The oldest comes first in each version.
    pub fn users(&self, kind: Kind, name: &ObjectName) -> impl Iterator<Item = &Stored<Workflow>> {
        let users = match kind {
            Kind::Hardware => Some(self.by_hardware.of(name)),
            Kind::Template => Some(self.by_template.of(name)),
            _ => None,
        };
        let users = users.into_iter().flatten().chain(self.v1alpha2.users(kind, name));
        users.filter_map(|name| self.workflows.get(name))
    }

    /// Workflows with a deadline.
    #[must_use]
    pub fn with_deadlines(&self) -> BTreeSet<ObjectName> {
        self.expiring.iter().map(|(_, name)| name).chain(&self.running).cloned().collect()
    }

    /// Whether an action of this workflow runs.
    #[must_use]
    pub fn is_running(&self, name: &ObjectName) -> bool {
        self.running.contains(name)
    }

    /// Workflows with a running action.
    pub fn running(&self) -> impl Iterator<Item = &Stored<Workflow>> {
        self.running.iter().filter_map(|name| self.workflows.get(name))
    }

    #[must_use]
    pub fn expired(&self, now: Timestamp) -> Vec<ObjectName> {
        self.expiring.iter().take_while(|(stop, _)| *stop <= now).map(|(_, name)| name.clone()).collect()
    }

    #[must_use]
    pub fn knows_agent(&self, agent: &AgentId) -> bool {
        self.by_agent.has(agent) || self.machine_of(agent).is_some()
    }
}
