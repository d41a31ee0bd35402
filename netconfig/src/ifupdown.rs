//! `/etc/network/interfaces` of Debian. Its patterns find a link by address. Bonds need the package `ifenslave`.

use machine::network::{Learned, Method};

use super::{Duty, joined};

pub fn render(learned: &Learned) -> String {
    let mut text = String::from("auto lo\niface lo inet loopback\n");
    for (number, nic) in learned.nics.iter().enumerate() {
        text += &format!("\nauto mac/{}/1=nic{number}\n", nic.mac);
        text += &stanza(learned, &format!("nic{number}"), Duty::of_nics(learned), "");
    }
    if let Some(bond) = &learned.bond {
        let mut options = format!("    hwaddress ether {}\n    bond-slaves none\n", bond.mac);
        for (name, value) in &bond.options {
            options += &format!("    bond-{} {value}\n", name.replace('_', "-"));
        }
        text += &format!("\nauto {}\n", bond.name);
        text += &stanza(learned, &bond.name, Duty::of_bond(learned), &options);
    }
    if let Some(id) = learned.vlan {
        let name = vlan_name(learned, id);
        let options = learned.bond.as_ref().map(|bond| format!("    vlan-raw-device {}\n", bond.name));
        if options.is_some() {
            text += &format!("\nauto {name}");
        }
        text += "\n";
        text += &stanza(learned, &name, Duty::Address, &options.unwrap_or_default());
    }
    text
}

/// A link whose name is not known brings up its VLAN itself, under a name that stands for the VLAN's settings.
fn vlan_name(learned: &Learned, id: u16) -> String {
    if learned.bond.is_some() { learned.vlan_name(id) } else { format!("vlan-{id}") }
}

fn stanza(learned: &Learned, name: &str, duty: Duty, options: &str) -> String {
    let family = if learned.is_ipv4() { "inet" } else { "inet6" };
    let mtu = learned.mtu().map(|mtu| format!("    pre-up ip link set dev $IFACE mtu {mtu}\n")).unwrap_or_default();
    let (family, method, settings) = match (duty, learned.is_dynamic(), learned.is_ipv4()) {
        (Duty::Member | Duty::Carries, ..) => ("inet", "manual", below(learned, duty)),
        (_, true, true) => (family, "dhcp", String::new()),
        (_, true, false) if learned.method == Method::Dhcp6 => (family, "auto", "    dhcp 1\n".to_owned()),
        (_, true, false) => (family, "auto", String::new()),
        (_, false, _) => (family, "static", fixed(learned)),
    };
    format!("iface {name} {family} {method}\n{options}{mtu}{settings}")
}

fn below(learned: &Learned, duty: Duty) -> String {
    match (duty, &learned.bond, learned.vlan) {
        (Duty::Member, Some(bond), _) => format!("    bond-master {}\n", bond.name),
        (Duty::Carries, None, Some(id)) => {
            let settings = vlan_name(learned, id);
            format!("    up ip link set dev $IFACE up\n    up ifup $IFACE.{id}={settings}\n    down ifdown $IFACE.{id}\n")
        }
        _ => String::new(),
    }
}

fn fixed(learned: &Learned) -> String {
    let mut text = format!("    address {}/{}\n", learned.address, learned.prefix);
    if let Some(gateway) = learned.gateway() {
        text += &match learned.is_off_link(gateway) {
            true => format!("    up ip route add default via {gateway} dev $IFACE onlink\n"),
            false => format!("    gateway {gateway}\n"),
        };
    }
    for route in learned.other_routes() {
        let onlink = route.gateway.is_some_and(|gateway| learned.is_off_link(gateway));
        let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let onlink = if onlink { " onlink" } else { "" };
        text += &format!("    up ip route add {}/{}{via} dev $IFACE{onlink}\n", route.destination, route.prefix);
    }
    for (key, list) in [("dns-nameservers", joined(&learned.dns, " ")), ("dns-search", joined(&learned.search, " "))] {
        if !list.is_empty() {
            text += &format!("    {key} {list}\n");
        }
    }
    text
}
