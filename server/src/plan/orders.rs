//! Which machines a change of workflows orders to be installed, and which get back their earlier intent.

use std::collections::BTreeSet;

use api::{Intent, MachineState};
use model::{AgentId, Hardware, Mac, ObjectName, Workflow, WorkflowState};

use super::{Kind, Person, Planner, encode, mistake};
use crate::boot::{is_open, may_not_netboot};
use crate::intent;
use crate::progress::order_has_begun;
use crate::v1alpha2::{kind_of, runs};
use crate::view::{agents, agents_of, machine_key};

impl Planner<'_> {
    /// The agents of the Hardware in this change.
    pub(super) fn index_agents(&mut self) {
        for (name, hardware) in &self.hardware {
            let ids = hardware.spec.agent_id.iter().cloned().map(AgentId);
            let macs = hardware.spec.macs().map(|mac| AgentId(mac.to_string()));
            self.agents.extend(ids.chain(macs).map(|agent| (agent, name.clone())));
        }
    }

    pub(super) fn hardware_as_it_will_be(&self, name: &ObjectName) -> Option<&Hardware> {
        if self.is_removed(Kind::Hardware, name) {
            return None;
        }
        self.hardware.get(name).or_else(|| Some(&*self.view.hardware.get(name)?.object))
    }

    /// The machine of an agent.
    fn machine_of(&self, agent: &AgentId) -> Option<ObjectName> {
        let canonical = agent.0.parse::<Mac>().map_or_else(|_| agent.clone(), |mac| AgentId(mac.to_string()));
        if let Some(name) = self.agents.get(agent).or_else(|| self.agents.get(&canonical)) {
            return Some(name.clone());
        }
        // The change may have moved the agent away from its Hardware in the view.
        let stored = self.view.machine_of(agent).map(|stored| stored.object.name());
        stored.filter(|name| !self.hardware.contains_key(name) && self.hardware_as_it_will_be(name).is_some())
    }

    /// The machines of a workflow: the Hardware that it names, and the machines of its agents.
    fn machines_of(&self, workflow: &Workflow) -> BTreeSet<ObjectName> {
        let named = ObjectName::new(&workflow.metadata.namespace, &workflow.spec.hardware_ref);
        let of_tasks = if runs(workflow) { self.hardware_of_tasks(&workflow.name()) } else { Vec::new() };
        let named = Some(named).into_iter().chain(of_tasks.into_iter().flatten());
        let named = named.filter(|name| self.hardware_as_it_will_be(name).is_some());
        named.chain(agents(workflow).iter().filter_map(|agent| self.machine_of(agent))).collect()
    }

    pub(super) fn machine(&mut self, name: &ObjectName) -> &mut MachineState {
        let stored = self.view.machines.get(name);
        let now = self.now;
        self.machines
            .entry(name.clone())
            .or_insert_with(|| stored.map_or_else(|| intent::unordered(now), |stored| MachineState::clone(&stored.object)))
    }

    /// Orders or withdraws what the change of one workflow means for its machines. `asked` means that an operator has just
    /// written this workflow. Returns a note for the operator.
    pub(super) fn settle(&mut self, old: Option<&Workflow>, new: &mut Workflow, asked: bool) -> Option<String> {
        let name = new.name();
        let was_open = old.is_some_and(is_open);
        let ordered_on = self.view.ordered_on(&name);
        let mut before = old.filter(|old| is_open(old)).map(|old| self.view.machines_of(old)).unwrap_or_default();
        before.extend(ordered_on.iter().cloned());
        let open = is_open(new);
        let after = if open { self.machines_of(new) } else { BTreeSet::new() };
        for machine in before.difference(&after).filter(|machine| self.view.machines.contains_key(*machine)) {
            intent::withdrawn(self.machine(machine), &name.to_string(), old.is_some_and(order_has_begun));
        }
        if !open {
            return None;
        }
        let first = new.status.ordered.is_none() || (asked && !was_open);
        if !first && !was_open {
            let lost = "it is ready again, but its order has ended; `thimble machine reinstall` orders it anew";
            lost.clone_into(&mut new.status.message);
            return Some(lost.to_owned());
        }
        let joins = |machine: &&ObjectName| match (first, asked) {
            (true, true) => true,
            (true, false) => !self.was_sent_elsewhere_since(machine, &name),
            // A machine that the store has seen is not ordered because something else changed, nor is any by a dead order.
            (false, _) => {
                let new_here = asked || (!ordered_on.is_empty() && !self.view.machines.contains_key(*machine));
                !before.contains(*machine) && new_here
            }
        };
        let ordered: Vec<ObjectName> = after.iter().filter(joins).cloned().collect();
        if let Some(reason) = self.unable(&ordered) {
            if asked {
                let hint = "set netboot.allowPXE: true, or bootOptions.toggleAllowNetboot: true in the Workflow";
                self.refused.push(mistake(Kind::Workflow, &name, format!("cannot be ordered: {reason}"), Some(hint)));
            }
            new.status.message = format!("not ordered: {reason}");
            return Some(new.status.message.clone());
        }
        let mut problem = self.unknown_agents(new);
        for machine in &after {
            let of_this = if ordered.contains(machine) { self.give(&name, machine) } else { self.left_out(&name, machine) };
            problem = of_this.or(problem);
        }
        if !ordered.is_empty() {
            new.status.ordered = Some(self.now);
        }
        new.status.message = problem.clone().unwrap_or_default();
        problem.or_else(|| boot_mode_warning(new))
    }

    /// A person has sent the machine to its disk or into a rescue after this workflow was written.
    fn was_sent_elsewhere_since(&self, machine: &ObjectName, workflow: &ObjectName) -> bool {
        let (Some(state), Some(written)) = (self.view.machines.get(machine), self.view.workflows.get(workflow)) else {
            return false;
        };
        let decision = &state.object.decision;
        matches!(decision.intent, Intent::Local | Intent::Rescue)
            && decision.by != intent::BY_SUCCESS
            && state.modified > written.created
    }

    /// Why the workflow does not run on one of its machines.
    fn left_out(&self, workflow: &ObjectName, machine: &ObjectName) -> Option<String> {
        let state = self.machines.get(machine).or_else(|| Some(&*self.view.machines.get(machine)?.object));
        if state.is_some_and(|state| state.orders.iter().any(|order| *order == workflow.to_string())) {
            return None;
        }
        let intent = state.map_or(Intent::Inventory, |state| state.decision.intent);
        Some(format!(
            "it is not ordered for Hardware {machine}, whose intent is {intent}; `thimble machine reinstall {machine}` orders it"
        ))
    }

    /// Why a machine cannot be installed whatever its intent is.
    fn unable(&self, machines: &[ObjectName]) -> Option<String> {
        machines.iter().filter_map(|name| self.hardware_as_it_will_be(name)).find_map(|hardware| may_not_netboot(hardware, None))
    }

    fn give(&mut self, workflow: &ObjectName, machine: &ObjectName) -> Option<String> {
        let (rules, now) = (self.rules, self.now);
        let state = self.machine(machine);
        match &rules.person {
            None => intent::order(state, &workflow.to_string(), rules.hold_new, now),
            Some(Person { by, reason }) => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                intent::ordered_by(state, &workflow.to_string(), by, format!("workflow {workflow} was ordered{why}"), now);
            }
        }
        let (held, reason) = (state.decision.intent == Intent::Hold, state.decision.reason.clone());
        if held {
            return Some(format!("Hardware {machine} is held: {reason}; `thimble machine approve {machine}` goes on"));
        }
        self.plan.installs.insert(machine.clone());
        None
    }

    /// Workers of a workflow that will not ask for it. boots does not answer a MAC without Hardware. And the Hardware that
    /// the workflow names waits for ever if it runs none of the agents.
    fn unknown_agents(&self, workflow: &Workflow) -> Option<String> {
        let (agents, reference) = (agents(workflow), &workflow.spec.hardware_ref);
        let owners: Vec<Option<ObjectName>> = agents.iter().map(|agent| self.machine_of(agent)).collect();
        let named = ObjectName::new(&workflow.metadata.namespace, reference);
        let waits = !reference.is_empty() && !owners.contains(&Some(named));
        let waiting = if waits { format!("; Hardware {reference} waits for it") } else { String::new() };
        let unknown = agents.iter().zip(&owners).find(|(agent, owner)| owner.is_none() && agent.0.parse::<Mac>().is_ok());
        if let Some((agent, _)) = unknown {
            return Some(format!("no Hardware has the interface {agent} of its worker, so that machine does not boot{waiting}"));
        }
        if let Some(agent) = agents.first().filter(|_| waits) {
            return Some(format!("its worker {agent} is not an agent of Hardware {reference}, which waits in the ramdisk"));
        }
        let tasks = workflow.status.tasks.iter().zip(self.hardware_of_tasks(&workflow.name()));
        let stranger = |agent: &AgentId, hardware: &ObjectName| self.machine_of(agent).as_ref() != Some(hardware);
        let (task, hardware) = tasks
            .into_iter()
            .find_map(|(task, hardware)| Some((task, hardware.filter(|hardware| stranger(&task.agent_id, hardware))?)))?;
        let agent = &task.agent_id;
        Some(format!("the agent {agent} of its task {} is not one of Hardware {hardware}, which waits in the ramdisk", task.name))
    }

    /// A workflow that was imported after its end: its effect on the machine is over, so it is not an order.
    pub(super) fn imported(&mut self, workflow: &Workflow) -> Option<String> {
        let now = self.now;
        let state = workflow.status.state?;
        let machines = if state == WorkflowState::Success { self.machines_of(workflow) } else { BTreeSet::new() };
        for machine in machines {
            let state = self.machine(&machine);
            if state.decision.intent == Intent::Inventory {
                intent::succeeded(state, &workflow.name().to_string(), |_| false, |_| false, now);
            } else {
                state.finished = true;
            }
        }
        Some(format!("it was imported as {state} and does not run; `thimble machine reinstall` runs it once more"))
    }

    /// What was decided for a machine binds its agents also when its Hardware no longer has them.
    fn remember_former(&mut self) {
        let view = self.view;
        for agent in self.agents.keys().cloned().collect::<Vec<_>>() {
            if let Some(machine) = view.former_machine(&agent).cloned() {
                self.machine(&machine).former.retain(|other| *other != agent);
            }
        }
        for name in self.hardware.keys().cloned().collect::<Vec<_>>() {
            let Some(old) = view.hardware.get(&name) else { continue };
            let gone: Vec<AgentId> =
                agents_of(&old.object).into_iter().filter(|agent| !self.agents.contains_key(agent)).collect();
            self.bind(&name, gone);
        }
    }

    /// The machine has these agents no more.
    pub(super) fn bind(&mut self, name: &ObjectName, gone: Vec<AgentId>) {
        if !gone.is_empty() && self.view.machines.contains_key(name) {
            let former = &mut self.machine(name).former;
            former.extend(gone);
            former.sort();
            former.dedup();
        }
    }

    /// Stored workflows whose agent runs on another Hardware now, or on none.
    pub(super) fn newcomers(&mut self, named: &BTreeSet<ObjectName>) {
        let view = self.view;
        let now =
            self.agents.iter().filter(|(agent, name)| view.machine_of(agent).is_none_or(|stored| stored.object.name() != **name));
        let before = self.hardware.keys().filter_map(|name| view.hardware.get(name)).flat_map(|stored| agents_of(&stored.object));
        let gone = before.filter(|agent| !self.agents.contains_key(agent));
        let new: Vec<AgentId> = now.map(|(agent, _)| agent.clone()).chain(gone).collect();
        self.remember_former();
        let waiting: BTreeSet<ObjectName> = new
            .iter()
            .flat_map(|agent| view.workflows_of(agent))
            .filter(|stored| is_open(&stored.object))
            .map(|stored| stored.object.name())
            .filter(|name| {
                !named.contains(name)
                    && !self.plan.transaction.writes.iter().any(|write| write.key() == super::key(Kind::Workflow, name))
            })
            .collect();
        for name in waiting {
            let Some(stored) = view.workflows.get(&name) else { continue };
            let mut next = Workflow::clone(&stored.object);
            let problem = self.settle(Some(&stored.object), &mut next, false);
            if next != *stored.object {
                self.put_workflow(Some(&stored.object), next, stored.modified);
                self.say(kind_of(&stored.object), &name, super::Change::Updated, problem);
            }
        }
    }

    pub(super) fn write_machines(&mut self) {
        for (name, state) in std::mem::take(&mut self.machines) {
            let stored = self.view.machines.get(&name);
            if stored.is_some_and(|stored| *stored.object == state) {
                continue;
            }
            match encode(&state) {
                Ok(value) => {
                    let expected = stored.map_or(0, |stored| stored.modified);
                    let transaction = std::mem::take(&mut self.plan.transaction);
                    self.plan.transaction = transaction.put(machine_key(&name), expected, value);
                }
                Err(error) => self.refused.push(mistake(Kind::Hardware, &name, error, None)),
            }
        }
    }
}

fn boot_mode_warning(workflow: &Workflow) -> Option<String> {
    let mode = workflow.spec.boot_options.as_ref()?.boot_mode.as_deref()?;
    Some(format!("bootMode {mode} cannot control a BMC yet; start the machine by hand"))
}
