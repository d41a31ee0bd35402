//! Who has which address of the pools. Pure: the time is an argument, in seconds since 1970, because leases outlive the process.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use dhcp::v4::Packet;
use model::Mac;
use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::dhcp::network::Pool;

/// How many offers are remembered. An offer that is forgotten can still be taken, if its address is free then.
const HOLDS: usize = 256;
/// How many offers a later REQUEST can refer to. Without its offer, an unknown machine gets no lease.
const OFFERS: usize = 16_384;
/// Seconds. Firmware collects offers for 4 seconds before it takes one.
const HOLD: u64 = 20;
/// Seconds for which an address is left alone that another host uses.
pub const ASIDE: u64 = 600;

/// The longest client identifier that is kept. RFC 4361's have 19 bytes.
const LONGEST_ID: usize = 64;

fn hex(id: &[u8]) -> String {
    id.iter().take(LONGEST_ID).map(|byte| format!("{byte:02x}")).collect()
}

/// A client as the pools know it. Its MAC counts first, so firmware, iPXE and the installed system get one address. A client
/// identifier tells clients apart that share a MAC, such as containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub mac: Mac,
    id: Option<String>,
}

impl Who {
    pub fn of(mac: Mac, request: &Packet) -> Self {
        let says_mac = |id: &[u8]| id.split_first() == Some((&1, &mac.bytes()));
        Self { mac, id: request.client_id().filter(|id| !says_mac(id)).map(hex) }
    }

    fn is(&self, mac: Mac, id: Option<&String>) -> bool {
        self.mac == mac && (self.id.is_none() || id.is_none() || self.id.as_ref() == id)
    }

    fn owns(&self, lease: &Lease) -> bool {
        self.is(lease.mac, lease.id.as_ref())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Bound,
    /// The client gave it back. It gets it again, if it is still free.
    Released,
    /// The client found another host there.
    Declined,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub mac: Mac,
    /// The client identifier in hexadecimal, if it says more than the MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub state: State,
    /// When it was given or given back.
    pub since: u64,
    pub until: u64,
}

impl Lease {
    /// The client identifier as the client sends it.
    pub fn client_id(&self) -> Option<Vec<u8>> {
        let (pairs, _) = self.id.as_ref()?.as_bytes().as_chunks::<2>();
        pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    }

    /// Whether the client of the other lease may take this one over.
    pub fn is_of_client_of(&self, other: &Self) -> bool {
        let same_id = self.id.is_none() || other.id.is_none() || self.id == other.id;
        self.mac == other.mac && same_id && self.state != State::Declined
    }

    pub fn is_active(&self, now: u64) -> bool {
        self.until > now && self.state != State::Released
    }
}

#[derive(Debug)]
struct Hold {
    who: Who,
    since: u64,
}

/// An address for an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub address: Ipv4Addr,
    /// The client does not have it yet, so another host may.
    pub is_new: bool,
}

/// Why a client cannot have an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{0} is not of the range")]
    Outside(Ipv4Addr),
    #[error("{0} is of another client")]
    Taken(Ipv4Addr),
}

/// The last offers, whether the addresses are held or not.
#[derive(Debug, Default)]
struct Offers {
    known: HashSet<(Mac, Ipv4Addr)>,
    order: VecDeque<(Mac, Ipv4Addr)>,
}

