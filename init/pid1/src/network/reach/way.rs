//! The way to a server over one link. It is tried until it is found. Each server of a site is as good as another.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::choice::{Candidate, Rank, Reach};
use super::lookup::{Found, Lookup, Resolver};
use super::probe::{Probe, Target};
use crate::network::host::Host;
use crate::network::lease::Lease;
use crate::network::links::Link;

/// The pause before a silent or refusing server is tried again, while no better link is known.
const TRY_AGAIN: Duration = Duration::from_secs(3);
const TENTATIVE: Duration = Duration::from_millis(250);

pub struct Way {
    rank: Rank,
    reach: Reach,
    /// Which server is tried next, and the best result of those before it.
    turn: usize,
    so_far: Reach,
    attempt: Option<Attempt>,
    next_attempt: Option<Instant>,
}

/// An attempt in progress.
enum Attempt {
    Name(Box<Lookup>),
    Address(Probe),
}

/// A change of the way to the server.
pub enum Looked {
    NothingNew,
    /// No server answers over this link. The reason, if any, is that a name is not known there.
    Nowhere(Option<String>),
}

impl Way {
    pub fn new(rank: Rank) -> Self {
        Self { rank, reach: Reach::NoAddress, turn: 0, so_far: Reach::Silent, attempt: None, next_attempt: None }
    }

    /// The link has a lease. A new address is tried at once. So are new name servers, if a server has a name.
    pub fn got(&mut self, before: Option<&Lease>, lease: &Lease, targets: &[Target], now: Instant) {
        let is_named = targets.iter().any(|target| target.host.address().is_none());
        let is_known =
            |old: &Lease| old.address == lease.address && (!is_named || (&old.dns, &old.search) == (&lease.dns, &lease.search));
        if lease.is_link_local() {
            self.rank = Rank::Bmc;
        }
        if !before.is_some_and(is_known) {
            self.reach = if targets.is_empty() { Reach::NotAsked } else { Reach::Trying };
            (self.attempt, self.next_attempt) = (None, targets.first().map(|_| now));
            (self.turn, self.so_far) = (0, Reach::Silent);
        }
    }

    pub fn lost(&mut self) {
        (self.attempt, self.next_attempt, self.reach) = (None, None, Reach::NoAddress);
    }

    pub fn candidate(&self) -> Candidate {
        Candidate { rank: self.rank, reach: self.reach }
    }

    /// Resolves the server, connects to it, and returns the result.
    pub fn look_for(&mut self, link: &Link, lease: Option<&Lease>, targets: &[Target], now: Instant) -> Looked {
        let (Some(lease), Some(target)) = (lease, targets.get(self.turn)) else { return Looked::NothingNew };
        let others = targets.len() - self.turn - 1;
        if self.attempt.is_none() && self.next_attempt.is_some_and(|due| now >= due) {
            let begun = match &target.host {
                Host::Address(address) => self.connect(link, lease, *address, target.port, now),
                Host::Name(name) => self.look_up(link, lease, name, now),
            };
            if let Err(error) = begun {
                return self.could_not_begin(&error, link, lease, (target, others), now);
            }
        }
        if let Some(Attempt::Name(lookup)) = &mut self.attempt {
            match lookup.turn(now) {
                Found::NothingYet => return Looked::NothingNew,
                Found::Nothing(why) => return self.tried(Reach::Silent, Some(why), others, now),
                Found::Address(address) => {
                    if let Err(error) = self.connect(link, lease, address, target.port, now) {
                        return self.could_not_begin(&error, link, lease, (target, others), now);
                    }
                }
            }
        }
        let result = if let Some(Attempt::Address(probe)) = &self.attempt { probe.result(now) } else { Reach::Trying };
        if result == Reach::Trying { Looked::NothingNew } else { self.tried(result, None, others, now) }
    }

    fn connect(&mut self, link: &Link, lease: &Lease, address: IpAddr, port: u16, now: Instant) -> io::Result<()> {
        self.attempt = Some(Attempt::Address(Probe::start(&link.name, lease.address, SocketAddr::new(address, port), now)?));
        Ok(())
    }

    fn look_up(&mut self, link: &Link, lease: &Lease, name: &str, now: Instant) -> io::Result<()> {
        self.attempt = Some(Attempt::Name(Box::new(Resolver::of(link, lease).look_up(name, now)?)));
        Ok(())
    }

    fn could_not_begin(
        &mut self,
        error: &io::Error,
        link: &Link,
        lease: &Lease,
        (target, others): (&Target, usize),
        now: Instant,
    ) -> Looked {
        if error.kind() == ErrorKind::AddrNotAvailable && lease.address.is_ipv6() {
            // The kernel is still checking whether another host has the address.
            (self.attempt, self.next_attempt) = (None, Some(now + TENTATIVE));
            return Looked::NothingNew;
        }
        log::debug!("{link}: no way to {target}: {error}");
        let why = target.host.address().is_none().then(|| error.to_string());
        self.tried(Reach::Silent, why, others, now)
    }

    /// `others` are the servers that this round has not tried yet. They are tried before any of them counts as silent.
    fn tried(&mut self, reach: Reach, why: Option<String>, others: usize, now: Instant) -> Looked {
        self.attempt = None;
        let reach = self.so_far.or(reach);
        if reach != Reach::Open && others > 0 {
            (self.turn, self.so_far, self.next_attempt) = (self.turn + 1, reach, Some(now));
            return Looked::NothingNew;
        }
        (self.turn, self.so_far, self.reach) = (0, Reach::Silent, reach);
        self.next_attempt = (reach != Reach::Open).then_some(now + TRY_AGAIN);
        if reach == Reach::Silent { Looked::Nowhere(why) } else { Looked::NothingNew }
    }

    /// The search is over, because the machine uses this link.
    pub fn stop_looking(&mut self) {
        (self.attempt, self.next_attempt) = (None, None);
    }

    pub fn due(&self) -> Option<Instant> {
        self.attempt.as_ref().map_or(self.next_attempt, |attempt| Some(attempt.due()))
    }

    /// Sockets on which a name server's answer may arrive.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        if let Some(Attempt::Name(lookup)) = &self.attempt { lookup.fd() } else { None }
    }

    /// Sockets that become writable when a connection succeeds or fails.
    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        match self.attempt.as_ref()? {
            Attempt::Name(lookup) => lookup.writable(),
            Attempt::Address(probe) => Some(probe.as_fd()),
        }
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
