//! Asks for an address on one link, by DHCP and from IPv6 routers, and sets it.

mod autoconf;
mod conflict;
pub mod datagram;
mod dhcpv4;
mod dhcpv6;
mod offer;
mod six;
mod socket;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::address::{self, AddressFailed};
use super::host::Host;
use super::lease::Lease;
use super::links::{Link, Netlink};
use super::once::Once;
use super::random::Random;
use conflict::Detection;
use dhcpv4::{Action, Client};
use six::Six;
use socket::Sockets;

#[derive(Default)]
pub struct Asker {
    dhcp: Option<(Sockets, Client)>,
    six: Option<Six>,
    watch: Option<Detection>,
    lease: Option<Lease>,
    once: Once,
}

/// A change of the link's address.
pub enum News {
    /// The link has the lease that [`Asker::lease`] returns.
    Got {
        before: Option<Lease>,
    },
    Lost(Lease),
}

impl Asker {
    /// Asks for addresses that may lead to the server: those of its family.
    pub fn start(link: &Link, server: Option<&Host>, now: Instant) -> Self {
        let may_lead = |family| server.is_none_or(|server| server.may_be(family));
        let mut asker = Self::default();
        if may_lead(IpAddr::is_ipv4) {
            asker.ask_dhcp(link, server.and_then(Host::address), now);
        }
        if may_lead(IpAddr::is_ipv6) {
            asker.ask_routers(link, now);
        }
        asker
    }

    /// The kernel arguments give the address, so no server is asked.
    pub fn fixed(netlink: &mut Netlink, link: &Link, lease: Lease) -> Result<Self, AddressFailed> {
        address::set(netlink, link, &lease, true)?;
        Ok(Self { lease: Some(lease), ..Self::default() })
    }

    fn ask_dhcp(&mut self, link: &Link, server: Option<IpAddr>, now: Instant) {
        match Sockets::open(link) {
            Ok(sockets) => self.dhcp = Some((sockets, Client::new(link.mac.0, server, Random::of(link.mac), now))),
            Err(error) => self.once.warn(format!("cannot open a DHCP socket on {link}: {error}")),
        }
    }

    fn ask_routers(&mut self, link: &Link, now: Instant) {
        address::allow_ipv6(link, true);
        match Six::open(link, now) {
            Ok(six) => self.six = Some(six),
            Err(error) => log::debug!("cannot listen to IPv6 routers on {link}: {error}"), // the kernel may not have IPv6
        }
    }

    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Why the answers of DHCP servers have not led to an address, if any came.
    pub fn unusable(&self) -> Option<&str> {
        let (_, client) = self.dhcp.as_ref().filter(|_| self.lease.is_none())?;
        client.unusable()
    }

    pub fn carrier_returned(&mut self, now: Instant) {
        if let Some((_, client)) = &mut self.dhcp {
            client.carrier_returned(now);
        }
    }

    /// Reads what has arrived, and does what is due. `is_used` means that the machine uses this link.
    ///
    /// # Errors
    /// An address cannot be set.
    pub fn turn(&mut self, netlink: &mut Netlink, link: &Link, is_used: bool, now: Instant) -> Result<Vec<News>, AddressFailed> {
        let (mut news, mut is_used) = (Vec::new(), is_used);
        for action in self.hear_dhcp(link, now) {
            match action {
                Action::Send { packet, to } => self.send(link, &packet, to),
                Action::Probe(address) => self.watch(link, address, now),
                Action::Configure(lease) => news.push(self.set(netlink, link, lease, is_used)?),
                Action::Say(line) => self.once.warn(format!("{link}: {line}")),
                Action::Withdraw(lease) => {
                    self.withdraw(netlink, link);
                    news.push(News::Lost(lease));
                    is_used = false;
                }
            }
        }
        news.extend(self.hear_routers(netlink, link, is_used, now)?);
        Ok(news)
    }

