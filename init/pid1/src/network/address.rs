//! Applies a lease to its link and to `/etc`: address, routes, MTU and names.

use std::fs;
use std::io;
use std::path::Path;

use machine::files;

use super::lease::{Lease, Times};
use super::links::{Link, Netlink};

const METRIC: u32 = 100;
const METRIC_OF_OTHERS: u32 = 1000;
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[derive(Debug, thiserror::Error)]
#[error("cannot set address {address} on {link}")]
pub struct AddressFailed {
    address: String,
    link: String,
    source: io::Error,
}

/// Only a missing address is an error: a network without some route or name may still lead to the server. The routes of a
/// link that is not chosen yet have a higher metric than all others.
pub fn set(netlink: &mut Netlink, link: &Link, lease: &Lease, chosen: bool) -> Result<(), AddressFailed> {
    if lease.by_kernel {
        return Ok(());
    }
    let metric = if chosen { METRIC } else { METRIC_OF_OTHERS + link.index };
    let failed =
        |source| AddressFailed { address: format!("{}/{}", lease.address, lease.prefix), link: link.to_string(), source };
    if let Some(mtu) = lease.mtu
        && let Err(error) = set_mtu(netlink, link, mtu)
    {
        log::warn!("cannot set MTU {mtu} on {}: {error}", link.name);
    }
    netlink.set_address(link.index, lease.address, lease.prefix, lease.times.map(seconds)).map_err(failed)?;
    for route in lease.routes.iter().filter(|_| !lease.routed_by_kernel) {
        let onlink = route.gateway.is_some_and(|gateway| !lease.is_on_link(gateway));
        if let Err(error) = netlink.set_route(link.index, *route, onlink, metric) {
            log::warn!("cannot set the route to {}/{} on {}: {error}", route.destination, route.prefix, link.name);
        }
    }
    Ok(())
}

/// The MTU of a VLAN cannot exceed that of the link below it, which is raised first.
fn set_mtu(netlink: &mut Netlink, link: &Link, mtu: u16) -> io::Result<()> {
    netlink.set_mtu(link.index, mtu).or_else(|error| {
        netlink.set_mtu(link.parent.ok_or(error)?, mtu)?;
        netlink.set_mtu(link.index, mtu)
    })
}

/// Sets the names for all other programs of the machine.
pub fn set_names(link: &Link, lease: &Lease) {
    if let Err(error) = files::replace(Path::new(RESOLV_CONF), lease.resolv_conf(&link.name)) {
        log::warn!("cannot write {RESOLV_CONF}: {error}");
    }
    if let Some(name) = &lease.hostname
        && let Err(error) = rustix::system::sethostname(name.as_bytes())
    {
        log::warn!("cannot set the host name {name}: {error}");
    }
}

/// Removes the address, and the kernel removes its routes.
pub fn remove(netlink: &mut Netlink, link: &Link, lease: &Lease) {
    if lease.by_kernel {
        return;
    }
    if let Err(error) = netlink.remove_address(link.index, lease.address, lease.prefix) {
        log::warn!("cannot remove address {} from {}: {error}", lease.address, link.name);
    }
}

/// Switches IPv6 on a link on or off. Without IPv6 the kernel removes what it made from router advertisements there,
/// especially default routes.
pub fn allow_ipv6(link: &Link, allowed: bool) {
    let file = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", link.name);
    let value = if allowed { "0" } else { "1" };
    let is_so = || fs::read_to_string(&file).is_ok_and(|text| text.trim() == value);
    if is_so() {
        return;
    }
    if let Err(error) = fs::write(&file, value)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot set {file} to {value}: {error}");
    }
}

fn seconds(times: Times) -> u32 {
    u32::try_from(times.expire.as_secs()).unwrap_or(u32::MAX)
}
