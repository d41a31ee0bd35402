//! The kernel's table of IPv6 neighbours. A host that made itself a random address has spoken to this one before it sends it a
//! packet, so the table has its MAC.
//!
//! It counts for what boots and for the history, and not for metadata. IPv4 has no part in it: an old entry would keep an address of
//! a pool from its next client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use nix::libc::{AF_INET6, RTM_GETNEIGH, RTM_NEWNEIGH};

use crate::machine::Addresses;
use crate::netlink;

/// How long a table is used for addresses that it does not have. An address that it has belongs to its host for longer.
const FRESH: Duration = Duration::from_millis(500);
/// More neighbours than a host has.
const MOST: usize = 65_536;
/// `struct ndmsg`.
const NEIGHBOURS: netlink::Table = netlink::Table { get: RTM_GETNEIGH, new: RTM_NEWNEIGH, family: AF_INET6, fixed: 12 };
/// `NDA_DST` and `NDA_LLADDR`.
const DESTINATION: u16 = 1;
const LINK_LAYER: u16 = 2;

#[derive(Debug, Default)]
pub struct Neighbours(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    read: Option<Instant>,
    macs: HashMap<Ipv6Addr, Mac>,
}

impl Addresses for Neighbours {
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        let IpAddr::V6(address) = address else { return None };
        if address.to_ipv4_mapped().is_some() || address.is_loopback() {
            return None;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if table.read.is_none_or(|read| now.duration_since(read) >= FRESH) {
            table.read = Some(now);
            match read() {
                Ok(macs) => table.macs = macs,
                Err(error) => log::debug!("the neighbours of this host cannot be read: {}", Chain(&error)),
            }
        }
        table.macs.get(&address).copied()
    }
}

fn read() -> io::Result<HashMap<Ipv6Addr, Mac>> {
    let mut macs = HashMap::new();
    NEIGHBOURS.read(|_, attributes| take(attributes, &mut macs))?;
    Ok(macs)
}

/// Whether there is room for more.
fn take(attributes: &[u8], macs: &mut HashMap<Ipv6Addr, Mac>) -> bool {
    macs.extend(neighbour(attributes));
    macs.len() < MOST
}

fn neighbour(attributes: &[u8]) -> Option<(Ipv6Addr, Mac)> {
    let (mut address, mut mac) = (None, None);
    for (kind, value) in netlink::attributes(attributes) {
        match kind {
            DESTINATION => address = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            LINK_LAYER => mac = <[u8; 6]>::try_from(value).ok().map(Mac::new),
            _ => {}
        }
    }
    address.zip(mac)
}

#[cfg(test)]
mod tests {
    use nix::libc::NLMSG_DONE;

    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        netlink::made::message(kind, &[0; 12], attributes)
    }

    #[test]
    fn neighbours_are_read_with_their_macs_and_nonsense_ends_the_table() {
        let address: Ipv6Addr = "fd00::9".parse().unwrap();
        let (octets, mac) = (address.octets(), [2, 0, 0, 0, 0, 9]);
        let known = message(RTM_NEWNEIGH, &[(DESTINATION, &octets), (3, &[1]), (LINK_LAYER, &mac)]);
        let failed = message(RTM_NEWNEIGH, &[(DESTINATION, &octets)]);
        let done = message(u16::try_from(NLMSG_DONE).unwrap(), &[]);
        for (case, bytes, count, more) in [
            ("one", known.clone(), 1, true),
            ("one that did not answer", failed.clone(), 0, true),
            ("the end", [&failed[..], &known, &done, &known].concat(), 1, false),
            ("cut off", known[..known.len() - 1].to_vec(), 0, false),
            ("a length of nothing", vec![0; 64], 0, false),
        ] {
            let mut macs = HashMap::new();
            let goes_on = NEIGHBOURS.take(&bytes, &mut |_, attributes| take(attributes, &mut macs));
            assert_eq!((goes_on, macs.len()), (more, count), "{case}");
            assert!(macs.iter().all(|found| found == (&address, &Mac::new(mac))));
        }
    }

    #[test]
    fn the_table_of_this_host_can_be_read() {
        read().unwrap();
    }
}
