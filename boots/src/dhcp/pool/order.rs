//! The addresses of a pool in the order in which they are offered, so that no request has to look at all of them.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::leases::Lease;
use crate::dhcp::network::Pool;

#[derive(Debug)]
pub struct Order {
    first: Ipv4Addr,
    last: Ipv4Addr,
    /// No client had them.
    unused: BTreeSet<Ipv4Addr>,
    /// All others, by the end of their leases.
    ends: BTreeSet<(u64, Ipv4Addr)>,
}

impl Order {
    pub fn of(pool: &Pool, leases: &HashMap<Ipv4Addr, Lease>) -> Self {
        let addresses = || (0..pool.len()).map(|place| pool.at(place));
        let unused = addresses().filter(|address| !leases.contains_key(address)).collect();
        let ends = addresses().filter_map(|address| leases.get(&address)).map(|lease| (lease.until, lease.address)).collect();
        Self { first: pool.first, last: pool.last, unused, ends }
    }

    /// A lease of any pool has changed.
    pub fn change(&mut self, old: Option<&Lease>, new: &Lease) {
        if !(self.first..=self.last).contains(&new.address) {
            return;
        }
        match old {
            Some(old) => self.ends.remove(&(old.until, old.address)),
            None => self.unused.remove(&new.address),
        };
        self.ends.insert((new.until, new.address));
    }

    /// The ones that no client had, from a place of the range on, and around.
    pub fn unused_from(&self, start: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> {
        self.unused.range(start..).chain(self.unused.range(..start)).copied()
    }

    /// The ones whose lease has ended, the earliest first.
    pub fn ended(&self, now: u64) -> impl Iterator<Item = Ipv4Addr> {
        self.ends.range(..=(now, Ipv4Addr::BROADCAST)).map(|(_, address)| *address)
    }

    /// When the next lease ends.
    pub fn next_end(&self, now: u64) -> Option<u64> {
        self.ends.range((now.saturating_add(1), Ipv4Addr::UNSPECIFIED)..).next().map(|(until, _)| *until)
    }
}
