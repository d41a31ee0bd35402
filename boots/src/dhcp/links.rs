//! The interfaces of this host by their index: names and IPv4 addresses. They are read again from time to time, because
//! interfaces and addresses come and go.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use super::network::{Link, Subnet};

/// ARPHRD_ETHER.
const ETHERNET: u16 = 1;
const TRUST: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    links: HashMap<u32, Arc<Link>>,
}

impl Links {
    /// The link with this index, as it was at most two seconds ago. An unknown index has a link without addresses.
    pub fn at(&self, index: u32, now: Instant) -> Arc<Link> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.read.is_none_or(|read| now.duration_since(read) >= TRUST) {
            known.read = Some(now);
            match read() {
                Ok(links) => known.links = links,
                Err(error) => log::warn!("DHCP: cannot read the addresses of this host: {}", Chain(&error)),
            }
        }
        known.links.get(&index).cloned().unwrap_or_default()
    }

    /// Whether this host has the address, as of the last look.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.links.values().any(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }
}

fn read() -> nix::Result<HashMap<u32, Arc<Link>>> {
    let mut links: HashMap<String, Link> = HashMap::new();
    for found in getifaddrs()? {
        let v4 = |address: Option<nix::sys::socket::SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
        let link = links.entry(found.interface_name.clone()).or_default();
        link.name.clone_from(&found.interface_name);
        if let Some(hardware) = found.address.as_ref().and_then(|address| address.as_link_addr()) {
            link.ethernet = Some(*hardware).filter(|hardware| hardware.hatype() == ETHERNET && hardware.halen() == 6);
        }
        if let Some(address) = v4(found.address) {
            let mask = v4(found.netmask).unwrap_or(Ipv4Addr::BROADCAST);
            link.addresses.push((address, Subnet::with_mask(address, mask)));
        }
    }
    let indexed = links.into_values().filter_map(|link| Some((if_nametoindex(link.name.as_str()).ok()?, Arc::new(link))));
    Ok(indexed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_name_and_network() {
        let links = Links::default();
        let link = links.at(if_nametoindex("lo").unwrap(), Instant::now());
        assert_eq!(link.name, "lo");
        let network = Subnet::of(Ipv4Addr::LOCALHOST, 8);
        assert!(link.addresses.contains(&(Ipv4Addr::LOCALHOST, network)), "{link:?}");
        assert!(links.has(Ipv4Addr::LOCALHOST));
        assert_eq!(*links.at(u32::MAX, Instant::now()), Link::default());
    }
}
