//! The links of `bond=`: combined into one link, or taken apart if that finds no network.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use cmdline::{Arguments, Bond};
use machine::Chain;
use machine::network::{self, HwAddr, Nic};

use super::bond::{self, Bonding};
use super::link::{self, Link};
use super::netlink::Netlink;

const NO_ADDRESS: &str = "00:00:00:00:00:00";
/// LACP takes at most this long to agree.
const PARTNER: Duration = Duration::from_secs(5);

pub struct Members {
    wish: Option<Bond>,
    /// DHCP servers know the machine by this address.
    known_as: Option<HwAddr>,
    bonding: Bonding,
    /// Links that cannot join the bond.
    refused: Vec<u32>,
    partner_due: Option<Instant>,
}

impl Members {
    pub fn of(arguments: &Arguments) -> Self {
        Self {
            wish: arguments.bond.clone(),
            known_as: arguments.ipam.as_ref().map(|ipam| ipam.mac).or(arguments.hw_addr),
            bonding: Bonding::default(),
            refused: Vec::new(),
            partner_due: None,
        }
    }

    /// False if the link is not part of a bond, and is used like any other.
    pub fn take(&mut self, netlink: &mut Netlink, link: &Link, now: Instant) -> bool {
        let Some(bond) = self.wish.clone().filter(|_| !self.bonding.is_apart()) else { return false };
        if link.name == bond.name {
            return self.bonding == Bonding::Unmade; // the kernel may have made a bond when it loaded the driver
        }
        bond::has_member(&bond, link) && !self.refused.contains(&link.index) && self.take_in(netlink, &bond, link, now)
    }

    fn take_in(&mut self, netlink: &mut Netlink, bond: &Bond, link: &Link, now: Instant) -> bool {
        let Some(master) = self.made(netlink, bond, now) else { return false };
        let down = if link.up { netlink.set_down(link.index) } else { Ok(()) };
        if let Err(error) = down.and_then(|()| netlink.set_master(link.index, master.index)) {
            log::warn!("cannot make {link} part of {}: {}; it is used alone", bond.name, Chain(&error));
            self.refused.push(link.index);
            return false;
        }
        log::info!("{link} is part of {}", bond.name);
        if self.known_as == Some(link.mac)
            && let Err(error) = netlink.set_mac(master.index, link.mac)
        {
            log::warn!("cannot give {} the address {}: {}", bond.name, link.mac, Chain(&error));
        }
        true
    }

    fn made(&mut self, netlink: &mut Netlink, bond: &Bond, now: Instant) -> Option<Link> {
        let read = || Link::read(Path::new(link::SYSFS), &bond.name);
        if self.bonding == Bonding::Unmade {
            // An earlier run of the network client may have made it.
            let made = if slaves(bond).is_empty() { make(netlink, bond, read()) } else { Ok(()) };
            if let Err(error) = made {
                log::warn!("bond={bond}: {error}; each link is tried alone. Is the module bonding in the ramdisk?");
                self.bonding = Bonding::Impossible;
                return None;
            }
            self.bonding = Bonding::Together { since: now };
        }
        read()
    }

    /// Tries a bond without network as single links, or single links as a bond. Returns the links that start again.
    pub fn take_turn(&mut self, netlink: &mut Netlink, links: &[Link], now: Instant) -> Option<Vec<Link>> {
        let bond = self.wish.as_ref().filter(|_| self.turn_due(links).is_some_and(|due| now >= due))?;
        match links.iter().find(|link| link.name == bond.name) {
            Some(_) if !slaves(bond).iter().any(|name| has_carrier(name)) => {
                self.bonding = Bonding::Together { since: now }; // no cable yet, so nothing was tried
                return None;
            }
            Some(link) => {
                log::warn!("{}: no network{}; trying each of its links alone", bond.name, partner(bond));
                self.bonding = Bonding::Apart { since: now };
                if let Err(error) = netlink.remove_link(link.index) {
                    log::warn!("cannot remove {link}: {}", Chain(&error));
                }
            }
            None => {
                log::warn!("none of the links of {} leads to a network alone; trying them together again", bond.name);
                self.bonding = Bonding::Unmade;
            }
        }
        let is_stale = |link: &&Link| link.name == bond.name || bond::has_member(bond, link);
        Some(links.iter().filter(is_stale).cloned().collect())
    }

