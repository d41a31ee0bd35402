//! The queue of each machine: its unfinished orders in the order in which they run, and why each one waits.

use api::{MachineState, Queued, Waiting};
use jiff::Timestamp;
use model::{AgentId, ObjectName, Workflow, WorkflowState};

use crate::intent;
use crate::progress::{Around, order_has_begun, turn, turn_agent, waits};
use crate::service::Server;
use crate::turns::in_the_way;
use crate::view::View;

/// A machine's unfinished orders. The running one is first, then those that have begun, then the oldest.
fn queue<'v>(view: &'v View, state: &MachineState) -> Vec<&'v Workflow> {
    let orders = state.orders.iter().filter_map(|order| view.workflow(order));
    let mut open: Vec<&Workflow> = orders.filter(|one| !one.status.state.is_some_and(WorkflowState::is_final)).collect();
    open.sort_by_key(|workflow| turn(workflow));
    open
}

impl Server {
    /// What the workflow waits for now, or `None` if it does not exist or has ended.
    #[must_use]
    pub fn waiting(&self, name: &ObjectName, now: Timestamp) -> Option<Waiting> {
        let view = self.view();
        let stored = view.workflows.get(name)?;
        self.waiting_in(&view, &stored.object, now)
    }

    pub(crate) fn queue_of(&self, view: &View, hardware: &ObjectName, now: Timestamp) -> Vec<Queued> {
        let Some(state) = view.machines.get(hardware) else { return Vec::new() };
        let queued = |workflow: &Workflow| Queued {
            workflow: workflow.name().to_string(),
            state: workflow.status.state,
            waiting: self.waiting_in(view, workflow, now),
        };
        queue(view, &state.object).into_iter().map(queued).collect()
    }

    pub(crate) fn waiting_in(&self, view: &View, workflow: &Workflow, now: Timestamp) -> Option<Waiting> {
        let agent = turn_agent(workflow);
        let hardware = agent.and_then(|agent| view.machine_of(agent)).map(|stored| &stored.object);
        let since = hardware.and_then(|hardware| hardware.metadata.creation_timestamp).unwrap_or(now);
        let (unordered, bound) = (intent::unordered(since), view.ordered_on(&workflow.name()));
        let machine = match hardware {
            Some(hardware) => Some(hardware.name()),
            None => bound.into_iter().next(),
        };
        let state = machine.as_ref().map(|name| (name, view.machines.get(name).map_or(&unordered, |stored| &stored.object)));
        let first = state.and_then(|(_, state)| queue(view, state).first().map(|first| first.name()));
        let begun = order_has_begun(workflow);
        let elsewhere = || agent.filter(|_| !begun).and_then(|agent| in_the_way(view, agent, workflow));
        let ahead = first.filter(|first| *first != workflow.name()).or_else(elsewhere);
        let around = Around { machine: state, heard: agent.and_then(|agent| self.heard(agent)), ahead: ahead.as_ref() };
        waits(workflow, around, now)
    }

    fn heard(&self, agent: &AgentId) -> Option<Timestamp> {
        self.0.agents.last_call(agent).map(|(_, at)| at)
    }
}