impl Offers {
    fn add(&mut self, mac: Mac, address: Ipv4Addr) {
        if !self.known.insert((mac, address)) {
            return;
        }
        self.order.push_back((mac, address));
        if self.order.len() > OFFERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[derive(Debug, Default)]
pub struct Leases {
    by_address: HashMap<Ipv4Addr, Lease>,
    by_mac: HashMap<Mac, Vec<Ipv4Addr>>,
    holds: HashMap<Ipv4Addr, Hold>,
    offers: Offers,
    /// Addresses that a reservation or another host has, and until when they are left alone.
    aside: HashMap<Ipv4Addr, u64>,
    /// By the first and the last address of a pool.
    orders: HashMap<(Ipv4Addr, Ipv4Addr), Order>,
    /// By the first address of a pool: no lease ends before.
    full_until: HashMap<Ipv4Addr, u64>,
}

impl Leases {
    /// A lease from the store.
    pub fn insert(&mut self, lease: Lease) {
        if let Some(old) = self.by_address.get(&lease.address).filter(|old| old.mac != lease.mac) {
            let (mac, address) = (old.mac, old.address);
            if let Some(addresses) = self.by_mac.get_mut(&mac) {
                addresses.retain(|one| *one != address);
                if addresses.is_empty() {
                    self.by_mac.remove(&mac);
                }
            }
        }
        let addresses = self.by_mac.entry(lease.mac).or_default();
        if !addresses.contains(&lease.address) {
            addresses.push(lease.address);
        }
        let old = self.by_address.get(&lease.address);
        self.orders.values_mut().for_each(|order| order.change(old, &lease));
        self.by_address.insert(lease.address, lease);
    }

    pub fn all(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    pub fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.by_address.get(&address)
    }

    pub fn of_mac(&self, mac: Mac) -> impl Iterator<Item = &Lease> {
        self.by_mac.get(&mac).into_iter().flatten().filter_map(|address| self.by_address.get(address))
    }

    /// By client identifier, or by a MAC that is written as one.
    pub fn of_client(&self, id: &[u8]) -> impl Iterator<Item = &Lease> {
        let written = hex(id);
        let mac = id.strip_prefix(&[1]).and_then(|mac| <[u8; 6]>::try_from(mac).ok()).map(Mac::new);
        self.by_address.values().filter(move |lease| match &lease.id {
            Some(own) => *own == written,
            None => Some(lease.mac) == mac,
        })
    }

    /// The client's lease in a pool, an active one first.
    pub fn of(&self, pool: &Pool, who: &Who, now: u64) -> Option<&Lease> {
        self.of_mac(who.mac)
            .filter(|lease| who.owns(lease) && lease.state != State::Declined && pool.contains(lease.address))
            .max_by_key(|lease| (lease.is_active(now), lease.id == who.id, lease.until))
    }

    /// How many addresses of a pool are leased.
    pub fn active(&self, pool: &Pool, now: u64) -> usize {
        self.by_address.values().filter(|lease| pool.contains(lease.address) && lease.is_active(now)).count()
    }

    /// The address to offer: the client's own, then the one it was offered, then the one it asks for. After those comes an
    /// address that no client had, then the one that was given back first. The last choice is one that is offered to another
    /// client. The search begins at a place that follows from the MAC, so a client mostly gets the same offer again.
    pub fn candidate(&mut self, pool: &Pool, who: &Who, wanted: Option<Ipv4Addr>, now: u64) -> Option<Candidate> {
        let is_usable = |address: &Ipv4Addr| !self.is_aside(*address, now) && pool.router != Some(*address);
        let own =
            self.of(pool, who, now).filter(|lease| is_usable(&lease.address)).map(|lease| (lease.address, lease.is_active(now)));
        if let Some((address, is_active)) = own
            && (is_active || self.is_free(pool, who, address, now))
        {
            return Some(Candidate { address, is_new: !is_active });
        }
        let held = self.holds.iter().find(|(address, hold)| hold.who == *who && pool.contains(**address));
        if let Some(address) = held.map(|(address, _)| *address).filter(|address| self.is_free(pool, who, *address, now)) {
            return Some(Candidate { address, is_new: false });
        }
        let asked = wanted.filter(|address| pool.contains(*address) && self.is_free(pool, who, *address, now));
        let start = || {
            let mut hasher = DefaultHasher::new();
            (who.mac, &who.id).hash(&mut hasher);
            u32::try_from(hasher.finish() % u64::from(pool.len().max(1))).unwrap_or(0)
        };
        let address = asked.or_else(|| self.search(pool, start(), now))?;
        Some(Candidate { address, is_new: true })
    }

    /// The next address to try, if the last candidate is of no use.
    pub fn candidate_after(&mut self, pool: &Pool, last: Ipv4Addr, now: u64) -> Option<Candidate> {
        let start = last.to_bits().saturating_sub(pool.first.to_bits()).saturating_add(1);
        let address = self.search(pool, start % pool.len().max(1), now)?;
        Some(Candidate { address, is_new: true })
    }

    fn search(&mut self, pool: &Pool, start: u32, now: u64) -> Option<Ipv4Addr> {
        if self.full_until.get(&pool.first).is_some_and(|until| *until > now) {
            return None;
        }
        let order = self.orders.entry((pool.first, pool.last)).or_insert_with(|| Order::of(pool, &self.by_address));
        let (aside, holds, by_address) = (&self.aside, &self.holds, &self.by_address);
        let is_left = |address: &Ipv4Addr| pool.router != Some(*address) && aside.get(address).is_none_or(|until| *until <= now);
        let is_held = |address: &Ipv4Addr| holds.get(address).is_some_and(|hold| hold.since + HOLD > now);
        let is_usable = |address: &Ipv4Addr| is_left(address) && !is_held(address);
        let is_leased = |address: &Ipv4Addr| by_address.get(address).is_some_and(|lease| lease.is_active(now));
        let offered = || {
            let held = holds.iter().filter(|(address, _)| pool.contains(**address) && is_left(address) && !is_leased(address));
            held.min_by_key(|(address, hold)| (hold.since, **address)).map(|(address, _)| *address)
        };
        let unused = order.unused_from(pool.at(start)).find(is_usable);
        let found = unused.or_else(|| order.ended(now).find(is_usable)).or_else(offered);
        if found.is_none() {
            let set_aside = aside.iter().filter(|(address, until)| pool.contains(**address) && **until > now);
            let first_end = set_aside.map(|(_, until)| *until).chain(order.next_end(now)).min();
            self.full_until.insert(pool.first, first_end.unwrap_or(u64::MAX));
        }
        found
    }

    /// Neither leased to another client, nor offered to one, nor set aside.
    fn is_free(&self, pool: &Pool, who: &Who, address: Ipv4Addr, now: u64) -> bool {
        let by_other = |lease: &Lease| lease.is_active(now) && (lease.state == State::Declined || !who.owns(lease));
        let held = self.holds.get(&address).is_some_and(|hold| hold.who != *who && hold.since + HOLD > now);
        !held
            && !self.by_address.get(&address).is_some_and(by_other)
            && !self.is_aside(address, now)
            && pool.router != Some(address)
    }

    fn is_aside(&self, address: Ipv4Addr, now: u64) -> bool {
        self.aside.get(&address).is_some_and(|until| *until > now)
    }

    /// Remembers an offer for a short time. If too many are remembered, the oldest is forgotten.
    pub fn hold(&mut self, who: &Who, address: Ipv4Addr, now: u64) {
        if self.holds.len() >= HOLDS && !self.holds.contains_key(&address) {
            let oldest = self.holds.iter().min_by_key(|(_, hold)| hold.since).map(|(address, _)| *address);
            oldest.and_then(|oldest| self.holds.remove(&oldest));
        }
        self.holds.insert(address, Hold { who: who.clone(), since: now });
        self.offers.add(who.mac, address);
    }

    /// Whether the address was offered to the client, or leased to it last.
    pub fn has_record(&self, who: &Who, address: Ipv4Addr) -> bool {
        let was_its = |lease: &Lease| lease.state != State::Declined && who.owns(lease);
        self.offers.known.contains(&(who.mac, address)) || self.by_address.get(&address).is_some_and(was_its)
    }

    /// The client took the offer of another server.
    pub fn forget_offer(&mut self, who: &Who) {
        self.holds.retain(|_, hold| hold.who != *who);
    }

    pub fn set_aside(&mut self, address: Ipv4Addr, until: u64) {
        self.holds.remove(&address);
        self.aside.insert(address, until);
    }

    /// Whether a client may have the address that it requests. An offer to another client does not count: it may be a spoofed
    /// one. Returns whether the address is new to it.
    pub fn check(&self, pool: &Pool, who: &Who, address: Ipv4Addr, now: u64) -> Result<bool, Denied> {
        if !pool.contains(address) {
            return Err(Denied::Outside(address));
        }
        if self.is_aside(address, now) || pool.router == Some(address) {
            return Err(Denied::Taken(address));
        }
        match self.by_address.get(&address).filter(|lease| lease.is_active(now)) {
            Some(lease) if lease.state == State::Bound && who.owns(lease) => Ok(false),
            Some(_) => Err(Denied::Taken(address)),
            None => Ok(self.holds.get(&address).is_none_or(|hold| hold.who != *who)),
        }
    }

    /// Gives the address to the client. Other addresses of the client in this pool become free. Returns what changed.
    pub fn bind(&mut self, pool: &Pool, who: &Who, address: Ipv4Addr, now: u64) -> Vec<Lease> {
        self.holds.remove(&address);
        let has_elsewhere = |lease: &&Lease| {
            lease.address != address && lease.is_active(now) && lease.state == State::Bound && pool.contains(lease.address)
        };
        let others = self.of_mac(who.mac).filter(has_elsewhere).filter(|lease| lease.id == who.id);
        let mut changed: Vec<Lease> =
            others.map(|lease| Lease { state: State::Released, since: now, until: now, ..lease.clone() }).collect();
        // Firmware sends no client identifier. The installed system's stays, so that it finds its lease again.
        let known = self.by_address.get(&address).filter(|lease| who.owns(lease)).and_then(|lease| lease.id.clone());
        let id = who.id.clone().or(known);
        let until = now + u64::from(pool.lease_time);
        changed.push(Lease { address, mac: who.mac, id, state: State::Bound, since: now, until });
        changed.iter().for_each(|lease| self.insert(lease.clone()));
        self.full_until.remove(&pool.first);
        changed
    }

    /// The client gives its address back.
    pub fn release(&mut self, who: &Who, address: Ipv4Addr, now: u64) -> Option<Lease> {
        let is_own = |lease: &&Lease| who.owns(lease) && lease.state == State::Bound && lease.is_active(now);
        let lease = self.by_address.get(&address).filter(is_own)?;
        let released = Lease { state: State::Released, since: now, until: now, ..lease.clone() };
        self.insert(released.clone());
        self.full_until.clear();
        Some(released)
    }

    /// The client found another host at the address that it got. Others cannot make an address unusable.
    pub fn decline(&mut self, who: &Who, address: Ipv4Addr, now: u64) -> Option<Lease> {
        let lease = self.by_address.get(&address).filter(|lease| who.owns(lease) && lease.state == State::Bound)?;
        let declined = Lease { state: State::Declined, since: now, until: now + ASIDE, ..lease.clone() };
        self.insert(declined.clone());
        Some(declined)
    }
}

#[cfg(test)]
mod tests;