    pub fn turn_due(&self, links: &[Link]) -> Option<Instant> {
        let bond = self.wish.as_ref()?;
        let carrier = links.iter().any(|link| link.name == bond.name && link.carrier);
        self.bonding.turns_at(carrier)
    }

    /// The machine had a network and lost it.
    pub fn restart(&mut self, now: Instant) {
        self.bonding.restart(now);
    }

    /// Whether the link is used alone, after it was taken from the bond `name`.
    pub fn is_alone(&self, name: &str, link: &Link) -> bool {
        let alone = |bond: &Bond| self.bonding.is_apart() && bond.name == name && bond::has_member(bond, link);
        self.wish.as_ref().is_some_and(alone)
    }

    /// The machine uses a link, so LACP's partner is due.
    pub fn expect_partner(&mut self, now: Instant) {
        self.partner_due = self.wish.as_ref().map(|_| now + PARTNER);
    }

    pub fn partner_due(&self) -> Option<Instant> {
        self.partner_due
    }

    /// Reports the partner after LACP had time to agree. A switch without LACP serves only one of the links.
    pub fn report_partner(&mut self, now: Instant) {
        if self.partner_due.is_none_or(|due| now < due) {
            return;
        }
        self.partner_due = None;
        let bond = self.wish.as_ref().filter(|bond| bond.is_lacp() && !slaves(bond).is_empty());
        if let Some(bond) = bond {
            log::info!("{} with {} links{}", bond.name, slaves(bond).len(), partner(bond));
        }
    }

    /// The bond and its members, in the form that the installed system needs, if `base` is the bond.
    pub fn learned(&self, base: &Link) -> Option<(network::Bond, Vec<Nic>)> {
        let wish = self.wish.as_ref().filter(|bond| bond.name == base.name)?;
        let bond = network::Bond { name: wish.name.clone(), mac: base.mac, options: bond::options(wish), mtu: wish.mtu };
        Some((bond, slaves(wish).into_iter().filter_map(member).collect()))
    }
}

fn make(netlink: &mut Netlink, bond: &Bond, old: Option<Link>) -> io::Result<()> {
    let attributes = bond::attributes(bond);
    if let Err(error) = netlink.set_bond(&bond.name, &attributes) {
        let is_bond = |link: &Link| Path::new(link::SYSFS).join(&link.name).join("bonding").exists();
        let old = old.filter(is_bond).ok_or(error)?; // a bond that was brought up cannot change its mode
        netlink.remove_link(old.index)?;
        netlink.set_bond(&bond.name, &attributes)?;
    }
    let made = Link::read(Path::new(link::SYSFS), &bond.name).map(|link| link.index);
    if let (Some(mtu), Some(index)) = (bond.mtu, made)
        && let Err(error) = netlink.set_mtu(index, mtu)
    {
        log::warn!("cannot set MTU {mtu} on {}: {}", bond.name, Chain(&error));
    }
    Ok(())
}

fn slaves(bond: &Bond) -> Vec<String> {
    let names = fs::read_to_string(Path::new(link::SYSFS).join(&bond.name).join("bonding/slaves")).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

fn member(name: String) -> Option<Nic> {
    let file = Path::new(link::SYSFS).join(&name).join("bonding_slave/perm_hwaddr");
    let mac = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Nic { name, mac })
}

fn has_carrier(name: &str) -> bool {
    fs::read_to_string(Path::new(link::SYSFS).join(name).join("carrier")).is_ok_and(|text| text.trim() == "1")
}

fn partner(bond: &Bond) -> String {
    let file = Path::new(link::SYSFS).join(&bond.name).join("bonding/ad_partner_mac");
    match fs::read_to_string(file).unwrap_or_default().trim() {
        _ if !bond.is_lacp() => String::new(),
        "" | NO_ADDRESS => ", no LACP partner".to_owned(),
        mac => format!(", LACP partner {mac}"),
    }
}
