//! The agents that called: when, from where, and the hardware they reported. Best effort: never in the way of an action.

mod attributes;
mod modaliases;
mod pci_names;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use api::{Agent, Attributes};
use jiff::{SignedDuration, Timestamp};
use model::AgentId;
use proto::AgentAttributes;

use crate::clock::heard_after;
use crate::progress::Heard;

/// Agents name themselves, so their number is bounded.
const MOST: usize = 20_000;
/// The size Tinkerbell allows for the same facts.
const MAX_ATTRIBUTES: usize = 64 << 10;

/// What an agent reported of its machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub attributes: Attributes,
    pub modaliases: Vec<String>,
}

impl From<&AgentAttributes> for Facts {
    fn from(reported: &AgentAttributes) -> Self {
        Self { attributes: attributes::of(reported), modaliases: modaliases::of(reported) }
    }
}

#[derive(Default)]
pub struct Agents(Mutex<HashMap<AgentId, Agent>>, Mutex<HashSet<AgentId>>);

/// What was new about a call.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct News {
    pub first_call: bool,
    pub attributes: bool,
}

impl Agents {
    pub fn seen(&self, id: &AgentId, address: Option<SocketAddr>, facts: Option<Facts>, now: Timestamp) -> News {
        let (modaliases, attributes) = facts.map(|facts| (facts.modaliases, facts.attributes)).unzip();
        let attributes = attributes.filter(fits);
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(agent) = agents.get_mut(id) else {
            if agents.len() >= MOST {
                forget_oldest(&mut agents);
            }
            let news = News { first_call: true, attributes: attributes.is_some() || modaliases.is_some() };
            let modaliases = modaliases.unwrap_or_default();
            agents.insert(id.clone(), Agent { id: id.clone(), last_seen: now, address, attributes, modaliases });
            return news;
        };
        agent.last_seen = now;
        agent.address = address.or(agent.address);
        let new = attributes.filter(|attributes| agent.attributes.as_ref() != Some(attributes));
        let other = modaliases.filter(|modaliases| *modaliases != agent.modaliases);
        let news = News { first_call: false, attributes: new.is_some() || other.is_some() };
        agent.modaliases = other.unwrap_or_else(|| std::mem::take(&mut agent.modaliases));
        agent.attributes = new.or_else(|| agent.attributes.take());
        news
    }

    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<Agent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The agent calls while its action runs, so that its silence means something.
    pub fn watches(&self, id: &AgentId) {
        let mut watching = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if watching.len() < MOST {
            watching.insert(id.clone());
        }
    }

    #[must_use]
    pub fn heard(&self, id: &AgentId, since: Timestamp) -> Heard {
        let at = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).map_or(since, |agent| agent.last_seen.max(since));
        let watches = self.1.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
        Heard { at, watches }
    }

    /// The host's clock was set: what was heard stays as long ago as it was.
    pub fn clock_moved(&self, by: SignedDuration, now: Timestamp) {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        agents.values_mut().for_each(|agent| agent.last_seen = heard_after(agent.last_seen, by, now));
    }

    /// What an earlier process knew.
    pub fn restore(&self, agent: Agent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(agent.id.clone()).or_insert(agent);
    }
}

fn fits(attributes: &Attributes) -> bool {
    serde_json::to_vec(attributes).is_ok_and(|json| json.len() <= MAX_ATTRIBUTES)
}

fn forget_oldest(agents: &mut HashMap<AgentId, Agent>) {
    if let Some(oldest) = agents.iter().min_by_key(|(_, agent)| agent.last_seen).map(|(id, _)| id.clone()) {
        agents.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use api::{Cpu, Product};

    use super::*;

    #[test]
    fn attributes_are_news_only_when_they_differ() {
        let agents = Agents::default();
        let id = AgentId::from("a");
        let facts = |attributes| Facts { attributes, modaliases: Vec::new() };
        let seen = |attributes: Option<Attributes>| agents.seen(&id, None, attributes.map(facts), Timestamp::UNIX_EPOCH);
        let cores = |number| {
            let cpu = Cpu { total_cores: Some(number), ..Cpu::default() };
            Some(Attributes { cpu: Some(cpu), ..Attributes::default() })
        };
        let long = Product { name: Some("x".repeat(70_000)), ..Product::default() };
        let news = |first_call, attributes| News { first_call, attributes };
        assert_eq!(seen(cores(1)), news(true, true));
        assert_eq!(seen(cores(1)), news(false, false));
        assert_eq!(seen(None), news(false, false));
        assert_eq!(seen(Some(Attributes { product: Some(long), ..Attributes::default() })), news(false, false));
        assert_eq!(seen(cores(2)), news(false, true));
        assert_eq!(agents.get(&id).and_then(|agent| agent.attributes), cores(2));
    }
}
