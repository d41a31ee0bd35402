//! The link that is used: taken, left for a better one, and given up.

use std::io::Write;
use std::time::Instant;

use machine::{Milestone, files, status};

use super::apply::{self, AddressFailed};
use super::choice::{self, Candidate, Reach};
use super::lookup::Resolver;
use super::port::Port;
use super::probe::Target;
use super::{Network, PARTNER, STATUS, time};

impl Network {
    /// Takes the link that is best by now, as long as none is in use that leads to the server.
    pub(super) fn decide(&mut self, now: Instant) -> Result<(), AddressFailed> {
        let (false, Some(first)) = (self.settled, self.first_lease) else { return Ok(()) };
        let asking: Vec<(u32, Candidate)> = self.ports.iter().map(|(index, port)| (*index, port.candidate())).collect();
        let candidates: Vec<Candidate> = asking.iter().map(|(_, candidate)| *candidate).collect();
        let used = self.bound.and_then(|bound| asking.iter().position(|(index, _)| *index == bound));
        let chosen = match used {
            None => choice::choose(&candidates, now.saturating_duration_since(first)),
            Some(used) => choice::better(&candidates, used),
        };
        if let Some((index, candidate)) = chosen.and_then(|at| asking.get(at)).copied() {
            self.take(index, candidate, now)?;
        }
        let reach = self.bound.and_then(|bound| self.ports.get(&bound)).map(|port| port.candidate().reach);
        if reach == Some(Reach::Silent) {
            self.tell_once(self.going_nowhere());
        }
        Ok(())
    }

    fn take(&mut self, index: u32, candidate: Candidate, now: Instant) -> Result<(), AddressFailed> {
        self.settled = candidate.leads_somewhere() || self.target.as_ref().is_none_or(|target| !target.is_needed);
        let old = self.bound.replace(index);
        if self.settled {
            self.drop_others(index);
        }
        if old.is_some() {
            log::info!("{} leads to {}: it is used from now on", self.used(), self.wanted());
        }
        if old == Some(index) {
            return Ok(());
        }
        self.partner_due = self.arguments.bond.as_ref().map(|_| now + PARTNER);
        self.use_lease(index, now)
    }

    fn going_nowhere(&self) -> String {
        let search = if self.settled { "" } else { ", and looking on" };
        format!("no link reaches the server {}: going on with {}, the best there is{search}", self.wanted(), self.used())
    }

    fn used(&self) -> String {
        self.bound.and_then(|bound| self.ports.get(&bound)).map(|port| port.link.to_string()).unwrap_or_default()
    }

    fn wanted(&self) -> String {
        self.target.as_ref().map(Target::to_string).unwrap_or_default()
    }

    /// Two links in one network answer for each other, and confuse switches.
    fn drop_others(&mut self, index: u32) {
        for other in self.ports.keys().copied().filter(|other| *other != index).collect::<Vec<_>>() {
            self.abandon(other);
        }
        self.ports.retain(|other, _| *other == index);
        self.ports.values_mut().for_each(Port::stop_looking);
    }

    /// A link without carrier, or of a kernel without IPv6, has nothing to lose.
    pub(super) fn abandon(&mut self, index: u32) {
        self.withdraw(index);
        if let Some(port) = self.ports.get(&index).filter(|port| port.six.is_some()) {
            apply::allow_ipv6(&port.link, false);
        }
    }

    /// Routes, names and time of the link that is used.
    pub(super) fn use_lease(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let Some((port, lease)) = self.ports.get(&index).and_then(|port| Some((port, port.lease.as_ref()?))) else {
            return Ok(());
        };
        apply::address(&mut self.netlink, &port.link, lease, true)?;
        apply::names(&port.link, lease);
        log::info!("network {} {lease}", port.link.name);
        status::note(files::NETWORK_STATUS, |status| {
            status.interface = Some(port.link.name.clone());
            status.mac = Some(port.link.mac.to_string());
            status.address = Some(format!("{}/{}", lease.address, lease.prefix));
            status.state = None;
            status.got_further();
        });
        Milestone::Network.reached();
        self.time.begin(time::servers(&self.arguments, lease), Resolver::of(&port.link, lease), now);
        Ok(())
    }

    /// The machine has no network any more: all links start over.
    pub(super) fn unbind(&mut self, now: Instant) {
        let lost = self.bound.take();
        let another = self.ports.iter().any(|(index, port)| Some(*index) != lost && port.lease.is_some());
        (self.settled, self.first_lease, self.dark_since) = (false, another.then_some(now), None);
        (self.started, self.next_status) = (now, now + STATUS);
        self.bonding.restart(now);
    }

    /// As soon as there is a network, and a clock that TLS can use if the network has one. Once more where the machine
    /// went on to another link before it had reached its server: it is called by the link that leads there.
    pub(super) fn say_ready(&mut self, now: Instant) {
        let Some(port) = self.bound.and_then(|index| self.ports.get(&index)) else { return };
        let Some(ready) = self.ready.as_mut().filter(|_| self.time.is_settled(now)) else { return };
        if self.called_by.replace(port.link.mac) != Some(port.link.mac)
            && let Err(error) = ready.write_all(&port.link.mac.0)
        {
            log::error!("cannot tell PID 1 about the network: {error}");
        }
        if self.settled {
            self.ready = None;
        }
    }
}
