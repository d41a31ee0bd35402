//! An address and the settings that came with it: from a DHCPACK, from `ipam=` or `ip=`, from DHCPv6, or from a router.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use cmdline::{Ip, Ipam};
use dhcp::v4::{Packet, code};
use machine::network::{Route, covers, domain_name_fault, is_plain_name};

use super::host::Host;
use super::text::shown;

/// For a server that sends 0 or none, although RFC 2131 requires a lease time.
const NO_LEASE_TIME: u32 = 3600;
/// A shorter lease would be renewed all the time.
const SHORTEST: u32 = 10;
/// Every IPv4 host accepts packets of this size (RFC 791). Some servers send 68, the smallest MTU of a link.
const SMALLEST_MTU: u16 = 576;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub address: IpAddr,
    pub prefix: u8,
    pub routes: Vec<Route>,
    pub dns: Vec<IpAddr>,
    pub ntp: Vec<Host>,
    pub search: Vec<String>,
    pub hostname: Option<String>,
    pub mtu: Option<u16>,
    /// The server to renew with, or `None` for a static address.
    pub server: Option<Ipv4Addr>,
    /// `None` if the lease does not end.
    pub times: Option<Times>,
    /// Whether the kernel has set address and routes, from a router advertisement.
    pub by_kernel: bool,
    /// Whether the kernel has set the routes.
    pub routed_by_kernel: bool,
}

/// The times of RFC 2131, 4.4.5, counted from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub renew: Duration,
    pub rebind: Duration,
    pub expire: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("has no server identifier (option 54)")]
    NoServer,
    #[error("gives {0}, which is not an address for a machine")]
    Address(Ipv4Addr),
}

impl Lease {
    /// The lease of an OFFER or an ACK, and notes about what was left out or replaced, and why.
    pub fn read(ack: &Packet) -> Result<(Self, Vec<String>), Unusable> {
        let server = ack.server_id().ok_or(Unusable::NoServer)?;
        let address = assignable(ack.yiaddr)?;
        let mut notes = Vec::new();
        let dns = hosts(ack.dns_servers(), "a name server", &mut notes);
        let ntp = hosts(ack.ntp_servers(), "a time server", &mut notes);
        let lease = Self {
            address: address.into(),
            prefix: prefix(ack, address, &mut notes),
            routes: routes(ack),
            dns,
            ntp: ntp.into_iter().map(Host::Address).collect(),
            search: search(ack, &mut notes),
            hostname: hostname(ack, &mut notes),
            mtu: mtu(ack, &mut notes),
            server: Some(server),
            times: times(ack, &mut notes),
            by_kernel: false,
            routed_by_kernel: false,
        };
        Ok((lease, notes))
    }

    pub fn from_ipam(ipam: &Ipam) -> Self {
        Self {
            address: ipam.address.into(),
            prefix: ipam.prefix,
            routes: ipam.gateway.map(|gateway| default_route(gateway.into())).into_iter().collect(),
            dns: ipam.dns.iter().copied().map(IpAddr::from).collect(),
            ntp: ipam.ntp.iter().filter_map(|server| Host::parse(server)).collect(),
            search: ipam.search.iter().filter(|name| domain_name_fault(name).is_none()).cloned().collect(),
            hostname: ipam.hostname.clone().filter(|name| is_plain_name(name)),
            mtu: None,
            server: None,
            times: None,
            by_kernel: false,
            routed_by_kernel: false,
        }
    }

    /// `None` if `ip=` asks for an address instead of giving one.
    pub fn from_ip(ip: &Ip) -> Option<Self> {
        let (address, prefix) = ip.address?;
        Some(Self {
            address,
            prefix,
            routes: ip.gateway.map(default_route).into_iter().collect(),
            dns: ip.dns.clone(),
            ntp: ip.ntp.map(Host::Address).into_iter().collect(),
            search: Vec::new(),
            hostname: ip.hostname.clone().filter(|name| is_plain_name(name)),
            mtu: ip.mtu,
            server: None,
            times: None,
            by_kernel: false,
            routed_by_kernel: false,
        })
    }

