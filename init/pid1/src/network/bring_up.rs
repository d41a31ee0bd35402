//! Links as they come and go: brought up, tagged, and given a port that asks once they have a carrier.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use cmdline::Vlan;
use machine::Milestone;

use super::apply::{self, AddressFailed};
use super::dhcp::Client;
use super::lease::Lease;
use super::link::{self, Link};
use super::port::Port;
use super::six::Six;
use super::{DARK, Network, random, socket};

impl Network {
    /// Reads the links afresh, sets them up, and lets those with a carrier ask.
    pub(super) fn look(&mut self) -> Result<(), AddressFailed> {
        let now = Instant::now();
        let mut links = link::scan(Path::new(link::SYSFS), &self.arguments);
        self.starting.leave_out(Path::new(link::SYSFS), &mut links, now);
        let before = std::mem::replace(&mut self.links, links);
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.listen_on(&self.links, link::exists);
        }
        for link in self.links.clone() {
            if self.is_bonded(&link, now) {
                continue;
            }
            if !link.up {
                if let Err(error) = self.netlink.set_up(link.index) {
                    self.tell_once(format!("cannot bring up {link}: {error}"));
                }
                continue; // the kernel reports the change, and we look again
            }
            let had_carrier = before.iter().any(|old| old.index == link.index && old.carrier && old.ups == link.ups);
            if link.carrier && !had_carrier {
                self.carrier_came(&link, now);
            }
            if link.carrier && !self.settled {
                let is_used = |index: &u32| self.bound == Some(*index);
                self.ports.retain(|index, port| !port.link.is_on(&link) || port.link.mac == link.mac || is_used(index)); // a bond's may change
                self.start(&link, now)?;
            }
        }
        self.forget_gone(now);
        Ok(())
    }

    fn carrier_came(&mut self, link: &Link, now: Instant) {
        log::info!("{link} has carrier");
        Milestone::Carrier.reached();
        let ports = self.ports.values_mut().filter(|port| port.link.is_on(link));
        ports.filter_map(|port| port.dhcp.as_mut()).for_each(|(_, client)| client.carrier_returned(now));
    }

    fn forget_gone(&mut self, now: Instant) {
        let links = &self.links;
        let below = |port: &Port| links.iter().find(|link| port.link.is_on(link));
        let bound = self.bound.and_then(|index| self.ports.get(&index));
        let gone = bound.is_some_and(|port| below(port).is_none());
        let lit = bound.is_none_or(|port| below(port).is_some_and(|link| link.carrier));
        let another = links.iter().any(|link| link.carrier);
        self.dark_since = if lit { None } else { self.dark_since.or(Some(now)) };
        let too_long = self.dark_since.is_some_and(|since| now >= since + DARK) && another;
        if gone || too_long {
            let name = bound.map(|port| port.link.to_string()).unwrap_or_default();
            log::warn!("{name} {}", if gone { "has gone" } else { "has had no carrier for too long" });
            if let Some(index) = self.bound.filter(|_| too_long) {
                self.abandon(index);
            }
            self.ports.retain(|index, _| self.bound != Some(*index));
            self.unbind(now);
        }
        let links = &self.links;
        let bound = self.bound;
        // A link without carrier does not take part in the choice.
        self.ports.retain(|index, port| {
            let link = links.iter().find(|link| port.link.is_on(link));
            link.is_some_and(|link| link.carrier || bound == Some(*index))
        });
    }

    fn start(&mut self, parent: &Link, now: Instant) -> Result<(), AddressFailed> {
        let link = match self.tag(parent).map(|id| self.tagged(parent, id)) {
            None => parent.clone(),
            Some(Some(link)) => link,
            Some(None) => return Ok(()),
        };
        if self.ports.contains_key(&link.index) {
            return Ok(());
        }
        let rank = link::rank(parent, &self.arguments);
        if let Some(ipam) = &self.arguments.ipam {
            return if ipam.mac == parent.mac { self.fixed(link, rank, Lease::from_ipam(ipam), now) } else { Ok(()) };
        }
        if let Some(ip) = &self.arguments.ip {
            let meant = |device: &String| self.is_meant(device, parent) || link.name == *device || device.starts_with("vlan");
            if !ip.device.as_ref().is_none_or(meant) {
                return Ok(());
            }
            if let Some(lease) = Lease::from_ip(ip) {
                return self.fixed(link, rank, lease, now);
            }
        }
        // An address of the other family leads nowhere.
        let may_lead = |family| self.target.as_ref().is_none_or(|target| target.host.may_be(family));
        let (four, six) = (may_lead(IpAddr::is_ipv4), may_lead(IpAddr::is_ipv6));
        let dhcp = if four { self.dhcp(&link, now) } else { None };
        let six = if six { self.six(&link, now) } else { None };
        self.ports.insert(link.index, Port::new(link, rank, dhcp).with_six(six));
        Ok(())
    }

    fn dhcp(&mut self, link: &Link, now: Instant) -> Option<(UdpSocket, Client)> {
        match socket::open(&link.name) {
            Ok(socket) => {
                let target = self.target.as_ref().and_then(|target| target.host.address());
                Some((socket, Client::new(link.mac.0, target, random::seed(), now)))
            }
            Err(error) => {
                self.tell_once(format!("cannot open a DHCP socket on {link}: {error}"));
                None
            }
        }
    }

    fn six(&mut self, link: &Link, now: Instant) -> Option<Six> {
        apply::allow_ipv6(link, true);
        let opened = Six::open(link, now);
        opened.inspect_err(|error| log::debug!("cannot listen to IPv6 routers on {link}: {error}")).ok() // or no IPv6 at all
    }

    /// Somebody has decided already: no choice, no probe.
    fn fixed(&mut self, link: Link, rank: super::choice::Rank, lease: Lease, now: Instant) -> Result<(), AddressFailed> {
        let index = link.index;
        apply::address(&mut self.netlink, &link, &lease, true)?;
        let mut port = Port::new(link, rank, None);
        port.got(lease, None, now);
        self.ports.insert(index, port);
        self.first_lease.get_or_insert(now);
        self.decide(now)
    }

    pub(super) fn tag(&self, parent: &Link) -> Option<u16> {
        let of_ipam = self.arguments.ipam.as_ref().and_then(|ipam| ipam.vlan);
        let meant = |vlan: &&Vlan| vlan.device.as_ref().is_none_or(|device| self.is_meant(device, parent));
        let of_vlan = self.arguments.vlan.as_ref().filter(meant).map(|vlan| vlan.id);
        of_ipam.or(self.arguments.vlan_id).or(of_vlan)
    }

    /// The VLAN interface above `parent`, made if need be. Kernel events bring us back until it is up.
    fn tagged(&mut self, parent: &Link, id: u16) -> Option<Link> {
        let name = link::vlan_name(parent, id);
        let read = || Some(Link::read(Path::new(link::SYSFS), &name)?.above(parent));
        if read().is_none()
            && let Err(error) = self.netlink.add_vlan(&name, parent.index, id)
        {
            self.obstacle = Some(format!("VLAN {id} on {parent}: {error}. Is the module 8021q in the ramdisk?"));
            return None;
        }
        self.obstacle = None;
        let link = read()?;
        if !link.up
            && let Err(error) = self.netlink.set_up(link.index)
        {
            self.tell_once(format!("cannot bring up {link}: {error}"));
        }
        read().filter(|link| link.up && link.carrier)
    }
}
