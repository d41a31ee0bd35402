//! The network client: a process of its own, started before the drivers and running until the machine restarts.
//!
//! A child of PID 1 rather than a thread: what parses packets from the network may die without taking PID 1 along,
//! renewal never waits for supervision nor the other way round, and as a fork it shares PID 1's memory.
//! All links with carrier ask at once; the one that reaches the server is used, the others give their addresses back. As
//! long as none reaches it the best one is used, and the others look on.

mod apply;
mod autoconf;
mod bind;
mod bond;
mod bring_up;
mod choice;
mod conflict;
mod dhcp;
mod dhcpv6_client;
pub mod dns;
mod host;
mod lease;
mod link;
pub mod lldp;
mod lookup;
mod members;
mod neighbours;
mod netlink;
mod offer;
mod port;
mod probe;
mod random;
mod record;
mod six;
mod sntp;
mod socket;
mod starting;
mod time;

use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cmdline::{Arguments, HwAddr};
use machine::network::Learned;
use machine::{Chain, files, status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::StepError;
use apply::AddressFailed;
use bond::Bonding;
use conflict::Watch;
use dhcp::Action;
use lease::Lease;
use link::Link;
use neighbours::Neighbours;
use netlink::{LinkEvents, Netlink};
use port::{Looked, Port};
use probe::Target;
use starting::Starting;
use time::TimeSync;

/// Bytes of the message that says "there is a network": the address of its NIC.
pub const READY_LEN: usize = 6;
const LOOPBACK: u32 = 1;
/// How often it says what it is waiting for, and looks at the links without being told to.
const STATUS: Duration = Duration::from_secs(5);
/// A network that lost its carrier for longer is no network any more, if another link may be one.
const DARK: Duration = Duration::from_secs(5);

/// How long LACP takes to agree, or more.
const PARTNER: Duration = Duration::from_secs(5);

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
    log::error!("network: {}", Chain(error.as_ref()));
    std::process::exit(1)
}

struct Network {
    arguments: Arguments,
    target: Option<Target>,
    netlink: Netlink,
    events: LinkEvents,
    starting: Starting,
    started: Instant,
    next_status: Instant,
    links: Vec<Link>,
    /// By interface index: who is asking for an address, or has one.
    ports: BTreeMap<u32, Port>,
    /// When the first of them got an address.
    first_lease: Option<Instant>,
    /// The port that is used.
    bound: Option<u32>,
    /// It stays that one: it leads to the server, or nobody can tell.
    settled: bool,
    dark_since: Option<Instant>,
    /// Until PID 1 knows the link that the machine is called by.
    ready: Option<PipeWriter>,
    called_by: Option<HwAddr>,
    time: TimeSync,
    neighbours: Option<Neighbours>,
    /// Why there is no VLAN interface or bond; not worth a line before the drivers had their time.
    obstacle: Option<String>,
    bonding: Bonding,
    /// Links that the bond does not take.
    refused: Vec<u32>,
    partner_due: Option<Instant>,
    /// Errors that were said once; saying them every time would fill the console.
    told: Vec<String>,
    /// What the system that is installed may want to know, as it was last written.
    recorded: Option<Learned>,
}

impl Network {
    fn open(arguments: Arguments, ready: PipeWriter) -> Result<Self, StepError> {
        // Before the first look, so that nothing is missed in between.
        let (events, starting) = (LinkEvents::open()?, Starting::open());
        let mut netlink = Netlink::open()?;
        if let Err(error) = netlink.set_up(LOOPBACK) {
            log::warn!("cannot bring up the loopback interface: {error}");
        }
        let now = Instant::now();
        let mut network = Self {
            target: Target::of(&arguments),
            arguments,
            netlink,
            events,
            starting,
            started: now,
            next_status: now + STATUS,
            links: Vec::new(),
            ports: BTreeMap::new(),
            first_lease: None,
            bound: None,
            settled: false,
            dark_since: None,
            ready: Some(ready),
            called_by: None,
            time: TimeSync::default(),
            neighbours: Neighbours::open().inspect_err(|error| log::warn!("cannot listen to LLDP: {error}")).ok(),
            obstacle: None,
            bonding: Bonding::default(),
            refused: Vec::new(),
            partner_due: None,
            told: Vec::new(),
            recorded: None,
        };
        network.look()?;
        Ok(network)
    }

