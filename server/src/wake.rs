//! Held calls, by what they wait for. A change wakes only the calls that it concerns, so the others cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{AgentId, Mac, ObjectName};
use tokio::sync::watch;

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Any change that may give this agent an action or take one away: of its workflows or its machine.
    Agent(AgentId),
    Workflow(ObjectName),
}

impl Subject {
    /// An agent may write its MAC in a different notation from its Hardware.
    #[must_use]
    pub fn agent(id: &AgentId) -> Self {
        Self::Agent(id.0.parse::<Mac>().map_or_else(|_| id.clone(), |mac| AgentId(mac.to_string())))
    }
}

type Senders = HashMap<Subject, watch::Sender<()>>;

#[derive(Debug, Default, Clone)]
pub struct Calls(Arc<Mutex<Senders>>);

impl Calls {
    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After this call, no change of the subject is missed.
    #[must_use]
    pub fn wait_for(&self, subject: Subject) -> Waiting {
        let receiver = self.senders().entry(subject.clone()).or_default().subscribe();
        Waiting { calls: self.clone(), subject, receiver }
    }

    pub fn wake(&self, subjects: impl IntoIterator<Item = Subject>) {
        let senders = self.senders();
        subjects.into_iter().filter_map(|subject| senders.get(&subject)).for_each(|sender| sender.send_replace(()));
    }

    /// Wakes all calls. Use it if the changes are not known.
    pub fn wake_all(&self) {
        self.senders().values().for_each(|sender| sender.send_replace(()));
    }

    /// How many calls are held now, and for how many agents.
    #[must_use]
    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for (subject, sender) in self.senders().iter() {
            let count = sender.receiver_count() as u64;
            match subject {
                Subject::Agent(_) => (held.agents, held.actions) = (held.agents + 1, held.actions + count),
                Subject::Workflow(_) => held.workflows += count,
            }
        }
        held
    }

    #[cfg(test)]
    pub fn subjects(&self) -> usize {
        self.senders().len()
    }
}

/// Calls that wait now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    pub agents: u64,
    /// For an action.
    pub actions: u64,
    /// For the end of a running one.
    pub workflows: u64,
}

/// A waiting call. Dropping it ends the wait.
#[derive(Debug)]
pub struct Waiting {
    calls: Calls,
    subject: Subject,
    receiver: watch::Receiver<()>,
}

impl Waiting {
    /// Later changes wake the call. Look at the state after this call, not before.
    pub fn look(&mut self) {
        self.receiver.borrow_and_update();
    }

    /// Waits until the subject has changed since the last `look`.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await; // unreachable while this exists, because its subject keeps the sender
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut senders = self.calls.senders();
        let last = |sender: &watch::Sender<()>| sender.receiver_count() <= 1; // only this one is left
        if senders.get(&self.subject).is_some_and(last) {
            senders.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn agent(id: &str) -> Subject {
        Subject::agent(&AgentId::from(id))
    }

    #[test]
    fn a_change_wakes_only_the_calls_that_it_concerns() {
        let calls = Calls::default();
        let mut waiting = ["a", "a", "b"].map(|id| calls.wait_for(agent(id)));
        waiting.iter_mut().for_each(Waiting::look);
        calls.wake([agent("a"), agent("nobody")]);
        let mut woken = || waiting.each_mut().map(|call| call.changed().now_or_never().is_some());
        assert_eq!(woken(), [true, true, false]);
        assert_eq!(woken(), [false; 3], "once each");
        calls.wake_all();
        assert_eq!(woken(), [true; 3]);
    }

    #[test]
    fn a_subject_without_a_waiting_call_is_removed() {
        let calls = Calls::default();
        let [one, two] = ["a", "a"].map(|id| calls.wait_for(agent(id)));
        assert_eq!(calls.held(), Held { agents: 1, actions: 2, workflows: 0 });
        drop(one);
        assert_eq!(calls.subjects(), 1);
        drop(two);
        assert_eq!(calls.subjects(), 0);
    }

    #[test]
    fn a_mac_is_one_subject_in_every_notation() {
        assert_eq!(agent("52:54:00:AB:cd:01"), agent("52-54-00-ab-cd-01"));
        assert_ne!(agent("node-1"), agent("NODE-1"));
    }
}
