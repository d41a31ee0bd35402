//! `ifcfg-` files, for Red Hat's systems up to version 9, where NetworkManager reads them.

use std::net::{IpAddr, Ipv4Addr};

use machine::network::Learned;

use super::{BOND, Duty, File, joined, uuid};

pub fn render(learned: &Learned) -> Vec<File> {
    let mut files = Vec::new();
    let mut add = |name: &str, text: String, duty: Duty| {
        files.push((format!("ifcfg-{name}"), text + &addresses(learned, duty)));
        let routes = if duty == Duty::Address { routes(learned) } else { String::new() };
        if !routes.is_empty() {
            files.push((format!("route-{name}"), routes));
        }
    };
    for nic in &learned.nics {
        let mut text = head(learned, &nic.name, &uuid(nic.mac, 0), "Ethernet") + &format!("HWADDR={}\n", nic.mac);
        if let Some(bond) = &learned.bond {
            text += &format!("MASTER={}\nSLAVE=yes\n", bond.name);
        }
        add(&nic.name, text, Duty::of_nics(learned));
    }
    if let Some(bond) = &learned.bond {
        let mut text = head(learned, &bond.name, &uuid(bond.mac, BOND), "Bond");
        let options = bond.options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        text +=
            &format!("DEVICE={}\nMACADDR={}\nBONDING_MASTER=yes\nBONDING_OPTS=\"{}\"\n", bond.name, bond.mac, options.join(" "));
        add(&bond.name, text, Duty::of_bond(learned));
    }
    if let Some(id) = learned.vlan {
        let name = learned.vlan_name(id);
        let text = vlan(learned, id, &name);
        add(&name, text, Duty::Address);
    }
    files
}

/// A bond below is named, because its name is set here. A NIC below is identified by its UUID.
fn vlan(learned: &Learned, id: u16, name: &str) -> String {
    let (mac, below, device) = match (&learned.bond, learned.nics.first()) {
        (Some(bond), _) => (bond.mac, bond.name.clone(), format!("DEVICE={name}\n")),
        (None, Some(nic)) => (nic.mac, uuid(nic.mac, 0), String::new()),
        (None, None) => return String::new(),
    };
    head(learned, name, &uuid(mac, id), "Vlan") + &format!("{device}VLAN=yes\nVLAN_ID={id}\nPHYSDEV={below}\n")
}

fn head(learned: &Learned, name: &str, uuid: &str, kind: &str) -> String {
    let mtu = learned.mtu().map(|mtu| format!("MTU={mtu}\n")).unwrap_or_default();
    format!("NAME={name}\nUUID={uuid}\nTYPE={kind}\nONBOOT=yes\n{mtu}")
}

fn addresses(learned: &Learned, duty: Duty) -> String {
    let mut text = match (duty, learned.is_dynamic(), learned.is_ipv4()) {
        (Duty::Member | Duty::Carries, ..) => return "BOOTPROTO=none\n".to_owned(),
        (_, true, true) => return "BOOTPROTO=dhcp\nDHCP_CLIENT_ID=mac\nIPV6INIT=yes\nIPV6_AUTOCONF=yes\n".to_owned(),
        (_, true, false) => return "BOOTPROTO=none\nIPV6INIT=yes\nIPV6_AUTOCONF=yes\n".to_owned(),
        (_, false, true) => format!("BOOTPROTO=none\nIPADDR={}\nPREFIX={}\n", learned.address, learned.prefix),
        (_, false, false) => format!("BOOTPROTO=none\nIPV6INIT=yes\nIPV6ADDR={}/{}\n", learned.address, learned.prefix),
    };
    if let Some(gateway) = learned.gateway() {
        text += &format!("{}={gateway}\n", if gateway.is_ipv4() { "GATEWAY" } else { "IPV6_DEFAULTGW" });
    }
    for (number, server) in learned.dns.iter().enumerate() {
        text += &format!("DNS{}={server}\n", number + 1);
    }
    if !learned.search.is_empty() {
        text += &format!("DOMAIN=\"{}\"\n", joined(&learned.search, " "));
    }
    text
}

/// As numbered variables: unlike lines of `ip route`, they allow a route without gateway.
fn routes(learned: &Learned) -> String {
    let mut text = String::new();
    if learned.is_dynamic() {
        return text;
    }
    let v4 = learned.other_routes().filter_map(|route| match route.destination {
        IpAddr::V4(destination) => Some((destination, route)),
        IpAddr::V6(_) => None,
    });
    for (number, (destination, route)) in v4.enumerate() {
        let mask = Ipv4Addr::from_bits(!u32::MAX.checked_shr(u32::from(route.prefix)).unwrap_or(0));
        text += &format!("ADDRESS{number}={destination}\nNETMASK{number}={mask}\n");
        if let Some(gateway) = route.gateway {
            text += &format!("GATEWAY{number}={gateway}\n");
        }
    }
    text
}
