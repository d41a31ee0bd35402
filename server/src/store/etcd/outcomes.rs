//! What became of this process's transactions, as the watch shows it. A transaction whose answer was lost is looked up here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The watch has not shown it.
    Unseen,
    /// It happened, with this revision of its last write.
    Happened(u64),
    /// The watch has a gap since it was sent.
    Missed,
}

#[derive(Debug, Default)]
pub struct Outcomes(Mutex<HashMap<u64, Outcome>>);

impl Outcomes {
    /// A transaction is about to be sent.
    pub fn expect(&self, id: u64) -> Expected<'_> {
        self.change(|outcomes| outcomes.insert(id, Outcome::Unseen));
        Expected { outcomes: self, id }
    }

    pub fn happened(&self, id: u64, revision: u64) {
        self.change(|outcomes| {
            if let Some(outcome) = outcomes.get_mut(&id) {
                *outcome = Outcome::Happened(revision);
            }
        });
    }

    pub fn missed(&self) {
        self.change(|outcomes| {
            outcomes.values_mut().filter(|outcome| **outcome == Outcome::Unseen).for_each(|outcome| *outcome = Outcome::Missed);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<u64, Outcome>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A transaction whose outcome is kept until this is dropped.
pub struct Expected<'o> {
    outcomes: &'o Outcomes,
    id: u64,
}

impl Expected<'_> {
    pub fn outcome(&self) -> Outcome {
        self.outcomes.change(|outcomes| outcomes.get(&self.id).copied().unwrap_or(Outcome::Missed))
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.outcomes.change(|outcomes| outcomes.remove(&self.id));
    }
}
