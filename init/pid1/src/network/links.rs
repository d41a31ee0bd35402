//! The machine's links: read from sysfs, brought up, bonded for `bond=`, and tagged.

mod bond;
mod link;
pub mod lldp;
mod members;
mod neighbours;
mod netlink;
mod starting;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use cmdline::{Arguments, HwAddr, Vlan};
use machine::network::{Bond, Nic};
use machine::{Chain, Milestone};

use super::once::Once;
pub use link::{Link, rank};
use members::Members;
use neighbours::Neighbours;
use netlink::LinkEvents;
pub use netlink::Netlink;
use starting::Starting;

const LOOPBACK: u32 = 1;

pub struct Links {
    /// Shared with the code that sets addresses and routes.
    pub netlink: Netlink,
    pub starting: Starting,
    pub members: Members,
    events: LinkEvents,
    neighbours: Option<Neighbours>,
    all: Vec<Link>,
    /// Why the VLAN interface cannot be made. It is reported only while the machine waits, because a driver may still come.
    obstacle: Option<String>,
    once: Once,
}

/// A link with carrier.
pub struct Lit {
    pub link: Link,
    /// Whether the carrier has come since the last check.
    pub is_new: bool,
}

impl Links {
    pub fn open(arguments: &Arguments) -> io::Result<Self> {
        // Opened before the first check, so that no event is missed.
        let (events, starting) = (LinkEvents::open()?, Starting::open());
        let mut netlink = Netlink::open()?;
        if let Err(error) = netlink.set_up(LOOPBACK) {
            log::warn!("cannot bring up the loopback interface: {}", Chain(&error));
        }
        let neighbours = Neighbours::open().inspect_err(|error| log::warn!("cannot listen to LLDP: {}", Chain(error)));
        Ok(Self {
            netlink,
            starting,
            members: Members::of(arguments),
            events,
            neighbours: neighbours.ok(),
            all: Vec::new(),
            obstacle: None,
            once: Once::default(),
        })
    }

    /// The addresses of all links, which stay as they are.
    pub fn addresses(&mut self) -> impl Iterator<Item = HwAddr> + use<> {
        self.events.drain();
        link::scan(Path::new(link::SYSFS), &Arguments::default()).into_iter().map(|link| link.mac)
    }

    /// Later checks use these arguments.
    pub fn obey(&mut self, arguments: &Arguments) {
        self.members = Members::of(arguments);
    }

    /// Reads the links again and sets them up. Returns those with carrier that are not members of a bond.
    pub fn look(&mut self, arguments: &Arguments, now: Instant) -> Vec<Lit> {
        self.events.drain();
        let mut all = link::scan(Path::new(link::SYSFS), arguments);
        self.starting.leave_out(Path::new(link::SYSFS), &mut all, now);
        let before = std::mem::replace(&mut self.all, all);
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.listen_on(&self.all, link::exists);
            neighbours.turn();
        }
        let mut lit = Vec::new();
        for link in &self.all {
            if self.members.take(&mut self.netlink, link, now) {
                continue;
            }
            if !link.up {
                bring_up(&mut self.netlink, link, &mut self.once);
                continue; // the kernel reports the change, and the next check finds the link up
            }
            let had_carrier = before.iter().any(|old| old.index == link.index && old.carrier && old.ups == link.ups);
            if !link.carrier && before.iter().any(|old| old.index == link.index && old.carrier) {
                log::info!("{link} has lost its carrier");
            }
            if link.carrier && !had_carrier {
                log::info!("{link} has carrier");
                Milestone::Carrier.reached();
            }
            if link.carrier {
                lit.push(Lit { link: link.clone(), is_new: !had_carrier });
            }
        }
        lit
    }

    /// The link for the machine's packets: `parent` itself, or a VLAN above it. `None` if it does not exist yet.
    pub fn carrying(&mut self, parent: &Link, arguments: &Arguments) -> Option<Link> {
        match self.vlan(parent, arguments) {
            None => Some(parent.clone()),
            Some(id) => self.tagged(parent, id),
        }
    }

    pub fn vlan(&self, parent: &Link, arguments: &Arguments) -> Option<u16> {
        let of_ipam = arguments.ipam.as_ref().and_then(|ipam| ipam.vlan);
        let meant = |vlan: &&Vlan| vlan.device.as_ref().is_none_or(|device| self.is_meant(device, parent));
        let of_vlan = arguments.vlan.as_ref().filter(meant).map(|vlan| vlan.id);
        of_ipam.or(arguments.vlan_id).or(of_vlan)
    }

    /// The VLAN interface above `parent`, which is made if necessary. It is returned once the kernel reports that it is up.
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
        if !link.up {
            bring_up(&mut self.netlink, &link, &mut self.once);
        }
        read().filter(|link| link.up && link.carrier)
    }

    /// Whether `device` of `ip=` or `vlan=` means this link: by its name, or as a former member of a bond.
    pub fn is_meant(&self, device: &str, link: &Link) -> bool {
        link.name == device || self.members.is_alone(device, link)
    }

    /// The link below a VLAN, or the link itself.
    pub fn below(&self, link: &Link) -> Option<&Link> {
        self.all.iter().find(|below| link.is_on(below))
    }

    pub fn has_carrier(&self) -> bool {
        self.all.iter().any(|link| link.carrier)
    }

    /// If `base` is a bond, the bond and its members. Otherwise only `base`.
    pub fn hardware(&self, base: &Link) -> (Option<Bond>, Vec<Nic>) {
        let nic = || vec![Nic { name: base.name.clone(), mac: base.mac }];
        self.members.learned(base).map_or_else(|| (None, nic()), |(bond, nics)| (Some(bond), nics))
    }

    /// What a machine without network waits for.
    pub fn missing(&self, arguments: &Arguments) -> String {
        self.obstacle.clone().unwrap_or_else(|| link::missing(&self.all, arguments))
    }

    /// When a machine without network switches between bond and single links.
    pub fn turn_due(&self) -> Option<Instant> {
        self.members.turn_due(&self.all)
    }

    /// Switches between bond and single links. Returns the links that start again.
    pub fn take_turn(&mut self, now: Instant) -> Option<Vec<Link>> {
        self.members.take_turn(&mut self.netlink, &self.all, now)
    }

    /// [`Starting`] is not included, because most of its events are about other devices.
    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.neighbours.as_ref().map(AsFd::as_fd).into_iter().chain([self.events.as_fd()])
    }
}

fn bring_up(netlink: &mut Netlink, link: &Link, once: &mut Once) {
    if let Err(error) = netlink.set_up(link.index) {
        once.warn(format!("cannot bring up {link}: {error}"));
    }
}
