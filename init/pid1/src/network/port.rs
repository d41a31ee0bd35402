//! One link that asks for addresses, and what it has been given so far.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::choice::{Candidate, Rank, Reach};
use super::conflict::Watch;
use super::dhcp::Client;
use super::host::Host;
use super::lease::Lease;
use super::link::Link;
use super::lookup::{Found, Lookup, Resolver};
use super::probe::{Probe, Target};
use super::six::Six;

/// A server that was silent or refused is tried again while nothing better is known.
const TRY_AGAIN: Duration = Duration::from_secs(3);
const TENTATIVE: Duration = Duration::from_millis(250);

pub struct Port {
    pub link: Link,
    pub rank: Rank,
    pub dhcp: Option<(UdpSocket, Client)>,
    pub six: Option<Six>,
    pub watch: Option<Watch>,
    pub lease: Option<Lease>,
    reach: Reach,
    attempt: Option<Attempt>,
    next_attempt: Option<Instant>,
}

/// On the way to the server.
enum Attempt {
    Name(Box<Lookup>),
    Address(Probe),
}

/// What is known by now of the way to the server.
pub enum Looked {
    NothingNew,
    /// It does not answer here; its name is not known here, for the reason given.
    Nowhere(Option<String>),
}

impl Port {
    pub fn new(link: Link, rank: Rank, dhcp: Option<(UdpSocket, Client)>) -> Self {
        Self { link, rank, dhcp, six: None, watch: None, lease: None, reach: Reach::NoAddress, attempt: None, next_attempt: None }
    }

    pub fn with_six(self, six: Option<Six>) -> Self {
        Self { six, ..self }
    }

    pub fn got(&mut self, lease: Lease, target: Option<&Target>, now: Instant) {
        let is_named = target.is_some_and(|target| target.host.address().is_none());
        let is_known =
            |old: &Lease| old.address == lease.address && (!is_named || (&old.dns, &old.search) == (&lease.dns, &lease.search));
        let is_new = !self.lease.as_ref().is_some_and(is_known);
        if lease.is_link_local() {
            self.rank = Rank::Bmc;
        }
        self.lease = Some(lease);
        if is_new {
            self.reach = if target.is_some() { Reach::Trying } else { Reach::NotAsked };
            (self.attempt, self.next_attempt) = (None, target.map(|_| now));
        }
    }

    pub fn lost(&mut self) {
        (self.lease, self.attempt, self.next_attempt, self.reach) = (None, None, None, Reach::NoAddress);
    }

    pub fn candidate(&self) -> Candidate {
        Candidate { rank: self.rank, reach: self.reach }
    }

    /// Looks the server up, knocks at its door, and hears what comes of it.
    pub fn look_for(&mut self, target: Option<&Target>, now: Instant) -> Looked {
        let Some(target) = target else { return Looked::NothingNew };
        if self.attempt.is_none() && self.next_attempt.is_some_and(|due| now >= due) {
            let begun = match &target.host {
                Host::Address(address) => self.knock(*address, target.port, now),
                Host::Name(name) => self.look_up(name, now),
            };
            if let Err(error) = begun {
                return self.could_not_begin(&error, target, now);
            }
        }
        if let Some(Attempt::Name(lookup)) = &mut self.attempt {
            match lookup.turn(now) {
                Found::NothingYet => return Looked::NothingNew,
                Found::Nothing(why) => return self.tried(Reach::Silent, Some(why), now),
                Found::Address(address) => {
                    if let Err(error) = self.knock(address, target.port, now) {
                        return self.could_not_begin(&error, target, now);
                    }
                }
            }
        }
        let result = if let Some(Attempt::Address(probe)) = &self.attempt { probe.result(now) } else { Reach::Trying };
        if result == Reach::Trying { Looked::NothingNew } else { self.tried(result, None, now) }
    }

    fn knock(&mut self, address: IpAddr, port: u16, now: Instant) -> io::Result<()> {
        let Some(lease) = &self.lease else { return Ok(()) };
        self.attempt = Some(Attempt::Address(Probe::start(&self.link.name, lease.address, SocketAddr::new(address, port), now)?));
        Ok(())
    }

    fn look_up(&mut self, name: &str, now: Instant) -> io::Result<()> {
        let Some(lease) = &self.lease else { return Ok(()) };
        self.attempt = Some(Attempt::Name(Box::new(Resolver::of(&self.link, lease).look_up(name, now)?)));
        Ok(())
    }

    fn could_not_begin(&mut self, error: &io::Error, target: &Target, now: Instant) -> Looked {
        let is_six = self.lease.as_ref().is_some_and(|lease| lease.address.is_ipv6());
        if error.kind() == ErrorKind::AddrNotAvailable && is_six {
            // The kernel still asks whether somebody else has it.
            (self.attempt, self.next_attempt) = (None, Some(now + TENTATIVE));
            return Looked::NothingNew;
        }
        log::debug!("{}: no way to {target}: {error}", self.link);
        let why = target.host.address().is_none().then(|| error.to_string());
        self.tried(Reach::Silent, why, now)
    }

    fn tried(&mut self, reach: Reach, why: Option<String>, now: Instant) -> Looked {
        (self.attempt, self.reach) = (None, reach);
        self.next_attempt = (reach != Reach::Open).then_some(now + TRY_AGAIN);
        if reach == Reach::Silent { Looked::Nowhere(why) } else { Looked::NothingNew }
    }

    /// Enough is known: the machine uses this link.
    pub fn stop_looking(&mut self) {
        (self.attempt, self.next_attempt) = (None, None);
    }

    pub fn due(&self) -> Option<Instant> {
        let dhcp = self.dhcp.as_ref().and_then(|(_, client)| client.due());
        let attempt = self.attempt.as_ref().map_or(self.next_attempt, |attempt| Some(attempt.due()));
        dhcp.into_iter()
            .chain(attempt)
            .chain(self.six.as_ref().and_then(Six::due))
            .chain(self.watch.as_ref().map(Watch::due))
            .min()
    }

    /// What to wait on: what can be read, and what can be written when it is decided.
    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let dhcp = self.dhcp.as_ref().map(|(socket, _)| socket.as_fd());
        let watch = self.watch.as_ref().map(AsFd::as_fd);
        let name = if let Some(Attempt::Name(lookup)) = &self.attempt { lookup.fd() } else { None };
        dhcp.into_iter().chain(watch).chain(name).chain(self.six.iter().flat_map(Six::readable))
    }

    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        if let Some(Attempt::Address(probe)) = &self.attempt { Some(probe.as_fd()) } else { None }
    }
}

impl Attempt {
    fn due(&self) -> Instant {
        match self {
            Self::Name(lookup) => lookup.due(),
            Self::Address(probe) => probe.until,
        }
    }
}
