//! When each Workflow with a running action must be looked at next, so that a tick costs only what is due. Pure.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use model::ObjectName;

/// The time of what has changed and must be looked at with the next tick.
const NOW: Timestamp = Timestamp::MIN;

#[derive(Debug, Default)]
pub struct Due {
    order: BTreeSet<(Timestamp, ObjectName)>,
    at: HashMap<ObjectName, Timestamp>,
}

impl Due {
    /// All of these have to be looked at, and no others.
    pub fn of(names: impl IntoIterator<Item = ObjectName>) -> Self {
        let mut due = Self::default();
        names.into_iter().for_each(|name| due.changed(&name));
        due
    }

    /// The Workflow, or what is known of its agent, has changed.
    pub fn changed(&mut self, name: &ObjectName) {
        self.remove(name);
        self.insert(name, NOW);
    }

    /// It has no running action any more.
    pub fn remove(&mut self, name: &ObjectName) {
        if let Some(at) = self.at.remove(name) {
            self.order.remove(&(at, name.clone()));
        }
    }

    /// Takes those whose time has come. The caller looks at each.
    pub fn take(&mut self, now: Timestamp) -> Vec<ObjectName> {
        let mut found = Vec::new();
        while let Some((_, name)) = self.order.first().filter(|(at, _)| *at <= now).cloned() {
            self.remove(&name);
            found.push(name);
        }
        found
    }

    /// A look has found that nothing is to do before this time, unless something changes. What has changed since it was taken
    /// stays due.
    pub fn later(&mut self, name: &ObjectName, at: Timestamp) {
        if !self.at.contains_key(name) {
            self.insert(name, at);
        }
    }

    fn insert(&mut self, name: &ObjectName, at: Timestamp) {
        self.order.insert((at, name.clone()));
        self.at.insert(name.clone(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_name_is_taken_once_when_its_time_has_come_or_when_it_has_changed() {
        let [a, b, c] = ["a", "b", "c"].map(|name| ObjectName::new("default", name));
        let mut due = Due::of([a.clone(), b.clone(), c.clone()]);
        assert_eq!(due.take(at(0)), [a.clone(), b.clone(), c.clone()], "nothing is known of them yet");
        assert!(due.take(at(1_000)).is_empty());
        due.later(&a, at(20));
        due.later(&b, at(10));
        assert!(due.take(at(9)).is_empty());
        assert_eq!(due.take(at(20)), [b.clone(), a.clone()], "in the order of time");
        due.changed(&a);
        due.later(&a, at(500));
        assert_eq!(due.take(at(21)), vec![a.clone()], "a change during a look is not lost");
        due.later(&a, at(30));
        due.changed(&a);
        due.remove(&a);
        assert!(due.take(at(1_000)).is_empty() && due.order.is_empty() && due.at.is_empty());
        due.later(&c, at(40));
        due.changed(&c);
        assert_eq!((due.take(at(22)), due.take(at(1_000))), (vec![c], Vec::new()), "it is there once");
    }
}