    /// DHCPv6 gives an address without a network (RFC 5942). Routers announce the prefixes of the link.
    pub fn from_dhcpv6(address: Ipv6Addr, times: Option<Times>, gateway: Option<Ipv6Addr>) -> Self {
        Self {
            address: address.into(),
            prefix: 128,
            routes: gateway.map(|gateway| default_route(gateway.into())).into_iter().collect(),
            dns: Vec::new(),
            ntp: Vec::new(),
            search: Vec::new(),
            hostname: None,
            mtu: None,
            server: None,
            times,
            by_kernel: false,
            routed_by_kernel: true,
        }
    }

    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V4(address) if address.is_link_local())
    }

    /// Clouds assign /32 addresses, whose gateway is outside of the subnet and is still reached directly.
    pub fn is_on_link(&self, gateway: IpAddr) -> bool {
        covers(self.address, self.prefix, gateway)
    }

    /// Whether the lease has a route there.
    pub fn leads_to(&self, destination: IpAddr) -> bool {
        self.is_on_link(destination) || self.routes.iter().any(|route| covers(route.destination, route.prefix, destination))
    }

    pub fn resolv_conf(&self, link: &str) -> String {
        let mut text = String::from("# from DHCP or ipam=\n");
        if !self.search.is_empty() {
            text += &format!("search {}\n", self.search.join(" "));
        }
        // glibc reads three servers.
        for server in self.dns.iter().take(3) {
            let scope = if is_link_local(*server) { format!("%{link}") } else { String::new() };
            text += &format!("nameserver {server}{scope}\n");
        }
        text
    }
}

/// `ADDRESS/PREFIX gateway G dns D`, the form of the console.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = self.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway);
        let gateway = gateway.map_or("none".to_owned(), |gateway| gateway.to_string());
        let dns: Vec<String> = self.dns.iter().map(IpAddr::to_string).collect();
        let dns = if dns.is_empty() { "none".to_owned() } else { dns.join(",") };
        write!(f, "{}/{} gateway {gateway} dns {dns}", self.address, self.prefix)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

pub fn default_route(gateway: IpAddr) -> Route {
    let any: IpAddr = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Route { destination: any, prefix: 0, gateway: Some(gateway) }
}

pub fn assignable(address: Ipv4Addr) -> Result<Ipv4Addr, Unusable> {
    let reserved = address.is_unspecified() || address.is_broadcast() || address.is_loopback() || address.is_multicast();
    if reserved { Err(Unusable::Address(address)) } else { Ok(address) }
}

/// The prefix of the address's class (RFC 791), for a server that sends no mask.
fn classful(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..128, ..] => 8,
        [128..192, ..] => 16,
        _ => 24,
    }
}

/// From RFC 3442: a client that supports option 121 ignores option 3 if both are present.
fn routes(ack: &Packet) -> Vec<Route> {
    let classless = ack.classless_routes();
    if classless.is_empty() {
        let first = ack.routers().into_iter().find(|router| !router.is_unspecified());
        return first.map(|gateway| default_route(gateway.into())).into_iter().collect();
    }
    let mut routes: Vec<Route> = classless
        .into_iter()
        .map(|route| Route {
            destination: network(route.destination, route.prefix).into(),
            prefix: route.prefix,
            gateway: (!route.router.is_unspecified()).then_some(route.router.into()),
        })
        .collect();
    routes.sort_by_key(|route| route.gateway.is_some()); // a gateway may be reached over a route without gateway
    routes
}

/// The kernel refuses a route whose destination has bits after its prefix.
fn network(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & !u32::MAX.checked_shr(prefix.into()).unwrap_or(0))
}

fn prefix(ack: &Packet, address: Ipv4Addr, notes: &mut Vec<String>) -> u8 {
    ack.prefix_len().filter(|prefix| *prefix > 0).unwrap_or_else(|| {
        let prefix = classful(address);
        notes.push(format!("it has no usable subnet mask (option 1): /{prefix} is used, from the class of {address}"));
        prefix
    })
}

