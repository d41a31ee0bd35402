//! The network client: a separate process. It starts before the drivers and runs until the machine restarts.
//!
//! It is a child of PID 1 rather than a thread. So a crash while it parses packets does not end PID 1, and its renewals do
//! not wait for supervision. As a fork it shares PID 1's memory.
//!
//! All links with carrier ask at once ([`ask`]). The link that leads to the server is used ([`reach`]), and the others lose
//! their addresses. While no link leads there, the best one is used and the others keep trying. [`links`] has the
//! interfaces themselves.

mod address;
mod announce;
mod ask;
mod host;
mod lease;
mod links;
mod once;
mod random;
mod reach;
mod record;
mod sntp;
mod text;
mod time;

use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cmdline::{Arguments, HwAddr};
use machine::{Chain, Milestone, files, status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::service::Facts;
use crate::{StepError, settings, site};
use address::AddressFailed;
use announce::Announcement;
pub use announce::{NetworkReady, READY_LEN, read_ready};
pub use ask::datagram;
use ask::{Asker, News};
pub use lease::Lease;
pub use links::lldp;
use links::{Link, Links};
use once::Once;
pub use reach::dns;
use reach::{Chosen, Looked, Reach, Resolver, Search, Target, Way};
use record::Record;
use time::TimeSync;

/// Runs in the child and ends only with an error. PID 1 then starts it again.
pub fn run(facts: &Facts, ready: PipeWriter) -> ! {
    let error = match Network::open(facts, ready) {
        Ok(mut network) => loop {
            if let Err(error) = network.turn() {
                break error;
            }
        },
        Err(error) => error,
    };
    log::error!("network: {}", Chain(&*error));
    std::process::exit(1)
}

struct Network {
    arguments: Arguments,
    /// While a MAC address may still find the machine in the table of its site.
    site: Option<site::Search>,
    links: Links,
    /// The ports by interface index.
    ports: BTreeMap<u32, Port>,
    search: Search,
    time: TimeSync,
    announcement: Announcement,
    record: Record,
    once: Once,
}

/// A link with carrier, its addresses, and its way to the server.
struct Port {
    link: Link,
    asker: Asker,
    way: Way,
}

impl Network {
    fn open(facts: &Facts, ready: PipeWriter) -> Result<Self, StepError> {
        let (now, arguments) = (Instant::now(), facts.arguments.clone());
        let mut network = Self {
            links: Links::open(&arguments)?,
            search: Search::new(&arguments, now),
            arguments,
            site: (facts.is_unplaced && facts.mac.is_none()).then(site::Search::default),
            ports: BTreeMap::new(),
            time: TimeSync::default(),
            announcement: Announcement::new(ready),
            record: Record::default(),
            once: Once::default(),
        };
        network.look(now)?;
        Ok(network)
    }

    fn turn(&mut self) -> Result<(), StepError> {
        self.look(Instant::now())?;
        let now = Instant::now();
        for index in self.ports.keys().copied().collect::<Vec<_>>() {
            self.ask(index, now)?;
            self.try_way(index, now);
        }
        self.decide(now)?;
        if self.search.used().is_none() {
            self.rebond(now)?;
        }
        self.links.members.report_partner(now);
        self.time.turn(now);
        self.announce(now);
        if let Some(waited) = self.search.waited(now) {
            let line = format!("waiting for {} ({} s)", self.missing(), waited.as_secs());
            log::info!("{line}");
            status::note(files::NETWORK_STATUS, |status| status.state = Some(line));
        }
        // Waits until a link changes, a packet comes, or a timer is due.
        while !(self.sleep()? || self.links.starting.hear()) {}
        Ok(())
    }

    /// What a machine without network waits for. If DHCP servers answer, it is a usable answer.
    fn missing(&self) -> String {
        let unusable = self.ports.values().find_map(|port| {
            let why = port.asker.unusable()?;
            Some(format!("a usable DHCP answer on {}: {why}", port.link))
        });
        unusable.unwrap_or_else(|| self.links.missing(&self.arguments))
    }

    /// Lets links with carrier ask for an address, and forgets those without carrier.
    fn look(&mut self, now: Instant) -> Result<(), AddressFailed> {
        if self.must_wait_for_place(now) {
            return Ok(());
        }
        for lit in self.links.look(&self.arguments, now) {
            if lit.is_new {
                let ports = self.ports.values_mut().filter(|port| port.link.is_on(&lit.link));
                ports.for_each(|port| port.asker.carrier_returned(now));
            }
            if !self.search.is_settled() {
                let (link, used) = (&lit.link, self.search.used());
                // The address of a bond may change.
                self.ports.retain(|index, port| !port.link.is_on(link) || port.link.mac == link.mac || Some(*index) == used);
                self.start(link, now)?;
            }
        }
        self.forget_gone(now);
        Ok(())
    }

    /// Looks for the machine in the table of its site. Until that was done once, no link asks for an address.
    fn must_wait_for_place(&mut self, now: Instant) -> bool {
        if self.announcement.has_begun() {
            self.site = None; // the agent runs already, under another name
        }
        let Some(search) = &mut self.site else { return false };
        let (mac, words) = match search.turn(Path::new("/"), self.links.addresses(), now) {
            site::Next::Wait => return true,
            site::Next::AskByDhcp => return false,
            site::Next::Use(mac, words) => (mac, words),
        };
        self.site = None;
        match settings::parse(&words) {
            Ok(parsed) => self.obey(parsed.arguments, mac, now),
            Err(error) => self.once.warn(format!("the arguments of this machine's row are not used: {}", Chain(&error))),
        }
        false
    }

    fn obey(&mut self, arguments: Arguments, placed_by: HwAddr, now: Instant) {
        for port in self.ports.values_mut() {
            port.asker.withdraw(&mut self.links.netlink, &port.link);
        }
        self.ports.clear();
        self.links.obey(&arguments);
        self.search = Search::new(&arguments, now);
        self.arguments = arguments;
        self.announcement.placed_by = Some(placed_by);
    }

    fn start(&mut self, parent: &Link, now: Instant) -> Result<(), AddressFailed> {
        let Some(link) = self.links.carrying(parent, &self.arguments) else { return Ok(()) };
        if self.ports.contains_key(&link.index) || !self.is_for(parent, &link) {
            return Ok(());
        }
        let mut way = Way::new(links::rank(parent, &self.arguments));
        let Some(lease) = self.fixed_lease() else {
            let server = self.search.targets().first().map(|target| &target.host);
            let asker = Asker::start(&link, server, now);
            self.ports.insert(link.index, Port { link, asker, way });
            return Ok(());
        };
        // The arguments give the address, so there is nothing to choose and no server to try.
        let asker = Asker::fixed(&mut self.links.netlink, &link, lease.clone())?;
        way.got(None, &lease, &[], now);
        self.ports.insert(link.index, Port { link, asker, way });
        self.search.got_address(now);
        self.decide(now)
    }

    /// Whether `ipam=` and `ip=` allow this link to have the machine's address.
    fn is_for(&self, parent: &Link, link: &Link) -> bool {
        if let Some(ipam) = &self.arguments.ipam {
            return ipam.mac == parent.mac;
        }
        let device = self.arguments.ip.as_ref().and_then(|ip| ip.device.as_ref());
        let is_meant = |device: &String| {
            self.links.is_meant(device, parent) || link.name == *device || device.starts_with("vlan") // dracut uses this name
        };
        device.is_none_or(is_meant)
    }

    fn fixed_lease(&self) -> Option<Lease> {
        let of_ip = || self.arguments.ip.as_ref().and_then(Lease::from_ip);
        self.arguments.ipam.as_ref().map(Lease::from_ipam).or_else(of_ip)
    }

    fn forget_gone(&mut self, now: Instant) {
        let used = self.search.used();
        let port = used.and_then(|index| self.ports.get(&index));
        let below = port.map(|port| self.links.below(&port.link));
        let is_gone = below == Some(None);
        let is_lit = below.is_none_or(|below| below.is_some_and(|link| link.carrier));
        let is_dark = self.search.is_dark(is_lit, now) && self.links.has_carrier();
        if is_gone || is_dark {
            let name = port.map(|port| port.link.to_string()).unwrap_or_default();
            log::warn!("{name} {}", if is_gone { "has gone" } else { "has had no carrier for too long" });
            if let Some(port) = used.and_then(|index| self.ports.get_mut(&index)).filter(|_| is_dark) {
                port.asker.abandon(&mut self.links.netlink, &port.link);
            }
            self.ports.retain(|index, _| Some(*index) != used);
            self.start_over(now);
        }
        // A link without carrier is not a candidate.
        let (links, used) = (&self.links, self.search.used());
        self.ports.retain(|index, port| links.below(&port.link).is_some_and(|link| link.carrier || Some(*index) == used));
    }

    fn ask(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let is_used = self.search.used() == Some(index);
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        let news = port.asker.turn(&mut self.links.netlink, &port.link, is_used, now)?;
        news.into_iter().try_for_each(|news| self.hear(index, news, now))
    }

    fn hear(&mut self, index: u32, news: News, now: Instant) -> Result<(), AddressFailed> {
        let is_used = self.search.used() == Some(index);
        let Some(port) = self.ports.get_mut(&index) else { return Ok(()) };
        match (news, port.asker.lease()) {
            (News::Got { before }, Some(lease)) => {
                let is_changed = before.as_ref() != Some(lease);
                port.way.got(before.as_ref(), lease, self.search.targets(), now);
                if self.search.is_settled() {
                    port.way.stop_looking();
                }
                self.search.got_address(now);
                if is_used && is_changed {
                    self.use_lease(index, now)?;
                }
            }
            (News::Got { .. }, None) => {}
            (News::Lost(lease), _) => {
                port.way.lost();
                if is_used {
                    log::warn!("{} has lost its address {}", port.link, lease.address);
                    self.start_over(now);
                }
            }
        }
        Ok(())
    }

    /// Tries to reach the server. If it is not reached, another DHCP server may have a better address.
    fn try_way(&mut self, index: u32, now: Instant) {
        if self.search.is_settled() {
            return;
        }
        let (used, targets) = (self.search.used(), self.search.targets());
        let Some(port) = self.ports.get_mut(&index) else { return };
        let Looked::Nowhere(why) = port.way.look_for(&port.link, port.asker.lease(), targets, now) else { return };
        if let Some(why) = why {
            self.once.warn(format!("{}: {why}", port.link));
        }
        if used == Some(index) {
            return;
        }
        let Some(lease) = port.asker.leave_server(&mut self.links.netlink, &port.link, now) else { return };
        port.way.lost();
        let hosts: Vec<String> = targets.iter().map(|target| target.host.to_string()).collect();
        let server = lease.server.map(|server| server.to_string()).unwrap_or_default();
        log::warn!(
            "{}: the address {} from DHCP server {server} does not lead to {}; asking another server for one",
            port.link,
            lease.address,
            hosts.join(" or ")
        );
    }

    fn decide(&mut self, now: Instant) -> Result<(), AddressFailed> {
        if !self.search.is_open() {
            return Ok(());
        }
        let candidates: Vec<_> = self.ports.iter().map(|(index, port)| (*index, port.way.candidate())).collect();
        if let Some(chosen) = self.search.choose(&candidates, now) {
            self.take(&chosen, now)?;
        }
        let Some(port) = self.used().filter(|port| port.way.candidate().reach == Reach::Silent) else { return Ok(()) };
        let search = if self.search.is_settled() { "" } else { ", and still searching" };
        let (link, server) = (port.link.to_string(), self.server());
        self.once.warn(format!("no link reaches the server {server}; using {link}, the best one{search}"));
        Ok(())
    }

    fn take(&mut self, chosen: &Chosen, now: Instant) -> Result<(), AddressFailed> {
        if self.search.is_settled() {
            self.drop_others(chosen.index);
        }
        if let (Some(port), Some(_)) = (self.used(), chosen.before) {
            log::info!("{} leads to {} and is used from now on", port.link, self.server());
        }
        if chosen.before == Some(chosen.index) {
            return Ok(());
        }
        self.links.members.expect_partner(now);
        self.use_lease(chosen.index, now)
    }

    /// Two links in one network answer for each other, and confuse switches.
    fn drop_others(&mut self, used: u32) {
        for (_, port) in self.ports.iter_mut().filter(|(index, _)| **index != used) {
            port.asker.abandon(&mut self.links.netlink, &port.link);
        }
        self.ports.retain(|index, _| *index == used);
        self.ports.values_mut().for_each(|port| port.way.stop_looking());
    }

    /// Sets the routes, names and time of the used link.
    fn use_lease(&mut self, index: u32, now: Instant) -> Result<(), AddressFailed> {
        let Some(port) = self.ports.get(&index) else { return Ok(()) };
        let Some(lease) = port.asker.lease() else { return Ok(()) };
        address::set(&mut self.links.netlink, &port.link, lease, true)?;
        address::set_names(&port.link, lease);
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

    /// The machine has lost its network.
    fn start_over(&mut self, now: Instant) {
        let lost = self.search.used();
        let has_another = self.ports.iter().any(|(index, port)| Some(*index) != lost && port.asker.lease().is_some());
        self.search.start_over(has_another, now);
        self.links.members.restart(now);
    }

    /// A machine without network tries its bond and the single links in turn.
    fn rebond(&mut self, now: Instant) -> Result<(), AddressFailed> {
        let Some(stale) = self.links.take_turn(now) else { return Ok(()) };
        let is_stale = |port: &Port| stale.iter().any(|below| port.link.is_on(below));
        for port in self.ports.values_mut().filter(|port| is_stale(port)) {
            port.asker.withdraw(&mut self.links.netlink, &port.link);
        }
        self.ports.retain(|_, port| !is_stale(port));
        self.look(now)
    }

    /// PID 1 starts the agent when there is a network, and a clock that TLS can use if the network has one. The learned
    /// settings are written afterwards, because the boot comes first.
    fn announce(&mut self, now: Instant) {
        let Some(port) = self.search.used().and_then(|index| self.ports.get(&index)) else { return };
        if self.time.is_settled(now) {
            self.announcement.make(port.link.mac, self.search.is_settled());
        }
        let Some(lease) = port.asker.lease().filter(|_| self.announcement.is_over()) else { return };
        let base = port.link.parent.and_then(|_| self.links.below(&port.link));
        let vlan = base.and_then(|base| self.links.vlan(base, &self.arguments));
        if let Some(learned) = record::learned(&self.links, &port.link, vlan, lease.clone()) {
            self.record.keep(learned);
        }
    }

    fn used(&self) -> Option<&Port> {
        self.ports.get(&self.search.used()?)
    }

    fn server(&self) -> String {
        let servers: Vec<String> = self.search.targets().iter().map(Target::to_string).collect();
        servers.join(" or ")
    }

    /// Returns true if it woke for more than messages about devices, most of which do not concern links.
    fn sleep(&self) -> Result<bool, StepError> {
        let now = Instant::now();
        let bond = self.links.turn_due().filter(|_| self.search.used().is_none());
        let dues = self.ports.values().filter_map(Port::due).chain(bond).chain(self.links.members.partner_due());
        let dues = dues.chain(self.links.starting.due()).chain(self.search.due(now)).chain(self.time.due());
        let dues = dues.chain(self.site.as_ref().and_then(site::Search::due));
        let timeout = dues.min().map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let ports = self.ports.values();
        let readable = ports.clone().flat_map(Port::readable).chain(self.time.fds()).chain(self.links.readable());
        let mut fds: Vec<PollFd<'_>> = readable.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let writable = ports.filter_map(|port| port.way.writable()).chain(self.time.writable());
        fds.extend(writable.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        let others = fds.len();
        fds.extend(self.links.starting.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(true),
            Ok(_) => Ok(fds.iter().take(others).any(|fd| fd.any().unwrap_or(true))),
            Err(error) => Err(error.into()),
        }
    }
}

impl Port {
    fn due(&self) -> Option<Instant> {
        self.asker.due().into_iter().chain(self.way.due()).min()
    }

    fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.asker.readable().chain(self.way.readable())
    }
}
