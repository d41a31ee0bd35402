//! The kernel's table of IPv6 neighbours. A host that made itself a random address has spoken to this one before it sends it a
//! packet, so the table has its MAC.
//!
//! It counts for what boots and for the history, and not for metadata. IPv4 has no part in it: an old entry would keep an address of
//! a pool from its next client.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use nix::libc::{AF_INET6, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTM_GETNEIGH, RTM_NEWNEIGH};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::machine::Addresses;

/// How long a table is used for addresses that it does not have. An address that it has belongs to its host for longer.
const FRESH: Duration = Duration::from_millis(500);
/// A table has its next entries within this time, or is given up.
const PATIENCE_MS: i64 = 200;
/// More neighbours than a host has.
const MOST: usize = 65_536;
/// The header of a message, and what it says of a neighbour before its attributes (`struct nlmsghdr`, `struct ndmsg`).
const HEADER: usize = 16;
const NEIGHBOUR: usize = 12;
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
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MS))?;
    sendto(socket.as_raw_fd(), &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let (mut macs, mut buffer) = (HashMap::new(), vec![0; 32 * 1024]);
    while macs.len() < MOST {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if length == 0 || !take(buffer.get(..length).unwrap_or_default(), &mut macs) {
            break;
        }
    }
    Ok(macs)
}

fn request() -> Vec<u8> {
    let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap_or(0);
    let length = u32::try_from(HEADER + NEIGHBOUR).unwrap_or(0);
    let family = u8::try_from(AF_INET6).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(RTM_GETNEIGH.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, family]);
    bytes.resize(HEADER + NEIGHBOUR, 0);
    bytes
}

/// Adds the neighbours of some messages. Whether more follow.
fn take(mut bytes: &[u8], macs: &mut HashMap<Ipv6Addr, Mac>) -> bool {
    while let Some((length, kind)) = word(bytes, 0).zip(half(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(HEADER..length) else { return false };
        match i32::from(kind) {
            NLMSG_DONE | NLMSG_ERROR => return false,
            _ if kind == RTM_NEWNEIGH => {
                let found = neighbour(message.get(NEIGHBOUR..).unwrap_or_default());
                macs.extend(found.filter(|_| macs.len() < MOST));
            }
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    true
}

/// From its attributes.
fn neighbour(mut bytes: &[u8]) -> Option<(Ipv6Addr, Mac)> {
    let (mut address, mut mac) = (None, None);
    while let Some((length, kind)) = half(bytes, 0).zip(half(bytes, 2)) {
        let length = usize::from(length);
        let value = bytes.get(4..length)?;
        match kind {
            DESTINATION => address = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            LINK_LAYER => mac = <[u8; 6]>::try_from(value).ok().map(Mac::new),
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    address.zip(mac)
}

const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + NEIGHBOUR];
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len()).unwrap();
            bytes.extend([&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat());
            bytes.resize(aligned(bytes.len()), 0);
        }
        let length = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
        bytes[..4].copy_from_slice(&length);
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes
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
            assert_eq!((take(&bytes, &mut macs), macs.len()), (more, count), "{case}");
            assert!(macs.iter().all(|found| found == (&address, &Mac::new(mac))));
        }
    }

    #[test]
    fn the_table_of_this_host_can_be_read() {
        read().unwrap();
    }
}
