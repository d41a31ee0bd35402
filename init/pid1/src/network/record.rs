//! What was learned of the network, kept in a file for the system that is installed.

use std::fs;
use std::path::Path;

use machine::Chain;
use machine::files;
use machine::network::{Bond, HwAddr, Learned, Method, Nic};

use super::bond;
use super::host::Host;
use super::lease::Lease;
use super::link::{self, Link};
use super::{Network, members};

impl Network {
    /// Writes it when it has changed, and not before PID 1 knows that there is a network: the boot goes first.
    pub(super) fn record(&mut self) {
        let Some(learned) = self.learned().filter(|_| self.ready.is_none()) else { return };
        if self.recorded.as_ref() == Some(&learned) {
            return;
        }
        if let Err(error) = learned.write(Path::new(files::LEARNED)) {
            log::warn!("cannot write what was learned of the network to {}: {}", files::LEARNED, Chain(&error));
        }
        self.recorded = Some(learned); // also after a failure, which is reported once
    }

    fn learned(&self) -> Option<Learned> {
        let port = self.ports.get(&self.bound?)?;
        let lease = port.lease.clone()?;
        let base = self.links.iter().find(|link| port.link.is_on(link))?;
        let vlan = port.link.parent.and_then(|_| self.tag(base));
        let asked_for = self.arguments.bond.as_ref().filter(|bond| bond.name == base.name);
        let bond =
            asked_for.map(|bond| Bond { name: bond.name.clone(), mac: base.mac, options: bond::options(bond), mtu: bond.mtu });
        let nics = asked_for.map_or_else(|| vec![nic(base)], |bond| members::slaves(bond).iter().filter_map(member).collect());
        Some(Learned {
            method: method(&lease),
            nics,
            bond,
            vlan,
            address: lease.address,
            prefix: lease.prefix,
            routes: lease.routes,
            dns: lease.dns,
            search: lease.search,
            ntp: lease.ntp.iter().map(Host::to_string).collect(),
            hostname: lease.hostname,
            mtu: lease.mtu,
        })
    }
}

fn method(lease: &Lease) -> Method {
    match lease {
        Lease { by_kernel: true, .. } => Method::Auto6,
        Lease { routed_by_kernel: true, .. } => Method::Dhcp6,
        Lease { server: Some(_), .. } => Method::Dhcp,
        _ => Method::Static,
    }
}

fn nic(link: &Link) -> Nic {
    Nic { name: link.name.clone(), mac: link.mac }
}

fn member(name: &String) -> Option<Nic> {
    let file = Path::new(link::SYSFS).join(name).join("bonding_slave/perm_hwaddr");
    let mac: HwAddr = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Nic { name: name.clone(), mac })
}
