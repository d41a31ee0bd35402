//! What the server has acknowledged, and whether it kept its word: an acknowledged success is never handed out again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::simulated::{Job, Progress};
use crate::site;

/// A report that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acknowledged {
    /// `namespace/name`.
    pub workflow: String,
    pub action: String,
    pub success: bool,
}

/// Of all machines. Machines with the same MAC share a workflow.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The successful actions of each workflow, with the number of the call after which they were acknowledged.
    done: HashMap<String, HashMap<String, (u64, String)>>,
    running: HashMap<String, Vec<String>>,
    calls: u64,
    /// Actions that were handed out after their acknowledged success.
    pub repeated: Vec<String>,
}

impl Ledger {
    /// The number of a question that leaves now.
    pub fn question(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub fn acknowledge(&mut self, job: &Job, progress: Progress) {
        self.calls += 1;
        match progress {
            Progress::Success => {
                let actions = self.done.entry(job.workflow.clone()).or_default();
                actions.entry(job.action.clone()).or_insert((self.calls, job.name.clone()));
            }
            Progress::Running => {
                let actions = self.running.entry(job.workflow.clone()).or_default();
                if !actions.contains(&job.action) {
                    actions.push(job.action.clone());
                }
            }
        }
    }

    /// The answer to a question. One that was asked before the acknowledgement may still have the action.
    pub fn hand_out(&mut self, job: &Job, question: u64) {
        let acknowledged = self.done.get(&job.workflow).and_then(|actions| actions.get(&job.action));
        if acknowledged.is_some_and(|(call, _)| *call < question) {
            self.repeated.push(format!("{} of {}", job.name, job.workflow));
        }
    }

    /// Whether the last action of the workflow has succeeded.
    #[must_use]
    pub fn is_over(&self, workflow: &str) -> bool {
        let last = site::ACTIONS.last().copied().unwrap_or_default();
        self.done.get(workflow).is_some_and(|actions| actions.values().any(|(_, name)| name == last))
    }

    /// All acknowledged reports in order.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        let of = |workflow: &String, action: &String, success| Acknowledged {
            workflow: workflow.clone(),
            action: action.clone(),
            success,
        };
        let done = self.done.iter().flat_map(|(workflow, actions)| actions.keys().map(move |action| of(workflow, action, true)));
        let running =
            self.running.iter().flat_map(|(workflow, actions)| actions.iter().map(move |action| of(workflow, action, false)));
        let mut all: Vec<_> = done.chain(running).collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        Job { workflow: "default/w".to_owned(), action: format!("id-{name}"), name: name.to_owned(), ..Job::default() }
    }

    #[test]
    fn an_action_is_repeated_if_it_was_asked_for_after_its_success() {
        let mut ledger = Ledger::default();
        let early = ledger.question();
        ledger.acknowledge(&job("stream"), Progress::Running);
        ledger.hand_out(&job("stream"), early);
        ledger.acknowledge(&job("stream"), Progress::Success);
        ledger.hand_out(&job("stream"), early);
        assert_eq!(ledger.repeated, [""; 0], "asked before");
        let late = ledger.question();
        ledger.hand_out(&job("configure"), late);
        assert_eq!(ledger.repeated, [""; 0]);
        ledger.hand_out(&job("stream"), late);
        assert_eq!(ledger.repeated, ["stream of default/w"]);
    }

    #[test]
    fn a_workflow_is_over_with_its_last_action() {
        let mut ledger = Ledger::default();
        ledger.acknowledge(&job("stream"), Progress::Success);
        ledger.acknowledge(&job("finish"), Progress::Running);
        assert!(!ledger.is_over("default/w"));
        ledger.acknowledge(&job("finish"), Progress::Success);
        assert!(ledger.is_over("default/w") && !ledger.is_over("default/other"));
        assert_eq!(ledger.acknowledged().iter().filter(|one| one.success).count(), 2);
        assert_eq!(ledger.acknowledged().len(), 3);
    }
}
