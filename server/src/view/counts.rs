//! How many workflows and machines there are of each state, kept with each change. So a scrape of the metrics visits no object that
//! has ended.

use std::collections::HashMap;

use api::Intent;
use imbl::OrdSet;
use model::{ObjectName, Workflow, WorkflowState};

#[derive(Debug, Default, Clone)]
pub struct Counts {
    workflows: HashMap<Option<WorkflowState>, u64>,
    /// Workflows that have not ended.
    unfinished: OrdSet<ObjectName>,
    machines: HashMap<Intent, u64>,
}

fn change<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u64>, key: K, present: bool) {
    let count = counts.entry(key).or_default();
    *count = if present { *count + 1 } else { count.saturating_sub(1) };
}

impl Counts {
    pub(super) fn workflow(&mut self, name: &ObjectName, workflow: &Workflow, present: bool) {
        let state = workflow.status.state;
        change(&mut self.workflows, state, present);
        if present && !state.is_some_and(WorkflowState::is_final) {
            self.unfinished.insert(name.clone());
        } else {
            self.unfinished.remove(name);
        }
    }

    pub(super) fn machine(&mut self, intent: Intent, present: bool) {
        change(&mut self.machines, intent, present);
    }

    pub fn workflows(&self) -> impl Iterator<Item = (Option<WorkflowState>, u64)> {
        self.workflows.iter().map(|(state, count)| (*state, *count))
    }

    pub fn unfinished(&self) -> impl Iterator<Item = &ObjectName> {
        self.unfinished.iter()
    }

    /// Hardware whose machine has this intent.
    #[must_use]
    pub fn machines(&self, intent: Intent) -> u64 {
        self.machines.get(&intent).copied().unwrap_or(0)
    }
}
