//! What a storm has measured.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::ledger::Acknowledged;
use crate::milestone::Milestone;

/// Written by `storm machines`, read by the lab.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub machines: u32,
    /// From the first DISCOVER of the first machine to the last acknowledged report of the last one.
    pub seconds: f64,
    pub milestones: Vec<Reached>,
    /// From the request to the arrival of the last byte at the machine's kernel, in milliseconds.
    pub script: Option<Spread>,
    /// From an agent's first call for an action, or with a report, to the one that was answered, in seconds.
    #[serde(default)]
    pub served: Option<Spread>,
    /// From the connection until the simulator had read it. At ten thousand machines most of it is the simulator's own delay.
    pub script_read: Option<Spread>,
    /// How many machines needed so many attempts.
    pub attempts: BTreeMap<u32, u32>,
    pub power_cuts: u32,
    /// Machines whose script started the disk, because their workflow had ended before a power cut.
    pub disks: u32,
    /// Machines that have not ended at the limit, with what they do.
    pub stuck: Vec<String>,
    /// Why attempts failed, and how often.
    pub failures: BTreeMap<String, u32>,
    /// Why downloads failed, and how often, whether they were tried again or not.
    pub hindrances: BTreeMap<String, u32>,
    /// Actions that were handed out after their acknowledged success.
    pub repeated: Vec<String>,
    pub bytes: Bytes,
    /// Processor seconds of the simulator.
    pub cpu_seconds: f64,
    pub acknowledged: Vec<Acknowledged>,
}

/// What the machines have received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    pub tftp: u64,
    pub http: u64,
}

/// The seconds from a machine's first DISCOVER to its milestone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Reached {
    pub milestone: Milestone,
    pub count: usize,
    pub spread: Spread,
    /// Since the first DISCOVER of all machines.
    pub last_of_all: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub p99: f64,
    pub last: f64,
}

impl Spread {
    /// `None` without values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (values.len() as f64 * share).ceil() as usize; // as: between 1 and the count
            values.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { median: at(0.5)?, p99: at(0.99)?, last: *values.last()? })
    }
}

impl Outcome {
    /// The share of the machines whose first attempt was the only one.
    #[must_use]
    pub fn first_attempt(&self) -> f64 {
        let first = self.attempts.get(&1).copied().unwrap_or(0);
        f64::from(first) / f64::from(self.machines.max(1))
    }

    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            format!("{:<28}{:>9}{:>10}{:>10}{:>10}{:>12}\n", "seconds to", "machines", "median", "p99", "last", "last of all");
        for Reached { milestone, count, spread: Spread { median, p99, last }, last_of_all } in &self.milestones {
            let name = milestone.name();
            let _ = writeln!(text, "{name:<28}{count:>9}{median:>10.2}{p99:>10.2}{last:>10.2}{last_of_all:>12.2}");
        }
        for (name, spread) in [("script, milliseconds", self.script), ("until the simulator read it", self.script_read)] {
            if let Some(Spread { median, p99, last }) = spread {
                let _ = writeln!(text, "{name:<28}{:>9}{median:>10.1}{p99:>10.1}{last:>10.1}", "");
            }
        }
        if let Some(Spread { median, p99, last }) = self.served {
            let _ = writeln!(text, "{:<28}{:>9}{median:>10.2}{p99:>10.2}{last:>10.2}", "an agent waits, seconds", "");
        }
        let attempts: Vec<String> = self.attempts.iter().map(|(attempts, machines)| format!("{attempts}: {machines}")).collect();
        let _ = writeln!(
            text,
            "{:<28}{:>9.3} % at the first; by attempts {}",
            "attempts",
            self.first_attempt() * 100.0,
            attempts.join(", ")
        );
        let Bytes { tftp, http } = self.bytes;
        let _ = writeln!(text, "{:<28}{:>9.1} MB by HTTP, {:.1} MB by TFTP", "received", http as f64 / 1e6, tftp as f64 / 1e6);
        for (why, count) in &self.failures {
            let _ = writeln!(text, "failed attempts: {count} times {why}");
        }
        for (why, count) in &self.hindrances {
            let _ = writeln!(text, "failed downloads: {count} times {why}");
        }
        text
    }

    /// What must not happen.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let some = |what: &str, all: &[String]| {
            let shown = all.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
            (!all.is_empty()).then(|| format!("{} {what}: {shown}", all.len()))
        };
        let stuck = some("machines have not come to their end", &self.stuck);
        let repeated = some("actions were handed out after their acknowledged success", &self.repeated);
        stuck.into_iter().chain(repeated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_the_slow_and_the_last() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0]), Some(Spread { median: 3.0, p99: 3.0, last: 3.0 }));
        let values = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(Spread::of(values), Some(Spread { median: 500.0, p99: 990.0, last: 1000.0 }));
    }

    #[test]
    fn a_stuck_machine_and_a_repeated_action_break_the_promise() {
        let mut outcome = Outcome { machines: 4, attempts: [(1, 3), (2, 1)].into(), ..Outcome::default() };
        assert_eq!((outcome.broken(), outcome.first_attempt()), (vec![], 0.75));
        outcome.stuck.push("machine-1 asks for an action".to_owned());
        outcome.repeated.push("stream of default/w".to_owned());
        assert_eq!(outcome.broken().len(), 2);
        assert!(outcome.table().contains("75.000 % at the first; by attempts 1: 3, 2: 1"), "{}", outcome.table());
    }
}
