//! `network-config`: netplan's version 2, as cloud-init takes it, from the interfaces of the Hardware.

use std::net::IpAddr;

use machine::network::{covers, domain_name_fault, is_plain_name};
use model::{Dhcp, HardwareSpec, Interface, Ip};

use crate::yaml::quoted;

/// The longest name of a network interface (IFNAMSIZ).
const LONGEST_NAME: usize = 15;
/// What a later default route costs more than the one before it.
const METRIC: usize = 100;

/// An interface with an address gets it as a static one, so the machine comes up without a DHCP server. `None` if no
/// interface has a MAC, because nothing else identifies it.
pub fn render(spec: &HardwareSpec) -> Option<String> {
    let (mut ethernets, mut vlans, mut gateways) = (String::new(), String::new(), 0);
    for (number, interface) in spec.interfaces.iter().enumerate() {
        let Some((dhcp, mac)) = interface.dhcp.as_ref().and_then(|dhcp| Some((dhcp, dhcp.mac?))) else { continue };
        let own = dhcp.iface_name.as_deref().filter(|name| is_plain_name(name) && name.len() <= LONGEST_NAME);
        let others = || spec.interfaces.iter().filter_map(|interface| interface.dhcp.as_ref()?.iface_name.as_deref());
        let own = own.filter(|own| others().filter(|other| other == own).count() == 1);
        let name = own.map_or_else(|| format!("nic{number}"), str::to_owned);
        ethernets += &format!("  {}:\n    match:\n      macaddress: \"{mac}\"\n", quoted(&name));
        if own.is_some() {
            ethernets += &format!("    set-name: {}\n", quoted(&name));
        }
        let addresses = addresses(interface, dhcp, &mut gateways);
        match dhcp.vlan_id.as_deref().and_then(|id| id.parse::<u16>().ok()).filter(|id| (1..=4094).contains(id)) {
            None => ethernets += &addresses,
            Some(id) => {
                let full = format!("{name}.{id}");
                let above = if full.len() <= LONGEST_NAME { full } else { format!("vlan{id}") };
                vlans += &format!("  {}:\n    id: {id}\n    link: {}\n{addresses}", quoted(&above), quoted(&name));
            }
        }
    }
    let vlans = if vlans.is_empty() { vlans } else { format!("vlans:\n{vlans}") };
    (!ethernets.is_empty()).then(|| format!("version: 2\nethernets:\n{ethernets}{vlans}"))
}

fn addresses(interface: &Interface, dhcp: &Dhcp, gateways: &mut usize) -> String {
    let ip = dhcp.ip.as_ref();
    let Some((ip, address)) = ip.and_then(|ip| Some((ip, ip.address.filter(|address| !address.is_unspecified())?))) else {
        return format!("    dhcp4: {}\n", interface.disable_dhcp != Some(true));
    };
    let prefix = prefix(ip, address);
    let mut out = format!("    addresses: [\"{address}/{prefix}\"]\n");
    let is_default = |route: &&model::Route| route.destination_descriptor.ends_with("/0");
    let own = dhcp.classless_static_routes.iter().find(is_default).map(|route| route.router);
    let gateway = own.or(ip.gateway).filter(|gateway| !gateway.is_unspecified() && gateway.is_ipv4() == address.is_ipv4());
    let mut routes = Vec::new();
    if let Some(gateway) = gateway {
        let metric = (*gateways > 0).then_some(*gateways * METRIC + METRIC);
        *gateways += 1;
        routes.push((if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, gateway, metric));
    }
    let others = dhcp.classless_static_routes.iter().filter(|route| !is_default(route));
    routes.extend(others.map(|route| (route.destination_descriptor.as_str(), route.router, None)));
    if !routes.is_empty() {
        out += "    routes:\n";
    }
    for (to, via, metric) in routes {
        out += &format!("      - to: {}\n        via: \"{via}\"\n", quoted(to));
        if !covers(address, prefix, via) {
            out += "        on-link: true\n";
        }
        if let Some(metric) = metric {
            out += &format!("        metric: {metric}\n");
        }
    }
    let search = dhcp.domain_name.as_deref().filter(|domain| domain_name_fault(domain).is_none());
    if search.is_some() || !dhcp.name_servers.is_empty() {
        out += "    nameservers:\n";
    }
    if let Some(domain) = search {
        out += &format!("      search: [{}]\n", quoted(domain));
    }
    if !dhcp.name_servers.is_empty() {
        let servers: Vec<String> = dhcp.name_servers.iter().map(|server| format!("\"{server}\"")).collect();
        out += &format!("      addresses: [{}]\n", servers.join(", "));
    }
    out
}

/// Without a netmask it is the one that boots' DHCP hands out.
fn prefix(ip: &Ip, address: IpAddr) -> u8 {
    let ones = match ip.netmask {
        Some(IpAddr::V4(mask)) if address.is_ipv4() => mask.to_bits().leading_ones(),
        Some(IpAddr::V6(mask)) if address.is_ipv6() => mask.to_bits().leading_ones(),
        _ if address.is_ipv4() => 24,
        _ => 64,
    };
    u8::try_from(ones).unwrap_or(128)
}
