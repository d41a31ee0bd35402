//! The network client: a process of its own, started before the drivers and running until the machine restarts.
//!
//! A child of PID 1 rather than a thread: what parses packets from the network may die without taking PID 1 along,
//! renewal never waits for supervision nor the other way round, and as a fork it shares PID 1's memory.

mod apply;
mod dhcp;
mod lease;
mod link;
mod netlink;
mod socket;

use std::collections::BTreeMap;
use std::io::{PipeWriter, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cmdline::{Arguments, HwAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::StepError;
use apply::AddressFailed;
use dhcp::{Action, Client};
use lease::Lease;
use link::Link;
use netlink::{LinkEvents, Netlink};

/// Bytes of the message that says "there is a network": the address of its NIC.
pub const READY_LEN: usize = 6;
const LOOPBACK: u32 = 1;
/// How often it says what it is waiting for, and looks at the links without being told to.
const STATUS: Duration = Duration::from_secs(5);

pub fn read_ready(message: &[u8]) -> Option<HwAddr> {
    <[u8; READY_LEN]>::try_from(message).ok().map(HwAddr)
}

/// Runs in the child and ends only with an error, after which PID 1 starts it again.
pub fn run(arguments: &Arguments, ready: PipeWriter) -> ! {
    let error = match Network::open(arguments.clone(), ready) {
        Ok(mut network) => loop {
            if let Err(error) = network.turn() {
                break error;
            }
        },
        Err(error) => error,
    };
    log::error!("network: {error}");
    std::process::exit(1)
}

struct Network {
    arguments: Arguments,
    netlink: Netlink,
    events: LinkEvents,
    started: Instant,
    next_status: Instant,
    links: Vec<Link>,
    /// By interface index: who is asking for an address, or has one.
    ports: BTreeMap<u32, Port>,
    /// The port that won, and what it was given.
    bound: Option<(Link, Lease)>,
    ready: Option<PipeWriter>,
    /// Why there is no VLAN interface; not worth a line before the drivers had their time.
    no_vlan: Option<String>,
    /// Errors that were said once; saying them every time would fill the console.
    told: Vec<String>,
}

struct Port {
    link: Link,
    socket: UdpSocket,
    client: Client,
}

impl Network {
    fn open(arguments: Arguments, ready: PipeWriter) -> Result<Self, StepError> {
        let events = LinkEvents::open()?; // before the first look, so that nothing is missed in between
        let mut netlink = Netlink::open()?;
        if let Err(error) = netlink.set_up(LOOPBACK) {
            log::warn!("cannot bring up the loopback interface: {error}");
        }
        let now = Instant::now();
        let mut network = Self {
            arguments,
            netlink,
            events,
            started: now,
            next_status: now + STATUS,
            links: Vec::new(),
            ports: BTreeMap::new(),
            bound: None,
            ready: Some(ready),
            no_vlan: None,
            told: Vec::new(),
        };
        network.look()?;
        Ok(network)
    }

    fn turn(&mut self) -> Result<(), StepError> {
        self.wait()?;
        self.events.drain();
        self.look()?;
        let now = Instant::now();
        for index in self.ports.keys().copied().collect::<Vec<_>>() {
            self.serve(index, now)?;
        }
        if now >= self.next_status {
            self.next_status = now + STATUS;
            if self.bound.is_none() {
                let waited = now.saturating_duration_since(self.started).as_secs();
                let missing = self.no_vlan.clone().unwrap_or_else(|| link::missing(&self.links, &self.arguments));
                log::info!("waiting for {missing} ({waited} s)");
            }
        }
        Ok(())
    }

    /// Until a link changes, a packet comes, or something is due.
    fn wait(&self) -> Result<(), StepError> {
        let status = self.bound.is_none().then_some(self.next_status);
        let dues = self.ports.values().filter_map(|port| port.client.due());
        let timeout = match dues.chain(status).chain(self.next_link()).min() {
            Some(due) => PollTimeout::try_from(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = vec![PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.ports.values().map(|port| PollFd::new(port.socket.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// When the next link may ask that leaves another one a head start.
    fn next_link(&self) -> Option<Instant> {
        let waiting = self.links.iter().filter(|link| link.carrier && !self.ports.contains_key(&link.index));
        let dues = waiting.map(|link| self.started + link::patience(link, self.arguments.hw_addr));
        if self.bound.is_some() { None } else { dues.min().filter(|due| *due > Instant::now()) }
    }

    /// Reads the links afresh, sets them up, and lets those with a carrier ask.
    fn look(&mut self) -> Result<(), AddressFailed> {
        let before = std::mem::replace(&mut self.links, link::scan(Path::new(link::SYSFS), &self.arguments));
        let now = Instant::now();
        for link in self.links.clone() {
            if !link.up {
                if let Err(error) = self.netlink.set_up(link.index) {
                    self.tell_once(format!("cannot bring up {link}: {error}"));
                }
                continue; // the kernel reports the change, and we look again
            }
            let had_carrier = before.iter().any(|old| old.index == link.index && old.carrier);
            if link.carrier && !had_carrier {
                self.carrier_came(&link, now);
            }
            if link.carrier && self.bound.is_none() && now >= self.started + link::patience(&link, self.arguments.hw_addr) {
                self.start(&link, now)?;
            }
        }
        let links = &self.links;
        self.ports.retain(|_, port| links.iter().any(|link| port.link.is_on(link)));
        if let Some((bound, _)) = &self.bound
            && !links.iter().any(|link| bound.is_on(link))
        {
            log::warn!("{bound} has gone");
            self.bound = None;
        }
        Ok(())
    }

    fn carrier_came(&mut self, link: &Link, now: Instant) {
        log::info!("{link} has carrier");
        let ports = self.ports.values_mut().filter(|port| port.link.is_on(link));
        ports.for_each(|port| port.client.carrier_returned(now));
    }

    fn start(&mut self, parent: &Link, now: Instant) -> Result<(), AddressFailed> {
        let static_address = self.arguments.ipam.clone();
        let tag = static_address.as_ref().and_then(|ipam| ipam.vlan).or(self.arguments.vlan_id);
        let link = match tag.map(|id| self.tagged(parent, id)) {
            None => parent.clone(),
            Some(Some(link)) => link,
            Some(None) => return Ok(()),
        };
        if let Some(ipam) = static_address {
            return if ipam.mac == parent.mac { self.configure(&link, Lease::from_ipam(&ipam)) } else { Ok(()) };
        }
        if self.ports.contains_key(&link.index) {
            return Ok(());
        }
        match socket::open(&link.name) {
            Ok(socket) => {
                let seed = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
                let client = Client::new(link.mac.0, seed, now);
                self.ports.insert(link.index, Port { link, socket, client });
            }
            Err(error) => self.tell_once(format!("cannot open a DHCP socket on {link}: {error}")),
        }
        Ok(())
    }

    /// The VLAN interface above `parent`, made if need be. Kernel events bring us back until it is up.
    fn tagged(&mut self, parent: &Link, id: u16) -> Option<Link> {
        let name = format!("{}.{id}", parent.name);
        let read = || Link::read(Path::new(link::SYSFS), &name);
        if read().is_none()
            && let Err(error) = self.netlink.add_vlan(&name, parent.index, id)
        {
            self.no_vlan = Some(format!("VLAN {id} on {parent}: {error}. Is the module 8021q in the ramdisk?"));
            return None;
        }
        self.no_vlan = None;
        let link = read()?;
        if !link.up
            && let Err(error) = self.netlink.set_up(link.index)
        {
            self.tell_once(format!("cannot bring up {link}: {error}"));
        }
        read().filter(|link| link.up && link.carrier)
    }

    /// Lets one client see its packets and the time, and does what it says.
    fn serve(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        let mut actions = Vec::new();
        while let Some(packet) = socket::receive(&port.socket) {
            actions.extend(port.client.receive(&packet, now));
        }
        actions.extend(port.client.tick(now));
        let link = port.link.clone();
        for action in actions {
            match action {
                Action::Send { packet, to } => self.send(index, &packet, to),
                Action::Configure(lease) => self.configure(&link, lease)?,
                Action::Withdraw(lease) => {
                    log::warn!("{link} has lost its address {}", lease.address);
                    apply::withdraw(&mut self.netlink, &link, &lease);
                    self.bound = None;
                    self.started = now;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, index: u32, packet: &dhcpv4::Packet, to: std::net::Ipv4Addr) {
        let Some(port) = self.ports.get(&index) else { return };
        if let Err(error) = socket::send(&port.socket, packet, to) {
            let line = format!("cannot send to {to} on {}: {error}", port.link);
            self.tell_once(line);
        }
    }

    /// An address that cannot be set ends this process: PID 1 starts it again, with a pause and from the beginning.
    fn configure(&mut self, link: &Link, lease: Lease) -> Result<(), AddressFailed> {
        apply::configure(&mut self.netlink, link, &lease)?;
        if self.bound.as_ref().is_none_or(|(_, old)| *old != lease) {
            log::info!("network {} {lease}", link.name);
        }
        self.ports.retain(|index, _| *index == link.index); // the others need not ask any more
        self.bound = Some((link.clone(), lease));
        if let Some(mut ready) = self.ready.take()
            && let Err(error) = ready.write_all(&link.mac.0)
        {
            log::error!("cannot tell PID 1 about the network: {error}");
        }
        Ok(())
    }

    fn tell_once(&mut self, line: String) {
        if !self.told.contains(&line) {
            log::warn!("{line}");
            self.told.push(line);
        }
    }
}
