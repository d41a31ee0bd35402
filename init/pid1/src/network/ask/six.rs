//! IPv6 on one link, as far as the kernel does not handle it: names in router advertisements, and DHCPv6.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{BindToDevice, Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, recvfrom, sendto, setsockopt, socket,
};
use rustix::net::sockopt::set_ipv6_multicast_hops;

use super::dhcpv6::{Client, Granted, Mode};
use crate::network::host::Host;
use crate::network::lease::Lease;
use crate::network::links::Link;
use crate::network::random::Random;
use dhcp::router::{self, Advertisement};
use dhcp::v6;
use machine::network::domain_name_fault;

/// From RFC 4861, 6.3.7. The kernel solicits, too, but not again after this process was restarted.
const SOLICITATIONS: u8 = 3;
const BETWEEN_SOLICITATIONS: Duration = Duration::from_secs(4);
/// Larger than any frame, because messages do not come in fragments.
const BUFFER: usize = 2048;
/// The link-local address is not usable until the kernel has checked that no other host has it.
const TRY_AGAIN: Duration = Duration::from_millis(200);

pub struct Six {
    routers: OwnedFd,
    heard: Option<Advertisement>,
    solicited: u8,
    next_solicitation: Instant,
    dhcp: Option<(UdpSocket, Client)>,
    blocked_until: Option<Instant>,
}

impl Six {
    pub fn open(link: &Link, now: Instant) -> io::Result<Self> {
        let routers = open(link, SockType::Raw, Some(SockProtocol::IcmpV6))?;
        set_ipv6_multicast_hops(&routers, router::HOPS)?;
        Ok(Self { routers, heard: None, solicited: 0, next_solicitation: now + TRY_AGAIN, dhcp: None, blocked_until: None })
    }

    /// Returns true if the result of [`Self::complete`] may have changed, or its times start now.
    pub fn turn(&mut self, link: &Link, now: Instant) -> bool {
        let heard = self.hear_routers();
        self.solicit(link, now);
        let wanted = self.heard.as_ref().and_then(mode);
        if wanted != self.dhcp.as_ref().map(|(_, client)| client.mode) {
            self.dhcp = wanted.and_then(|mode| client(link, mode, now));
        }
        self.serve(link, now) || heard
    }

    fn hear_routers(&mut self) -> bool {
        let mut buffer = [0; BUFFER];
        let mut news = false;
        while let Ok((length, from)) = recvfrom::<SockaddrIn6>(self.routers.as_raw_fd(), &mut buffer) {
            let is_near = from.is_some_and(|from| from.ip().is_unicast_link_local()); // routers do not forward packets from such an address
            let found = buffer.get(..length).filter(|_| is_near).and_then(Advertisement::decode);
            if found.is_some() && found != self.heard {
                (self.heard, news) = (found, true);
            }
        }
        news
    }

    fn solicit(&mut self, link: &Link, now: Instant) {
        if self.heard.is_some() || self.solicited >= SOLICITATIONS || now < self.next_solicitation {
            return;
        }
        if !has_address(link) {
            self.next_solicitation = now + TRY_AGAIN; // routers do not always answer a solicitation without a source address
            return;
        }
        let to = SockaddrIn6::from(SocketAddrV6::new(router::ALL_ROUTERS, 0, 0, link.index));
        match sendto(self.routers.as_raw_fd(), &router::SOLICITATION, &to, MsgFlags::empty()) {
            Ok(_) => (self.solicited, self.next_solicitation) = (self.solicited + 1, now + BETWEEN_SOLICITATIONS),
            Err(_) => self.next_solicitation = now + TRY_AGAIN,
        }
    }

    fn serve(&mut self, link: &Link, now: Instant) -> bool {
        let Some((socket, client)) = &mut self.dhcp else { return false };
        let (mut buffer, mut news) = ([0; BUFFER], false);
        while let Ok(length) = socket.recv(&mut buffer) {
            news |= buffer.get(..length).is_some_and(|message| client.receive(message, now));
        }
        if self.blocked_until.is_some_and(|until| now < until) || now < client.due() {
            return news;
        }
        let had = client.granted().is_some();
        if !has_address(link) {
            self.blocked_until = Some(now + TRY_AGAIN);
            return news;
        }
        self.blocked_until = None;
        if let Some(message) = client.tick(now)
            && let Err(error) = socket.send_to(&message, SocketAddrV6::new(v6::ALL_SERVERS, v6::SERVER_PORT, 0, link.index))
        {
            log::debug!("cannot send to DHCPv6 servers on {link}: {error}"); // it is sent again, like a lost message
        }
        news || had != client.granted().is_some()
    }

