//! The learned network settings, kept in a file for the system that is installed.

use std::path::Path;

use machine::Chain;
use machine::files::LEARNED;
use machine::network::{Learned, Method};

use super::host::Host;
use super::lease::Lease;
use super::links::{Link, Links};

#[derive(Default)]
pub struct Record(Option<Learned>);

impl Record {
    /// Writes the settings if they have changed.
    pub fn keep(&mut self, learned: Learned) {
        if self.0.as_ref() == Some(&learned) {
            return;
        }
        if let Err(error) = learned.write(Path::new(LEARNED)) {
            log::warn!("cannot write what was learned of the network to {LEARNED}: {}", Chain(&error));
        }
        self.0 = Some(learned); // set after a failure, too, so that it is reported only once
    }
}

/// The settings that `link` has with its lease.
pub fn learned(links: &Links, link: &Link, vlan: Option<u16>, lease: Lease) -> Option<Learned> {
    let (bond, nics) = links.below(link).map(|base| links.hardware(base))?;
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

fn method(lease: &Lease) -> Method {
    match lease {
        Lease { by_kernel: true, .. } => Method::Auto6,
        Lease { routed_by_kernel: true, .. } => Method::Dhcp6,
        Lease { server: Some(_), .. } => Method::Dhcp,
        _ => Method::Static,
    }
}
