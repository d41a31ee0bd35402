//! The agents that called: when, from where, and the hardware they reported. This is best effort and never delays an
//! action.
//!
//! An agent that an object names is known, and is kept. All others are unknown agents, which `strangers` keeps within a
//! budget.

mod attributes;
mod calls;
mod modaliases;
mod pci_names;
pub(crate) mod reported;
mod strangers;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::{Agent, Attributes};
use jiff::{SignedDuration, Timestamp};
use model::AgentId;
use proto::AgentAttributes;

use crate::clock::heard_after;
use crate::heard::Call;
use crate::progress::Heard;

use strangers::Strangers;
pub use strangers::{First, Source};

/// The size Tinkerbell allows for the same facts.
pub const MAX_ATTRIBUTES: usize = 64 << 10;
/// With more known agents than this, those whose objects were deleted are removed.
const SWEEP: usize = 1024;

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
pub struct Agents(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Boxed, because a table has room for twice as many.
    known: HashMap<AgentId, Box<Known>>,
    /// Known agents that have called here, for the other servers. `None` if there are none.
    called: Option<HashSet<AgentId>>,
    swept: usize,
    strangers: Strangers,
    /// Silent agents of running actions, whose next call is news.
    expected: HashSet<AgentId>,
    /// Those of them that have called.
    returned: Vec<AgentId>,
}

impl Table {
    /// The latest call of an agent.
    fn heard(&self, id: &AgentId, since: Timestamp) -> Heard {
        let known = self.known.get(id);
        let at = known.map(|known| known.agent.last_seen).or_else(|| Some(self.strangers.get(id)?.1));
        Heard { at: at.map_or(since, |at| at.max(since)), watches: known.is_some_and(|known| known.watches) }
    }

    fn calls(&mut self, id: &AgentId) {
        if !self.expected.is_empty() && self.expected.remove(id) {
            self.returned.push(id.clone());
        }
    }
}

struct Known {
    agent: Agent,
    /// The agent calls while its action runs, so its silence means that something is wrong.
    watches: bool,
    /// It sends what its actions say, so the same lines by syslog are not needed.
    sends_output: bool,
}

impl Known {
    fn of(agent: Agent) -> Box<Self> {
        Box::new(Self { agent, watches: false, sends_output: false })
    }
}

/// What a call reported that the server did not know.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct News {
    pub first: First,
    pub attributes: bool,
}

impl Agents {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call of an agent that an object names. `is_known` says for other agents whether an object names them.
    pub fn known(
        &self,
        id: &AgentId,
        address: Option<SocketAddr>,
        facts: Option<Facts>,
        now: Timestamp,
        is_known: impl Fn(&AgentId) -> bool,
    ) -> News {
        let (modaliases, attributes) = facts.map(|facts| (facts.modaliases, facts.attributes)).unzip();
        let attributes = attributes.filter(fits);
        let table = &mut *self.table();
        if let Some(called) = &mut table.called {
            called.insert(id.clone());
        }
        table.calls(id);
        let Some(known) = table.known.get_mut(id) else {
            if table.known.len() >= table.swept.max(SWEEP) {
                table.known.retain(|id, _| is_known(id));
                table.swept = 2 * table.known.len();
            }
            let first = if table.strangers.remove(id).is_none() { First::Announce } else { First::No };
            let news = News { first, attributes: attributes.is_some() || modaliases.is_some() };
            let modaliases = modaliases.unwrap_or_default();
            let agent =
                Agent { id: id.clone(), last_seen: now, address, encrypted: None, attributes, modaliases, progress: None };
            table.known.insert(id.clone(), Known::of(agent));
            return news;
        };
        let agent = &mut known.agent;
        agent.last_seen = now;
        agent.address = address.or(agent.address);
        let new = attributes.filter(|attributes| agent.attributes.as_ref() != Some(attributes));
        let other = modaliases.filter(|modaliases| *modaliases != agent.modaliases);
        let news = News { first: First::No, attributes: new.is_some() || other.is_some() };
        agent.modaliases = other.unwrap_or_else(|| std::mem::take(&mut agent.modaliases));
        agent.attributes = new.or_else(|| agent.attributes.take());
        news
    }

    /// Records a call of an agent that no object names.
    pub fn stranger(&self, id: &AgentId, address: Option<SocketAddr>, now: Timestamp) -> First {
        let table = &mut *self.table();
        table.calls(id);
        let was_known = table.known.remove(id).is_some();
        let first = table.strangers.seen(id, address, now);
        if was_known { First::No } else { first }
    }

    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<Agent> {
        let table = self.table();
        let stranger = || {
            let (address, last_seen) = table.strangers.get(id)?;
            let (attributes, modaliases) = (None, Vec::new());
            Some(Agent { id: id.clone(), last_seen, address, encrypted: None, attributes, modaliases, progress: None })
        };
        table.known.get(id).map(|known| known.agent.clone()).or_else(stranger)
    }

