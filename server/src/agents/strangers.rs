//! Agents that no object names. They choose their own ids, so only id, address and time of each are kept, within a budget.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use jiff::Timestamp;
use model::AgentId;

/// The most memory for ids and what is kept with them.
const MAX_BYTES: usize = 8 << 20;
/// The memory that an entry takes in the maps besides its id, which is in two of them.
const OVERHEAD: usize = 320;
/// The most entries of one source. After that each new entry replaces the oldest one of the same source.
const SHARE: usize = 4096;
/// A source with more entries gets no further lines in the log and the events.
const ANNOUNCED: usize = 64;
/// How many calls are held for one source, and for all together.
const HELD_BY_ONE: usize = 2048;
const HELD: usize = 4096;

/// What has a share: an address, or an IPv6 network of 64 bits, because one host can have all addresses of that network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(Option<IpAddr>);

impl From<Option<SocketAddr>> for Source {
    fn from(address: Option<SocketAddr>) -> Self {
        Self(address.map(|address| match address.ip().to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

#[derive(Debug, Clone)]
struct Stranger {
    turn: u64,
    address: Option<SocketAddr>,
    last_seen: Timestamp,
}

/// What the log says about an agent that calls for the first time.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum First {
    No,
    Announce,
    /// The source has many entries already. This is logged once.
    TooMany,
    Silent,
}

#[derive(Debug, Default)]
pub struct Strangers {
    entries: HashMap<AgentId, Stranger>,
    /// The agents in the order of their latest calls, the oldest first.
    turns: BTreeMap<u64, AgentId>,
    sources: HashMap<Source, BTreeSet<u64>>,
    held: HashMap<Source, usize>,
    bytes: usize,
    next_turn: u64,
}

impl Strangers {
    pub fn seen(&mut self, id: &AgentId, address: Option<SocketAddr>, now: Timestamp) -> First {
        let new = self.remove(id).is_none();
        let source = Source::from(address);
        let own = self.sources.get(&source);
        let before = own.map_or(0, BTreeSet::len);
        if before >= SHARE
            && let Some(oldest) = own.and_then(|turns| turns.first().copied())
        {
            self.forget(oldest);
        }
        self.next_turn += 1;
        let turn = self.next_turn;
        self.bytes += cost(id);
        self.sources.entry(source).or_default().insert(turn);
        self.turns.insert(turn, id.clone());
        self.entries.insert(id.clone(), Stranger { turn, address, last_seen: now });
        while self.bytes > MAX_BYTES
            && let Some((oldest, _)) = self.turns.first_key_value()
        {
            self.forget(*oldest);
        }
        match (new, before) {
            (false, _) => First::No,
            (true, ..ANNOUNCED) => First::Announce,
            (true, ANNOUNCED) => First::TooMany,
            _ => First::Silent,
        }
    }

    pub fn get(&self, id: &AgentId) -> Option<(Option<SocketAddr>, Timestamp)> {
        self.entries.get(id).map(|stranger| (stranger.address, stranger.last_seen))
    }

    pub fn remove(&mut self, id: &AgentId) -> Option<(Option<SocketAddr>, Timestamp)> {
        let found = self.entries.remove(id)?;
        self.turns.remove(&found.turn);
        self.bytes -= cost(id);
        let source = Source::from(found.address);
        if let Some(turns) = self.sources.get_mut(&source) {
            turns.remove(&found.turn);
            if turns.is_empty() {
                self.sources.remove(&source);
            }
        }
        Some((found.address, found.last_seen))
    }

    fn forget(&mut self, turn: u64) {
        if let Some(id) = self.turns.get(&turn).cloned() {
            self.remove(&id);
        }
    }

    /// Takes a place for a held call. `release` gives it back.
    pub fn hold(&mut self, source: Source) -> bool {
        let own = self.held.get(&source).copied().unwrap_or(0);
        let free = own < HELD_BY_ONE && self.held.values().sum::<usize>() < HELD;
        if free {
            self.held.insert(source, own + 1);
        }
        free
    }

    pub fn release(&mut self, source: Source) {
        if let Some(own) = self.held.get_mut(&source) {
            *own -= 1;
            if *own == 0 {
                self.held.remove(&source);
            }
        }
    }
}

fn cost(id: &AgentId) -> usize {
    OVERHEAD + 2 * id.0.len()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn address(last: u8) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, last], 1)))
    }

    fn id(number: usize) -> AgentId {
        AgentId(format!("{number:0>200}"))
    }

    #[test]
    fn one_source_pushes_out_only_its_own_entries() {
        let mut strangers = Strangers::default();
        strangers.seen(&AgentId::from("quiet"), address(1), Timestamp::UNIX_EPOCH);
        let firsts: Vec<First> = (0..SHARE + 10).map(|n| strangers.seen(&id(n), address(2), Timestamp::UNIX_EPOCH)).collect();
        let said = |what: First| firsts.iter().filter(|first| **first == what).count();
        assert_eq!((said(First::Announce), said(First::TooMany)), (ANNOUNCED, 1));
        assert!(strangers.get(&AgentId::from("quiet")).is_some() && strangers.get(&id(9)).is_none());
        assert!(strangers.get(&id(10)).is_some() && strangers.entries.len() == SHARE + 1);
        assert_eq!(strangers.seen(&id(10), address(2), Timestamp::UNIX_EPOCH), First::No);
        strangers.seen(&id(SHARE + 10), address(2), Timestamp::UNIX_EPOCH);
        assert!(strangers.get(&id(10)).is_some() && strangers.get(&id(11)).is_none(), "an agent that called again counts as new");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share() {
        let mut strangers = Strangers::default();
        for n in 0..SHARE + 5 {
            let address: SocketAddr = format!("[2001:db8::{:x}]:1", n % 60_000 + 1).parse().unwrap();
            strangers.seen(&id(n), Some(address), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(strangers.entries.len(), SHARE);
    }

    #[test]
    fn all_sources_together_stay_within_the_budget_and_take_linear_time() {
        let mut strangers = Strangers::default();
        let begin = Instant::now();
        for n in 0..100_000 {
            strangers.seen(&id(n), address(u8::try_from(n % 250).unwrap()), Timestamp::UNIX_EPOCH);
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        assert!(strangers.bytes <= MAX_BYTES && strangers.get(&id(99_999)).is_some() && strangers.get(&id(0)).is_none());
        let counted: usize = strangers.entries.keys().map(cost).sum();
        let of_sources: usize = strangers.sources.values().map(BTreeSet::len).sum();
        assert_eq!(
            (counted, of_sources, strangers.turns.len()),
            (strangers.bytes, strangers.entries.len(), strangers.entries.len())
        );
    }

    #[test]
    fn held_calls_have_shares() {
        let mut strangers = Strangers::default();
        let (one, other, third) = (Source::from(address(1)), Source::from(address(2)), Source::from(address(3)));
        assert_eq!((0..3000).filter(|_| strangers.hold(one)).count(), HELD_BY_ONE);
        assert_eq!((0..3000).filter(|_| strangers.hold(other)).count(), HELD - HELD_BY_ONE);
        assert!(!strangers.hold(third));
        strangers.release(one);
        assert!(strangers.hold(third) && !strangers.hold(third));
    }
}
