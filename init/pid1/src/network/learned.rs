//! What the machine has learned of its network, for the system that is installed: the links below the one that is used,
//! by the addresses they were made with, and what was given to it. Each module below writes it down in one system's words. Pure.

mod ifcfg;
mod ifupdown;
mod netplan;
mod network_manager;
mod networkd;
mod variables;

use std::net::IpAddr;

use cmdline::{BOND_OPTIONS, HwAddr};

use super::lease::{Lease, is_hostname};
use super::netlink::Route;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The link that carries everything, or the members of the bond that does.
    pub nics: Vec<Nic>,
    pub bond: Option<Bond>,
    pub vlan: Option<u16>,
    pub lease: Lease,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    pub name: String,
    /// What the hardware was made with: the members of a bond wear the bond's.
    pub mac: HwAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    pub name: String,
    pub mac: HwAddr,
    /// In the kernel's names and words.
    pub options: Vec<(String, String)>,
    pub mtu: Option<u16>,
}

/// A file below the folder, and what is in it.
pub type File = (String, String);

/// Where a link stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It has the address.
    Address,
    /// A VLAN above it has the address.
    Carries,
    /// It is part of a bond.
    Member,
}

impl Learned {
    /// Names that would need quoting somewhere are replaced: the files find the links by their addresses.
    pub fn new(nics: Vec<Nic>, bond: Option<Bond>, vlan: Option<u16>, lease: Lease) -> Self {
        let plain = |number: usize, nic: Nic| {
            if is_hostname(&nic.name) { nic } else { Nic { name: format!("nic{number}"), ..nic } }
        };
        let nics = nics.into_iter().enumerate().map(|(number, nic)| plain(number, nic)).collect();
        let bond = bond.map(|bond| if is_hostname(&bond.name) { bond } else { Bond { name: "bond0".to_owned(), ..bond } });
        Self { nics, bond, vlan, lease }
    }

    pub fn files(&self) -> Vec<File> {
        let mut files = vec![
            ("netplan.yaml".to_owned(), netplan::render(self)),
            ("interfaces".to_owned(), ifupdown::render(self)),
            ("learned.env".to_owned(), variables::render(self)),
        ];
        let folders: [(&str, Vec<File>); 3] = [
            ("networkd", networkd::render(self)),
            ("NetworkManager", network_manager::render(self)),
            ("ifcfg", ifcfg::render(self)),
        ];
        for (folder, rendered) in folders {
            files.extend(rendered.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)));
        }
        files
    }

    /// Somebody gives the address anew whenever the machine asks.
    fn is_dynamic(&self) -> bool {
        self.lease.server.is_some() || self.lease.by_kernel || self.lease.routed_by_kernel
    }

    fn is_ipv4(&self) -> bool {
        self.lease.address.is_ipv4()
    }

    fn of_nics(&self) -> Duty {
        if self.bond.is_some() { Duty::Member } else { self.of_bond() }
    }

    fn of_bond(&self) -> Duty {
        if self.vlan.is_some() { Duty::Carries } else { Duty::Address }
    }

    /// The link below a VLAN, or the only one.
    fn base(&self) -> &str {
        let nic = || self.nics.first().map_or("eth0", |nic| nic.name.as_str());
        self.bond.as_ref().map_or_else(nic, |bond| &bond.name)
    }

    fn vlan_name(&self, id: u16) -> String {
        format!("{}.{id}", self.base())
    }

    /// For every link of the stack: the frames of one are no longer than those of the next below.
    fn mtu(&self) -> Option<u16> {
        self.lease.mtu.or(self.bond.as_ref().and_then(|bond| bond.mtu))
    }

    fn gateway(&self) -> Option<IpAddr> {
        self.lease.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway)
    }

    /// The routes beside the default one.
    fn other_routes(&self) -> impl Iterator<Item = &Route> {
        self.lease.routes.iter().filter(|route| route.prefix != 0)
    }

    fn is_off_link(&self, gateway: IpAddr) -> bool {
        !self.lease.is_on_link(gateway)
    }

    fn dns(&self, between: &str) -> String {
        joined(&self.lease.dns, between)
    }

    fn search(&self, between: &str) -> String {
        joined(&self.lease.search, between)
    }
}

impl Bond {
    /// As asked for, numbers turned into the kernel's words; the mode always, and first.
    pub fn of(bond: &cmdline::Bond, mac: HwAddr, miimon: u32) -> Self {
        let mut options: Vec<(String, String)> =
            bond.options.iter().map(|(name, value)| (name.clone(), word(name, value))).collect();
        let given = |options: &[(String, String)], name: &str| options.iter().any(|(given, _)| given == name);
        if !given(&options, "miimon") {
            options.insert(0, ("miimon".to_owned(), miimon.to_string()));
        }
        if !given(&options, "mode") {
            options.insert(0, ("mode".to_owned(), "balance-rr".to_owned()));
        }
        options.sort_by_key(|(name, _)| name != "mode");
        Self { name: bond.name.clone(), mac, options, mtu: bond.mtu }
    }

    fn joined(&self, between: &str, write: impl Fn(&str, &str) -> String) -> String {
        self.options.iter().map(|(name, value)| write(name, value)).collect::<Vec<_>>().join(between)
    }
}

fn word(name: &str, value: &str) -> String {
    let known = BOND_OPTIONS.iter().find(|(known, ..)| *known == name);
    let number = value.parse::<usize>().ok();
    let word = known.and_then(|(.., words)| words.get(number?));
    word.map_or_else(|| value.to_owned(), |word| (*word).to_owned())
}

fn joined<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

/// One that is the same at every boot, as it names the link by what it is.
fn uuid(mac: HwAddr, kind: u16) -> String {
    let [a, b, c, d, e, f] = mac.0;
    format!("7468696d-626c-8{kind:03x}-8000-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}")
}

/// What stands in [`uuid`] for a bond; VLANs have their numbers, a plain link 0.
const BOND: u16 = 0xfff;

#[cfg(test)]
mod tests;
