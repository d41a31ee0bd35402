//! The links of `bond=`: made one link, or taken apart where that leads nowhere.

use std::fs;
use std::path::Path;
use std::time::Instant;

use cmdline::Bond;

use super::Network;
use super::bond::{self, Bonding};
use super::link::{self, Link};

const NOBODY: &str = "00:00:00:00:00:00";

impl Network {
    /// `false`: the link is no part of a bond, and is used as any other.
    pub(super) fn is_bonded(&mut self, link: &Link, now: Instant) -> bool {
        let Some(bond) = self.arguments.bond.clone().filter(|_| !self.bonding.is_apart()) else { return false };
        if link.name == bond.name {
            return self.bonding == Bonding::Unmade; // the kernel may have made one when it loaded the driver
        }
        bond::has_member(&bond, link) && !self.refused.contains(&link.index) && self.take_in(&bond, link, now)
    }

    fn take_in(&mut self, bond: &Bond, link: &Link, now: Instant) -> bool {
        let Some(master) = self.made(bond, now) else { return false };
        let down = if link.up { self.netlink.set_down(link.index) } else { Ok(()) };
        if let Err(error) = down.and_then(|()| self.netlink.set_master(link.index, master.index)) {
            log::warn!("cannot make {link} part of {}: {error}; it is used alone", bond.name);
            self.refused.push(link.index);
            return false;
        }
        log::info!("{link} is part of {}", bond.name);
        // DHCP servers know the machine by this address.
        let known_as = self.arguments.ipam.as_ref().map(|ipam| ipam.mac).or(self.arguments.hw_addr);
        if known_as == Some(link.mac)
            && let Err(error) = self.netlink.set_mac(master.index, link.mac)
        {
            log::warn!("cannot give {} the address {}: {error}", bond.name, link.mac);
        }
        true
    }

    fn made(&mut self, bond: &Bond, now: Instant) -> Option<Link> {
        let read = || Link::read(Path::new(link::SYSFS), &bond.name);
        if self.bonding == Bonding::Unmade {
            let made = if slaves(bond).is_empty() { self.make(bond, read()) } else { Ok(()) }; // by an earlier life of ours
            if let Err(error) = made {
                log::warn!("bond={bond}: {error}; each link is tried alone. Is the module bonding in the ramdisk?");
                self.bonding = Bonding::Impossible;
                return None;
            }
            self.bonding = Bonding::Together { since: now };
        }
        read()
    }

    fn make(&mut self, bond: &Bond, old: Option<Link>) -> std::io::Result<()> {
        let attributes = bond::attributes(bond);
        if let Err(error) = self.netlink.set_bond(&bond.name, &attributes) {
            let is_bond = |link: &Link| Path::new(link::SYSFS).join(&link.name).join("bonding").exists();
            let old = old.filter(is_bond).ok_or(error)?; // one that was brought up cannot change its mode
            self.netlink.remove_link(old.index)?;
            self.netlink.set_bond(&bond.name, &attributes)?;
        }
        let made = Link::read(Path::new(link::SYSFS), &bond.name).map(|link| link.index);
        if let (Some(mtu), Some(index)) = (bond.mtu, made)
            && let Err(error) = self.netlink.set_mtu(index, mtu)
        {
            log::warn!("cannot set MTU {mtu} on {}: {error}", bond.name);
        }
        Ok(())
    }

    /// A machine without network tries its bond and the single links in turn.
    pub(super) fn take_turns(&mut self, now: Instant) -> Result<(), super::AddressFailed> {
        let Some(bond) = self.arguments.bond.clone().filter(|_| self.turn_due().is_some_and(|due| now >= due)) else {
            return Ok(());
        };
        let bonded = self.links.iter().find(|link| link.name == bond.name).cloned();
        match bonded {
            Some(_) if !slaves(&bond).iter().any(|name| has_carrier(name)) => {
                self.bonding = Bonding::Together { since: now }; // no cable yet: nothing was tried
                return Ok(());
            }
            Some(link) => {
                log::warn!("{}: no network{}: trying each of its links alone", bond.name, partner(&bond));
                self.bonding = Bonding::Apart { since: now };
                if let Err(error) = self.netlink.remove_link(link.index) {
                    log::warn!("cannot remove {link}: {error}");
                }
            }
            None => {
                log::warn!("none of the links of {} leads to a network alone: trying them together again", bond.name);
                self.bonding = Bonding::Unmade;
            }
        }
        let stale = |link: &Link| link.name == bond.name || bond::has_member(&bond, link);
        let below: Vec<Link> = self.links.iter().filter(|link| stale(link)).cloned().collect();
        let is_stale = |link: &Link| below.iter().any(|below| link.is_on(below));
        let ports: Vec<u32> = self.ports.iter().filter(|(_, port)| is_stale(&port.link)).map(|(index, _)| *index).collect();
        for index in ports {
            self.withdraw(index);
            self.ports.remove(&index);
        }
        self.look()
    }

    pub(super) fn turn_due(&self) -> Option<Instant> {
        let bond = self.arguments.bond.as_ref().filter(|_| self.bound.is_none())?;
        let carrier = self.links.iter().any(|link| link.name == bond.name && link.carrier);
        self.bonding.turns_at(carrier)
    }

    /// Whether `device` of `ip=` or `vlan=` means this link: by its name, or as one of a bond's that stand alone.
    pub(super) fn is_meant(&self, device: &str, link: &Link) -> bool {
        let alone = |bond: &Bond| self.bonding.is_apart() && bond.name == device && bond::has_member(bond, link);
        link.name == device || self.arguments.bond.as_ref().is_some_and(alone)
    }

    /// A switch that knows nothing of the bond serves one of its links only. To be said when LACP had its time.
    pub(super) fn tell_partner(&mut self, now: Instant) {
        if self.partner_due.is_none_or(|due| now < due) {
            return;
        }
        self.partner_due = None;
        let bond = self.arguments.bond.as_ref().filter(|bond| bond.is_lacp() && !slaves(bond).is_empty());
        if let Some(bond) = bond {
            log::info!("{} with {} links{}", bond.name, slaves(bond).len(), partner(bond));
        }
    }
}

pub fn slaves(bond: &Bond) -> Vec<String> {
    let file = Path::new(link::SYSFS).join(&bond.name).join("bonding/slaves");
    let names = fs::read_to_string(file).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

fn has_carrier(name: &str) -> bool {
    fs::read_to_string(Path::new(link::SYSFS).join(name).join("carrier")).is_ok_and(|text| text.trim() == "1")
}

fn partner(bond: &Bond) -> String {
    let file = Path::new(link::SYSFS).join(&bond.name).join("bonding/ad_partner_mac");
    match fs::read_to_string(file).unwrap_or_default().trim() {
        _ if !bond.is_lacp() => String::new(),
        "" | NOBODY => ", no LACP partner".to_owned(),
        mac => format!(", LACP partner {mac}"),
    }
}
