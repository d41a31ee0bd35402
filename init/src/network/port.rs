//! One link that asks for addresses, and what it has been given so far.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::choice::{Candidate, Rank, Reach};
use super::conflict::Watch;
use super::dhcp::Client;
use super::lease::Lease;
use super::link::Link;
use super::probe::Probe;
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
    probe: Option<Probe>,
    next_probe: Option<Instant>,
}

impl Port {
    pub fn new(link: Link, rank: Rank, dhcp: Option<(UdpSocket, Client)>) -> Self {
        Self { link, rank, dhcp, six: None, watch: None, lease: None, reach: Reach::NoAddress, probe: None, next_probe: None }
    }

    pub fn with_six(self, six: Option<Six>) -> Self {
        Self { six, ..self }
    }

    pub fn got(&mut self, lease: Lease, target: Option<SocketAddr>, now: Instant) {
        let is_new = self.lease.as_ref().is_none_or(|old| old.address != lease.address);
        if lease.is_link_local() {
            self.rank = Rank::Bmc;
        }
        self.lease = Some(lease);
        if is_new {
            self.reach = if target.is_some() { Reach::Trying } else { Reach::NotAsked };
            self.next_probe = target.map(|_| now);
        }
    }

    pub fn lost(&mut self) {
        (self.lease, self.probe, self.next_probe, self.reach) = (None, None, None, Reach::NoAddress);
    }

    pub fn candidate(&self) -> Candidate {
        Candidate { rank: self.rank, reach: self.reach }
    }

    /// Starts and reads probes. `true`: it is known by now that the server does not answer here.
    pub fn look_for(&mut self, target: Option<SocketAddr>, now: Instant) -> bool {
        let (Some(target), Some(lease)) = (target, &self.lease) else { return false };
        if self.probe.is_none() && self.next_probe.is_some_and(|due| now >= due) {
            match Probe::start(&self.link.name, lease.address, target, now) {
                Ok(probe) => self.probe = Some(probe),
                // The kernel still asks whether somebody else has it.
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable && lease.address.is_ipv6() => {
                    self.next_probe = Some(now + TENTATIVE);
                    return false;
                }
                Err(error) => {
                    log::debug!("{}: no way to {target}: {error}", self.link);
                    return self.tried(Reach::Silent, now);
                }
            }
        }
        match self.probe.as_ref().map(|probe| probe.result(now)) {
            None | Some(Reach::Trying) => false,
            Some(reach) => self.tried(reach, now),
        }
    }

    fn tried(&mut self, reach: Reach, now: Instant) -> bool {
        (self.probe, self.reach) = (None, reach);
        self.next_probe = (reach != Reach::Open).then_some(now + TRY_AGAIN);
        reach == Reach::Silent
    }

    /// Enough is known: the machine uses this link.
    pub fn stop_looking(&mut self) {
        (self.probe, self.next_probe) = (None, None);
    }

    pub fn due(&self) -> Option<Instant> {
        let dhcp = self.dhcp.as_ref().and_then(|(_, client)| client.due());
        let probe = self.probe.as_ref().map_or(self.next_probe, |probe| Some(probe.until));
        dhcp.into_iter().chain(probe).chain(self.six.as_ref().and_then(Six::due)).chain(self.watch.as_ref().map(Watch::due)).min()
    }

    /// What to wait on: what can be read, and what can be written when it is decided.
    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let dhcp = self.dhcp.as_ref().map(|(socket, _)| socket.as_fd());
        let watch = self.watch.as_ref().map(AsFd::as_fd);
        dhcp.into_iter().chain(watch).chain(self.six.iter().flat_map(Six::readable))
    }

    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.probe.as_ref().map(AsFd::as_fd)
    }
}