    fn granted(&self) -> Option<&Granted> {
        self.dhcp.as_ref().and_then(|(_, client)| client.granted())
    }

    /// The kernel's address with its names, or DHCPv6's address behind the kernel's router.
    pub fn complete(&self, made: Option<Lease>, gateway: Option<Ipv6Addr>) -> Option<Lease> {
        let granted = self.granted();
        let assigned_address = granted.and_then(|granted| granted.address).map(IpAddr::V6);
        let made = made.filter(|made| Some(made.address) != assigned_address); // the kernel also lists the address that was set for DHCPv6
        let assigned = || {
            let granted = granted?;
            Some(Lease::from_dhcpv6(granted.address?, granted.times, gateway))
        };
        let mut lease = made.or_else(assigned)?;
        let servers = self.heard.iter().flat_map(|heard| &heard.dns).chain(granted.iter().flat_map(|granted| &granted.dns));
        lease.dns = distinct(servers.copied().map(IpAddr::V6));
        let search = self.heard.iter().flat_map(|heard| &heard.search);
        let search = search.chain(granted.iter().flat_map(|granted| &granted.search));
        lease.search = distinct(search.filter(|name| domain_name_fault(name).is_none()).cloned());
        lease.ntp = granted.iter().flat_map(|granted| &granted.ntp).map(|server| Host::Address((*server).into())).collect();
        Some(lease)
    }

    pub fn due(&self) -> Option<Instant> {
        let solicitation = (self.heard.is_none() && self.solicited < SOLICITATIONS).then_some(self.next_solicitation);
        let dhcp = self.dhcp.as_ref().map(|(_, client)| self.blocked_until.unwrap_or_else(|| client.due()));
        solicitation.into_iter().chain(dhcp).min()
    }

    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.routers.as_fd()].into_iter().chain(self.dhcp.as_ref().map(|(socket, _)| socket.as_fd()))
    }
}

/// If the kernel makes an address itself, an assigned one adds nothing.
fn mode(heard: &Advertisement) -> Option<Mode> {
    match (heard.managed, heard.autonomous, heard.other) {
        (true, false, _) => Some(Mode::Stateful),
        (true, true, _) | (false, _, true) => Some(Mode::Stateless),
        (false, _, false) => None,
    }
}

fn client(link: &Link, mode: Mode, now: Instant) -> Option<(UdpSocket, Client)> {
    let opened = open(link, SockType::Datagram, None).and_then(|socket| {
        setsockopt(&socket, Ipv6V6Only, &true)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, v6::CLIENT_PORT, 0, 0)))?;
        Ok(UdpSocket::from(socket))
    });
    match opened {
        Ok(socket) => Some((socket, Client::new(mode, link.mac.0, Random::of(link.mac), now))),
        Err(error) => {
            log::warn!("cannot open a DHCPv6 socket on {link}: {error}");
            None
        }
    }
}

fn open(link: &Link, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet6, kind, flags, protocol)?;
    setsockopt(&socket, BindToDevice, &link.name.as_str().into())?;
    Ok(socket)
}

fn has_address(link: &Link) -> bool {
    super::autoconf::has_link_local(&std::fs::read_to_string(super::autoconf::ADDRESSES).unwrap_or_default(), link.index)
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut found, one| {
        if !found.contains(&one) {
            found.push(one);
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_decide_what_to_ask_for() {
        for (managed, autonomous, other, expected) in [
            (false, true, false, None),
            (false, true, true, Some(Mode::Stateless)),
            (true, false, false, Some(Mode::Stateful)),
            (true, false, true, Some(Mode::Stateful)),
            (true, true, true, Some(Mode::Stateless)),
            (false, false, false, None),
        ] {
            let heard = Advertisement { managed, autonomous, other, ..Advertisement::default() };
            assert_eq!(mode(&heard), expected, "{heard:?}");
        }
    }

    #[test]
    fn a_name_that_occurs_twice_counts_once() {
        assert_eq!(distinct([1, 2, 1].into_iter()), [1, 2]);
    }
}