    fn turn(&mut self) -> Result<(), StepError> {
        self.events.drain();
        self.look()?;
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.turn();
        }
        let now = Instant::now();
        for index in self.ports.keys().copied().collect::<Vec<_>>() {
            self.serve(index, now)?;
            self.autoconfigure(index, now)?;
            self.probe(index, now);
        }
        self.decide(now)?;
        self.take_turns(now)?;
        self.tell_partner(now);
        self.time.turn(now);
        self.say_ready(now);
        self.record();
        if now >= self.next_status {
            self.next_status = now + STATUS;
            if self.bound.is_none() {
                let waited = now.saturating_duration_since(self.started).as_secs();
                let missing = self.obstacle.clone().unwrap_or_else(|| link::missing(&self.links, &self.arguments));
                let line = format!("waiting for {missing} ({waited} s)");
                log::info!("{line}");
                status::note(files::NETWORK_STATUS, |status| status.state = Some(line));
            }
        }
        self.wait()
    }

    /// Until a link changes, a packet comes, or something is due.
    fn wait(&mut self) -> Result<(), StepError> {
        while !(self.sleep()? || self.starting.hear()) {}
        Ok(())
    }

    /// Whether it ended for more than messages about devices, most of which are about something else.
    fn sleep(&self) -> Result<bool, StepError> {
        let now = Instant::now();
        let waited = self.first_lease.map(|first| now.saturating_duration_since(first));
        let choice = waited.and_then(choice::next).map(|rest| now + rest).filter(|_| self.bound.is_none());
        let status = self.bound.is_none().then_some(self.next_status);
        let dark = self.dark_since.map(|since| since + DARK).filter(|due| *due > now);
        let dues = self.ports.values().filter_map(Port::due);
        let dues = dues.chain(self.turn_due()).chain(self.partner_due).chain(self.starting.due());
        let timeout = match dues.chain(status).chain(choice).chain(dark).chain(self.time.due()).min() {
            Some(due) => {
                PollTimeout::try_from(due.saturating_duration_since(now) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let readable = self
            .ports
            .values()
            .flat_map(Port::readable)
            .chain(self.time.fds())
            .chain(self.neighbours.as_ref().map(AsFd::as_fd))
            .chain([self.events.as_fd()]);
        let mut fds: Vec<PollFd<'_>> = readable.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        fds.extend(self.ports.values().filter_map(Port::writable).map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let others = fds.len();
        fds.extend(self.starting.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(true),
            Ok(_) => Ok(fds.iter().take(others).any(|fd| fd.any().unwrap_or(true))),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets one client see its packets and the time, and does what it says.
    fn serve(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        let Some((socket, client)) = &mut port.dhcp else { return Ok(()) };
        let mut actions = Vec::new();
        if let Some(owner) = port.watch.as_mut().and_then(|watch| watch.turn(now)) {
            log::warn!("{}: {owner} has the address that DHCP gave us: declined; is a static address in its range?", port.link);
            actions.extend(client.taken(now));
            port.watch = None;
        }
        port.watch = port.watch.take().filter(|watch| !watch.is_over(now));
        while let Some(packet) = socket::receive(socket) {
            actions.extend(client.receive(&packet, now));
        }
        actions.extend(client.tick(now));
        actions.into_iter().try_for_each(|action| self.act(index, action, now))
    }

    fn act(&mut self, index: u32, action: Action, now: Instant) -> Result<(), AddressFailed> {
        match action {
            Action::Send { packet, to } => self.send(index, &packet, to),
            Action::Probe(address) => self.watch(index, address, now),
            Action::Configure(lease) => self.configure(index, lease, now)?,
            Action::Withdraw(lease) => {
                if self.bound == Some(index) {
                    let link = self.ports.get(&index).map(|port| port.link.to_string()).unwrap_or_default();
                    log::warn!("{link} has lost its address {}", lease.address);
                    self.unbind(now);
                }
                self.withdraw(index);
            }
        }
        Ok(())
    }

    fn watch(&mut self, index: u32, address: std::net::Ipv4Addr, now: Instant) {
        let Some(port) = self.ports.get_mut(&index) else { return };
        match Watch::start(&port.link, address, now) {
            Ok(watch) => port.watch = Some(watch),
            Err(error) => {
                let line = format!("cannot ask on {} whether somebody has {address}: {error}", port.link);
                self.tell_once(line);
            }
        }
    }

    /// Takes what routers have given the link, where no DHCPv4 answer is wanted or has come.
    fn autoconfigure(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        let Some(six) = &mut port.six else { return Ok(()) };
        let news = six.turn(&port.link, now);
        if port.lease.as_ref().is_some_and(|lease| lease.address.is_ipv4()) {
            return Ok(());
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (routes, name) = (read(autoconf::ROUTES), &port.link.name);
        let made = autoconf::lease(&read(autoconf::ADDRESSES), &routes, index, name);
        match six.complete(made, autoconf::router(&routes, name)) {
            Some(lease) if news || port.lease.as_ref() != Some(&lease) => self.configure(index, lease, now),
            None if port.lease.is_some() => {
                port.lease.clone().map_or(Ok(()), |lease| self.act(index, Action::Withdraw(lease), now))
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, index: u32, packet: &::dhcp::v4::Packet, to: std::net::Ipv4Addr) {
        let Some(port) = self.ports.get(&index) else { return };
        if let Some((socket, _)) = &port.dhcp
            && let Err(error) = socket::send(socket, packet, to)
        {
            let line = format!("cannot send to {to} on {}: {error}", port.link);
            self.tell_once(line);
        }
    }

    fn probe(&mut self, index: u32, now: Instant) {
        let target = self.target.as_ref();
        let Some(port) = self.ports.get_mut(&index).filter(|_| !self.settled) else { return };
        let Looked::Nowhere(why) = port.look_for(target, now) else { return };
        let host = target.map(|target| target.host.to_string()).unwrap_or_default();
        let link = port.link.to_string();
        let client = port.dhcp.as_mut().filter(|_| self.bound != Some(index));
        let left = client.and_then(|(_, client)| client.led_nowhere(now));
        if let Some(why) = why {
            self.tell_once(format!("{link}: {why}"));
        }
        let Some(Action::Withdraw(lease)) = left else { return };
        let server = lease.server.map(|server| server.to_string()).unwrap_or_default();
        log::warn!(
            "{link}: the address {} from DHCP server {server} does not lead to {host}: asking for another server's",
            lease.address
        );
        self.withdraw(index);
    }

    /// An address that cannot be set ends this process: PID 1 starts it again, with a pause and from the beginning.
    fn configure(&mut self, index: u32, lease: Lease, now: Instant) -> Result<(), AddressFailed> {
        let is_bound = self.bound == Some(index);
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        apply::address(&mut self.netlink, &port.link, &lease, is_bound)?;
        let changed = port.lease.as_ref() != Some(&lease);
        port.got(lease, self.target.as_ref(), now);
        if self.settled {
            port.stop_looking();
        }
        self.first_lease.get_or_insert(now);
        if is_bound && changed {
            self.use_lease(index, now)?;
        }
        Ok(())
    }

    fn withdraw(&mut self, index: u32) {
        let Some(port) = self.ports.get_mut(&index) else { return };
        if let Some(lease) = &port.lease {
            apply::withdraw(&mut self.netlink, &port.link, lease);
        }
        port.lost();
    }

    fn tell_once(&mut self, line: String) {
        if !self.told.contains(&line) {
            log::warn!("{line}");
            self.told.push(line);
        }
    }
}