    /// Of the devices that a known agent reported.
    #[must_use]
    pub fn modaliases(&self, id: &AgentId) -> Option<Vec<String>> {
        self.table().known.get(id).map(|known| known.agent.modaliases.clone())
    }

    /// From where and when it called last.
    #[must_use]
    pub fn last_call(&self, id: &AgentId) -> Option<(Option<SocketAddr>, Timestamp)> {
        let table = self.table();
        let known = table.known.get(id).map(|known| (known.agent.address, known.agent.last_seen));
        known.or_else(|| table.strangers.get(id))
    }

    /// Whether the call of an unknown agent may be held open. The caller must give each place back with `release`.
    #[must_use]
    pub fn hold(&self, source: Source) -> bool {
        self.table().strangers.hold(source)
    }

    pub fn release(&self, source: Source) {
        self.table().strangers.release(source);
    }

    /// Records that the agent calls while its action runs.
    pub fn watches(&self, id: &AgentId) {
        if let Some(known) = self.table().known.get_mut(id) {
            known.watches = true;
        }
    }

    /// Its call came with TLS or without. Returns whether it is the first one without.
    pub fn speaks(&self, id: &AgentId, encrypted: bool) -> bool {
        let mut table = self.table();
        let Some(known) = table.known.get_mut(id) else { return false };
        let before = known.agent.encrypted.replace(encrypted);
        !encrypted && before != Some(false)
    }

    /// Records whether the agent sends what its actions say.
    pub fn sends_output(&self, id: &AgentId, sends: bool) {
        if let Some(known) = self.table().known.get_mut(id) {
            known.sends_output = sends;
        }
    }

    #[must_use]
    pub fn does_send_output(&self, id: &AgentId) -> bool {
        self.table().known.get(id).is_some_and(|known| known.sends_output)
    }

    /// Known agents that called after this time.
    #[must_use]
    pub fn heard_since(&self, time: Timestamp) -> u64 {
        self.table().known.values().filter(|known| known.agent.last_seen >= time).count() as u64
    }

    #[must_use]
    pub fn heard(&self, id: &AgentId, since: Timestamp) -> Heard {
        self.table().heard(id, since)
    }

    /// The next call of this agent is news. `heard` is what the caller knows of it.
    pub fn expect(&self, id: &AgentId, since: Timestamp, heard: Heard) {
        let mut table = self.table();
        let has_called = table.heard(id, since).at != heard.at;
        table.expected.insert(id.clone());
        if has_called {
            table.calls(id);
        }
    }

    /// Agents that were expected and have called.
    #[must_use]
    pub fn returned(&self) -> Vec<AgentId> {
        std::mem::take(&mut self.table().returned)
    }

    /// The host's clock was set. The times of calls move with it, so each call stays as long ago as it was.
    pub fn clock_moved(&self, by: SignedDuration, now: Timestamp) {
        let known = &mut self.table().known;
        known.values_mut().for_each(|known| known.agent.last_seen = heard_after(known.agent.last_seen, by, now));
    }

    /// Other servers shall learn which agents call here.
    pub fn share(&self) {
        self.table().called.get_or_insert_default();
    }

    /// Agents that have called here since this was last asked, up to `most`.
    #[must_use]
    pub fn called(&self, most: usize) -> BTreeMap<AgentId, Call> {
        let Table { known, called, .. } = &mut *self.table();
        let Some(called) = called else { return BTreeMap::new() };
        let ids: Vec<AgentId> = called.iter().take(most).cloned().collect();
        let call = |id: AgentId| {
            called.remove(&id);
            let known = known.get(&id)?;
            Some((id, Call { at: known.agent.last_seen, watches: known.watches }))
        };
        ids.into_iter().filter_map(call).collect()
    }

    /// Agents that have called another server.
    pub fn called_elsewhere(&self, calls: BTreeMap<AgentId, Call>) {
        let table = &mut *self.table();
        for (id, call) in calls {
            table.calls(&id);
            let known = table.known.entry(id).or_insert_with_key(|id| {
                let (address, attributes, modaliases) = (None, None, Vec::new());
                let agent = Agent {
                    id: id.clone(),
                    last_seen: call.at,
                    address,
                    encrypted: None,
                    attributes,
                    modaliases,
                    progress: None,
                };
                Known::of(agent)
            });
            known.agent.last_seen = known.agent.last_seen.max(call.at);
            known.watches |= call.watches;
        }
    }