    fn hear_dhcp(&mut self, link: &Link, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some((sockets, client)) = &mut self.dhcp else { return actions };
        if let Some(owner) = self.watch.as_mut().and_then(|watch| watch.turn(now)) {
            log::warn!(
                "{link}: {owner} already has the address that DHCP gave; it is declined; is a static address in the server's range?"
            );
            actions.extend(client.taken(now));
            self.watch = None;
        }
        self.watch = self.watch.take().filter(|watch| !watch.is_over(now));
        for heard in sockets.receive() {
            match heard {
                Ok(answer) => actions.extend(client.receive(&answer, now)),
                Err(why) => actions.push(client.unreadable(why)),
            }
        }
        actions.extend(client.tick(now));
        actions
    }

    fn send(&mut self, link: &Link, packet: &dhcp::v4::Packet, to: Ipv4Addr) {
        if let Some((sockets, _)) = &self.dhcp
            && let Err(error) = sockets.send(packet, to)
        {
            self.once.warn(format!("cannot send to {to} on {link}: {error}"));
        }
    }

    fn watch(&mut self, link: &Link, address: Ipv4Addr, now: Instant) {
        match Detection::start(link, address, now) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => self.once.warn(format!("cannot ask on {link} whether another host has {address}: {error}")),
        }
    }

    /// Uses the routers' settings for the link, unless DHCPv4 has given an address.
    fn hear_routers(
        &mut self,
        netlink: &mut Netlink,
        link: &Link,
        is_used: bool,
        now: Instant,
    ) -> Result<Option<News>, AddressFailed> {
        let Some(six) = &mut self.six else { return Ok(None) };
        let is_renewed = six.turn(link, now);
        if self.lease.as_ref().is_some_and(|lease| lease.address.is_ipv4()) {
            return Ok(None);
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let routes = read(autoconf::ROUTES);
        let made = autoconf::lease(&read(autoconf::ADDRESSES), &routes, link.index, &link.name);
        match (six.complete(made, autoconf::router(&routes, &link.name)), self.lease.clone()) {
            (Some(lease), old) if is_renewed || old.as_ref() != Some(&lease) => self.set(netlink, link, lease, is_used).map(Some),
            (None, Some(old)) => {
                self.withdraw(netlink, link);
                Ok(Some(News::Lost(old)))
            }
            _ => Ok(None),
        }
    }

    fn set(&mut self, netlink: &mut Netlink, link: &Link, lease: Lease, is_used: bool) -> Result<News, AddressFailed> {
        address::set(netlink, link, &lease, is_used)?;
        Ok(News::Got { before: self.lease.replace(lease) })
    }

    /// The lease does not lead to the server: asks another DHCP server for one, and returns the old one. `None` if no other
    /// DHCP server is known.
    pub fn leave_server(&mut self, netlink: &mut Netlink, link: &Link, now: Instant) -> Option<Lease> {
        let (_, client) = self.dhcp.as_mut()?;
        let lease = client.leave_server(now)?;
        self.withdraw(netlink, link);
        Some(lease)
    }

    pub fn withdraw(&mut self, netlink: &mut Netlink, link: &Link) {
        if let Some(lease) = self.lease.take() {
            address::remove(netlink, link, &lease);
        }
    }

    /// Removes all addresses from the link, including those of the kernel.
    pub fn abandon(&mut self, netlink: &mut Netlink, link: &Link) {
        self.withdraw(netlink, link);
        if self.six.is_some() {
            address::allow_ipv6(link, false);
        }
    }

    pub fn due(&self) -> Option<Instant> {
        let dhcp = self.dhcp.as_ref().and_then(|(_, client)| client.due());
        let six = self.six.as_ref().and_then(Six::due);
        dhcp.into_iter().chain(six).chain(self.watch.as_ref().map(Detection::due)).min()
    }

    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let dhcp = self.dhcp.iter().flat_map(|(sockets, _)| sockets.readable());
        let watch = self.watch.as_ref().map(AsFd::as_fd);
        dhcp.chain(watch).chain(self.six.iter().flat_map(Six::readable))
    }
}