fn hosts(addresses: Vec<Ipv4Addr>, what: &str, notes: &mut Vec<String>) -> Vec<IpAddr> {
    let (good, other): (Vec<Ipv4Addr>, Vec<_>) = addresses.into_iter().partition(|address| assignable(*address).is_ok());
    notes.extend(other.iter().map(|address| format!("{address} cannot be {what}: left out")));
    good.into_iter().map(IpAddr::V4).collect()
}

fn mtu(ack: &Packet, notes: &mut Vec<String>) -> Option<u16> {
    let mtu = ack.mtu()?;
    if mtu < SMALLEST_MTU {
        notes.push(format!("the MTU {mtu} (option 26) is less than {SMALLEST_MTU}: left out"));
    }
    (mtu >= SMALLEST_MTU).then_some(mtu)
}

/// Linux allows 64 bytes. If a name is longer, its first label is used.
fn hostname(ack: &Packet, notes: &mut Vec<String>) -> Option<String> {
    let name = ack.hostname()?.trim_end_matches('.');
    if is_plain_name(name) {
        return Some(name.to_owned());
    }
    let label = name.split('.').next().filter(|label| is_plain_name(label) && domain_name_fault(name).is_none());
    match label {
        Some(label) => notes.push(format!("the host name {} (option 12) is too long: {label} is used", shown(name))),
        None => notes.push(format!("{} (option 12) is not a host name: left out", shown(name))),
    }
    label.map(str::to_owned)
}

/// The search list, or else the domain. Servers may write several domains into the option for one.
fn search(ack: &Packet, notes: &mut Vec<String>) -> Vec<String> {
    let listed = ack.domain_search_with_faults();
    notes.extend(listed.faults.iter().map(|fault| {
        format!("the search list (option {}) is broken, {fault}: only its readable names are used", code::DOMAIN_SEARCH)
    }));
    let mut good = |name: &str, option: u8| {
        let name = name.trim_end_matches('.');
        let fault = domain_name_fault(name);
        if let Some(fault) = fault {
            notes.push(format!("the domain {} (option {option}) {fault}: left out", shown(name)));
        }
        fault.is_none().then(|| name.to_owned())
    };
    let names: Vec<String> = listed.names.iter().filter_map(|name| good(name, code::DOMAIN_SEARCH)).collect();
    if !names.is_empty() {
        return names;
    }
    let separates = |c: char| matches!(c, ' ' | '\t' | ',' | ';' | '\0');
    let domains = ack.domain_name().unwrap_or_default().split(separates).filter(|name| !name.is_empty());
    domains.filter_map(|name| good(name, code::DOMAIN_NAME)).collect()
}

/// T1 and T2 from the server if they are in order, otherwise half and seven eighths of the lease.
fn times(ack: &Packet, notes: &mut Vec<String>) -> Option<Times> {
    let seconds = match ack.lease_time() {
        Some(u32::MAX) => return None,
        Some(seconds @ 1..SHORTEST) => {
            notes.push(format!("its lease time (option 51) is {seconds} s: {SHORTEST} s are used"));
            SHORTEST
        }
        Some(seconds @ 1..) => seconds,
        missing => {
            let what = if missing.is_some() { "its lease time (option 51) is 0" } else { "it has no lease time (option 51)" };
            notes.push(format!("{what}: {NO_LEASE_TIME} s are used"));
            NO_LEASE_TIME
        }
    };
    let expire = Duration::from_secs(u64::from(seconds));
    let sent = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let usual = Times { renew: expire / 2, rebind: expire * 7 / 8, expire };
    let times = Times {
        renew: sent(ack.renewal_time()).unwrap_or(usual.renew),
        rebind: sent(ack.rebinding_time()).unwrap_or(usual.rebind),
        expire,
    };
    let in_order = !times.renew.is_zero() && times.renew < times.rebind && times.rebind < times.expire;
    Some(if in_order { times } else { usual })
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