    /// Another server has stored what an agent reported.
    pub fn learned(&self, new: Agent) {
        let mut table = self.table();
        table.calls(&new.id);
        match table.known.entry(new.id.clone()) {
            Entry::Vacant(place) => drop(place.insert(Known::of(new))),
            Entry::Occupied(known) => {
                let agent = &mut known.into_mut().agent;
                // This server's own record says more than its echo.
                if new.last_seen >= agent.last_seen || agent.attributes.is_none() {
                    let last_seen = agent.last_seen.max(new.last_seen);
                    *agent = Agent { last_seen, encrypted: new.encrypted.or(agent.encrypted), ..new };
                }
            }
        }
    }

    /// Takes over an agent from the record of an earlier process.
    pub fn restore(&self, agent: Agent) {
        self.table().known.entry(agent.id.clone()).or_insert_with(|| Known::of(agent));
    }
}

/// The text in JSON, and the memory that records without text take.
pub fn fits(attributes: &Attributes) -> bool {
    let text = serde_json::to_vec(attributes).map_or(usize::MAX, |json| json.len());
    text <= MAX_ATTRIBUTES && attributes::memory(attributes) <= 4 * MAX_ATTRIBUTES
}

#[cfg(test)]
mod tests {
    use api::{Cpu, Product};

    use super::*;

    #[test]
    fn attributes_are_new_only_if_they_differ() {
        let agents = Agents::default();
        let id = AgentId::from("a");
        let facts = |attributes| Facts { attributes, modaliases: Vec::new() };
        let seen =
            |attributes: Option<Attributes>| agents.known(&id, None, attributes.map(facts), Timestamp::UNIX_EPOCH, |_| true);
        let cores = |number| {
            let cpu = Cpu { total_cores: Some(number), ..Cpu::default() };
            Some(Attributes { cpu: Some(cpu), ..Attributes::default() })
        };
        let long = Product { name: Some("x".repeat(70_000)), ..Product::default() };
        let news = |first, attributes| News { first, attributes };
        assert_eq!(seen(cores(1)), news(First::Announce, true));
        assert_eq!(seen(cores(1)), news(First::No, false));
        assert_eq!(seen(None), news(First::No, false));
        assert_eq!(seen(Some(Attributes { product: Some(long), ..Attributes::default() })), news(First::No, false));
        assert_eq!(seen(cores(2)), news(First::No, true));
        assert_eq!(agents.get(&id).and_then(|agent| agent.attributes), cores(2));
    }

    #[test]
    fn an_agent_without_tls_is_news_once() {
        let agents = Agents::default();
        let (known, stranger) = (AgentId::from("known"), AgentId::from("stranger"));
        agents.known(&known, None, None, Timestamp::UNIX_EPOCH, |_| true);
        assert!(agents.speaks(&known, false) && !agents.speaks(&known, false));
        assert!(!agents.speaks(&known, true) && agents.get(&known).unwrap().encrypted == Some(true));
        assert!(agents.speaks(&known, false), "it spoke TLS in between");
        assert!(!agents.speaks(&stranger, false), "nothing is kept of an unknown agent");
    }

    #[test]
    fn invented_agents_do_not_push_out_a_known_one_and_a_named_one_becomes_known() {
        let agents = Agents::default();
        let (known, stranger) = (AgentId::from("known"), AgentId::from("stranger"));
        agents.known(&known, None, None, Timestamp::UNIX_EPOCH, |_| true);
        agents.watches(&known);
        assert_eq!(agents.stranger(&stranger, None, Timestamp::UNIX_EPOCH), First::Announce);
        for n in 0..50_000 {
            agents.stranger(&AgentId(n.to_string()), None, Timestamp::UNIX_EPOCH);
        }
        assert!(agents.get(&known).is_some() && agents.get(&stranger).is_none());
        assert!(agents.heard(&known, Timestamp::UNIX_EPOCH).watches);
        let named = AgentId::from("49999");
        assert_eq!(agents.known(&named, None, None, Timestamp::UNIX_EPOCH, |_| true).first, First::No);
        assert!(agents.table().strangers.get(&named).is_none());
        assert_eq!(agents.stranger(&named, None, Timestamp::UNIX_EPOCH), First::No);
        assert!(!agents.table().known.contains_key(&named), "its objects were deleted");
    }

    #[test]
    fn known_agents_whose_objects_were_deleted_are_removed_in_time() {
        let agents = Agents::default();
        for n in 0..10 * SWEEP {
            agents.known(&AgentId(n.to_string()), None, None, Timestamp::UNIX_EPOCH, |id| id.0 == "0");
        }
        assert!(agents.table().known.len() <= SWEEP && agents.get(&AgentId::from("0")).is_some());
    }
}
