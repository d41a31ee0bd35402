//! Who called, when, from where, and what hardware they say they are. Best effort: never in the way of an action.

mod attributes;
mod modaliases;
mod pci_names;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use model::AgentId;
use proto::AgentAttributes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use attributes::to_json;

/// Agents name themselves, so their number is bounded.
const MOST: usize = 20_000;
/// The size Tinkerbell allows for the same facts.
const MAX_ATTRIBUTES: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    pub last_seen: Timestamp,
    pub address: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub attributes: Value,
    /// Of its PCI devices, with `*` for what it did not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modaliases: Vec<String>,
}

/// What an agent told of its machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub attributes: Value,
    pub modaliases: Vec<String>,
}

impl From<&AgentAttributes> for Facts {
    fn from(told: &AgentAttributes) -> Self {
        Self { attributes: to_json(told), modaliases: modaliases::of(told) }
    }
}

#[derive(Default)]
pub struct Agents(Mutex<HashMap<AgentId, Agent>>);

/// What was new about a call.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct News {
    pub first_call: bool,
    pub attributes: bool,
}

impl Agents {
    pub fn seen(&self, id: &AgentId, address: Option<SocketAddr>, facts: Option<Facts>, now: Timestamp) -> News {
        let (modaliases, attributes) = facts.map(|facts| (facts.modaliases, facts.attributes)).unzip();
        let attributes = attributes.filter(|attributes| attributes.to_string().len() <= MAX_ATTRIBUTES);
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(agent) = agents.get_mut(id) else {
            if agents.len() >= MOST {
                forget_oldest(&mut agents);
            }
            let news = News { first_call: true, attributes: attributes.is_some() || modaliases.is_some() };
            let (attributes, modaliases) = (attributes.unwrap_or_default(), modaliases.unwrap_or_default());
            agents.insert(id.clone(), Agent { last_seen: now, address, attributes, modaliases });
            return news;
        };
        agent.last_seen = now;
        agent.address = address.or(agent.address);
        let new = attributes.filter(|attributes| *attributes != agent.attributes);
        let other = modaliases.filter(|modaliases| *modaliases != agent.modaliases);
        let news = News { first_call: false, attributes: new.is_some() || other.is_some() };
        agent.modaliases = other.unwrap_or_else(|| std::mem::take(&mut agent.modaliases));
        agent.attributes = new.unwrap_or_else(|| std::mem::take(&mut agent.attributes));
        news
    }

    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<Agent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// What an earlier process knew.
    pub fn restore(&self, id: AgentId, agent: Agent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(agent);
    }
}

fn forget_oldest(agents: &mut HashMap<AgentId, Agent>) {
    if let Some(oldest) = agents.iter().min_by_key(|(_, agent)| agent.last_seen).map(|(id, _)| id.clone()) {
        agents.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_are_news_only_when_they_differ() {
        let agents = Agents::default();
        let id = AgentId::from("a");
        let told = |attributes| Facts { attributes, modaliases: Vec::new() };
        let seen = |attributes: Option<Value>| agents.seen(&id, None, attributes.map(told), Timestamp::UNIX_EPOCH);
        let news = |first_call, attributes| News { first_call, attributes };
        assert_eq!(seen(Some(json!({"cpu": 1}))), news(true, true));
        assert_eq!(seen(Some(json!({"cpu": 1}))), news(false, false));
        assert_eq!(seen(None), news(false, false));
        assert_eq!(seen(Some(json!("x".repeat(70_000)))), news(false, false));
        assert_eq!(seen(Some(json!({"cpu": 2}))), news(false, true));
        assert_eq!(agents.get(&id).map(|agent| agent.attributes), Some(json!({"cpu": 2})));
    }
}
