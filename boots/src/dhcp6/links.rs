//! The interfaces of this host by their index, with their MACs and IPv6 addresses. They are read again from time to time, because
//! interfaces and addresses come and go.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::machine::Chain;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use super::network::Subnet;

const TRUST: Duration = Duration::from_secs(2);

/// An interface that can carry multicast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub mac: Option<[u8; 6]>,
    /// Each with the network that it is in.
    pub addresses: Vec<(Ipv6Addr, Subnet)>,
}

impl Link {
    /// The address of this host that a machine with this address can reach: of its network if there is one.
    #[must_use]
    pub fn own(&self, machine: Option<Ipv6Addr>) -> Option<Ipv6Addr> {
        let is_near = |subnet: &Subnet| machine.is_some_and(|machine| subnet.contains(machine));
        let usable = || self.addresses.iter().filter(|(address, _)| is_reachable(*address));
        let near = usable().find(|(_, subnet)| is_near(subnet)).or_else(|| usable().next());
        near.map(|(address, _)| *address)
    }
}

/// It works in a URL, which cannot name an interface.
#[must_use]
pub fn is_reachable(address: Ipv6Addr) -> bool {
    !(address.is_unicast_link_local() || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

#[derive(Debug, Default)]
pub struct Links {
    read: Option<Instant>,
    links: HashMap<u32, Arc<Link>>,
}

impl Links {
    /// All links, as they were at most two seconds ago.
    pub fn now(&mut self, now: Instant) -> &HashMap<u32, Arc<Link>> {
        if self.read.is_none_or(|read| now.duration_since(read) >= TRUST) {
            self.read = Some(now);
            match read() {
                Ok(links) => self.links = links,
                Err(error) => log::warn!("IPv6: cannot read the addresses of this host: {}", Chain(&error)),
            }
        }
        &self.links
    }

    /// The address of this host on the network of a machine.
    pub fn toward(&mut self, machine: Ipv6Addr, now: Instant) -> Option<Ipv6Addr> {
        let mut addresses = self.now(now).values().flat_map(|link| &link.addresses);
        let is_near = |(address, subnet): &&(Ipv6Addr, Subnet)| is_reachable(*address) && subnet.contains(machine);
        addresses.find(is_near).map(|(address, _)| *address)
    }
}

fn read() -> nix::Result<HashMap<u32, Arc<Link>>> {
    let mut links: HashMap<String, Link> = HashMap::new();
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
    for found in getifaddrs()? {
        if !found.flags.contains(wanted) || found.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let link = links.entry(found.interface_name.clone()).or_default();
        link.name.clone_from(&found.interface_name);
        let Some(address) = found.address else { continue };
        if let Some(mac) = address.as_link_addr().and_then(|address| address.addr()) {
            link.mac = Some(mac);
        }
        if let Some(address) = address.as_sockaddr_in6().map(|address| address.ip()) {
            let mask = found.netmask.and_then(|mask| Some(mask.as_sockaddr_in6()?.ip().to_bits().leading_ones()));
            let length = mask.and_then(|length| u8::try_from(length).ok()).unwrap_or(128);
            link.addresses.push((address, Subnet::of(address, length)));
        }
    }
    let indexed = links.into_values().filter_map(|link| Some((if_nametoindex(link.name.as_str()).ok()?, Arc::new(link))));
    Ok(indexed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_machine_s_own_network_comes_first() {
        let address = |text: &str| {
            let address: Ipv6Addr = text.parse().unwrap();
            (address, Subnet::of(address, 64))
        };
        let link = Link { addresses: ["fe80::1", "fd00:1::1", "fd00:2::1"].map(address).to_vec(), ..Link::default() };
        for (machine, own) in [(Some("fd00:2::9"), "fd00:2::1"), (Some("fd00:3::9"), "fd00:1::1"), (None, "fd00:1::1")] {
            assert_eq!(link.own(machine.map(|text| text.parse().unwrap())), Some(own.parse().unwrap()), "{machine:?}");
        }
        assert_eq!(Link { addresses: vec![address("fe80::1")], ..Link::default() }.own(None), None);
    }
}
