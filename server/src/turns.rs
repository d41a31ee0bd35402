//! Which machine an agent's work is ordered for, and which workflows stand in the way of another one. Pure.

use api::MachineState;
use model::{AgentId, Kind, ObjectName, Workflow, WorkflowState};

use crate::intent;
use crate::progress::{Idle, keeps_turn, order_has_begun};
use crate::view::{Stored, View, agents, key, machine_key};

/// Where a workflow is ordered for an agent.
#[derive(Debug, Clone)]
pub enum Place {
    /// The agent is on a host that is not provisioned here: it has no intent.
    Free,
    Machine(ObjectName, Stored<MachineState>),
}

/// Where the agent may be given an action of the workflow; `None` if no machine takes it now. An agent that has lost its
/// Hardware is bound by what was decided for that machine, except for a workflow that was written since.
#[must_use]
pub fn place(view: &View, agent: &AgentId, workflow: &Workflow) -> Option<Place> {
    let name = workflow.name();
    let takes = |machine: ObjectName| {
        let stored = view.machines.get(&machine).filter(|stored| intent::takes(&stored.object, &name.to_string()))?;
        Some(Place::Machine(machine, stored.clone()))
    };
    if let Some(hardware) = view.machine_of(agent) {
        return takes(hardware.object.name());
    }
    if let Some(former) = view.former_machine(agent) {
        let decided = view.machines.get(former).map_or(0, |stored| stored.modified);
        let is_newer = view.workflows.get(&name).is_some_and(|stored| stored.created > decided);
        let bound = takes(former.clone());
        if bound.is_some() || !is_newer {
            return bound;
        }
    }
    // Its order for the machine that it names has to stand.
    let stands = workflow.status.ordered.is_none() || view.ordered_on(&name).into_iter().any(|machine| takes(machine).is_some());
    stands.then_some(Place::Free)
}

/// A workflow begins only when no other one is in the middle of its work on any of its machines. So two workflows that need
/// each other's machines never wait for each other.
///
/// # Errors
/// Why the agent gets nothing of it.
pub fn may_run(view: &View, agent: &AgentId, workflow: &Workflow) -> Result<Place, Idle> {
    let place = place(view, agent, workflow).ok_or(Idle::NotOrdered)?;
    if order_has_begun(workflow) {
        return Ok(place);
    }
    if in_the_way(view, agent, workflow).is_some() { Err(Idle::Queued) } else { Ok(place) }
}

/// What must stay as it is while a workflow of several agents begins: their machines, and their other workflows. Otherwise two
/// servers could begin two workflows at once that need each other's machines.
#[must_use]
pub fn rivals(view: &View, agent: &AgentId, workflow: &Workflow) -> Vec<(String, u64)> {
    let name = workflow.name();
    let mut found = Vec::new();
    for other in agents(workflow).iter().filter(|other| *other != agent) {
        let machine = view.machine_of(other).and_then(|hardware| {
            let name = hardware.object.name();
            Some((machine_key(&name), view.machines.get(&name)?.modified))
        });
        let is_open = |one: &&Stored<Workflow>| !one.object.status.state.is_some_and(WorkflowState::is_final);
        let others = view.workflows_of(other).filter(is_open).filter(|one| one.object.name() != name);
        found.extend(machine);
        found.extend(others.map(|one| (key(Kind::Workflow, &one.object.name()), one.modified)));
    }
    found
}

/// The workflow that is in the middle of its work on another machine that this one needs.
#[must_use]
pub fn in_the_way(view: &View, agent: &AgentId, workflow: &Workflow) -> Option<ObjectName> {
    let name = workflow.name();
    agents(workflow).iter().filter(|other| *other != agent).find_map(|other| {
        let mut others = view.workflows_of(other).map(|stored| &stored.object).filter(|one| one.name() != name);
        others.find(|one| keeps_turn(one, other) && self::place(view, other, one).is_some()).map(|one| one.name())
    })
}
