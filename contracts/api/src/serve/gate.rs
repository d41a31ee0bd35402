//! How many connections one client may have. A client that opens thousands stops no other one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of one client. A site behind NAT is one, and so are agents on this host.
pub const PER_CLIENT: usize = 16_384;
/// A client that is refused gets one line in this time.
const QUIET: Duration = Duration::from_secs(60);
/// Clients that are remembered for that.
const REMEMBERED: usize = 1024;

/// An address, or an IPv6 network of 64 bits, because one host can have all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Counts connections. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<Mutex<HashMap<Client, usize>>>,
    most: usize,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
    client: Client,
}

impl Default for Gate {
    fn default() -> Self {
        Self::of(PER_CLIENT)
    }
}

impl Gate {
    /// With this many places for each client.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// A place, if the client has one left.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Option<Pass> {
        let client = Client::from(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(client).or_default();
        if *own >= self.most {
            return None;
        }
        *own += 1;
        Some(Pass { gate: self.clone(), client })
    }

    /// How many connections each client may have.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = open.entry(self.client) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Lets a line about each thing pass once a minute.
#[derive(Debug)]
pub struct Quiet<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Quiet<K> {
    /// Whether the line is due. Of a flood of things the first are shown.
    pub fn is_news(&self, about: K, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&about).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.duration_since(*at) < QUIET);
        }
        said.len() < REMEMBERED && said.insert(about, now).is_none_or(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_places() {
        let gate = Gate::of(2);
        let first = gate.enter(ip("10.0.0.1"));
        let second = gate.enter(ip("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some() && gate.enter(ip("10.0.0.1")).is_none());
        assert!(gate.enter(ip("10.0.0.2")).is_some(), "another client");
        drop(first);
        assert!(gate.enter(ip("10.0.0.1")).is_some(), "a place is free again");
        drop(second);
        assert!(gate.open.lock().unwrap().is_empty(), "nothing is kept of clients that have gone");
    }

    #[test]
    fn the_addresses_of_an_ipv6_host_are_one_client() {
        let gate = Gate::of(1);
        let one = gate.enter(ip("2001:db8::1"));
        assert!(one.is_some() && gate.enter(ip("2001:db8::2")).is_none() && gate.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn each_thing_is_said_once_a_minute() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        assert!(quiet.is_news(1, now) && !quiet.is_news(1, now + QUIET / 2) && quiet.is_news(2, now));
        assert!(quiet.is_news(1, now + QUIET));
        assert!((10..9000).filter(|n| quiet.is_news(*n, now + QUIET)).count() <= REMEMBERED);
        assert!(quiet.is_news(3, now + 2 * QUIET), "a flood is forgotten");
    }
}
