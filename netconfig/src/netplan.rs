//! netplan, for Ubuntu.

use machine::network::{Learned, Method};

use super::{Duty, joined};

/// The kernel's name of a bonding option, and netplan's.
const PARAMETERS: [(&str, &str); 12] = [
    ("mode", "mode"),
    ("miimon", "mii-monitor-interval"),
    ("updelay", "up-delay"),
    ("downdelay", "down-delay"),
    ("lacp_rate", "lacp-rate"),
    ("xmit_hash_policy", "transmit-hash-policy"),
    ("min_links", "min-links"),
    ("ad_select", "ad-select"),
    ("fail_over_mac", "fail-over-mac-policy"),
    ("num_grat_arp", "gratuitous-arp"),
    ("resend_igmp", "resend-igmp"),
    ("packets_per_slave", "packets-per-slave"),
];

pub fn render(learned: &Learned) -> String {
    let mut text = String::from("network:\n  version: 2\n  ethernets:\n");
    for nic in &learned.nics {
        text += &format!("    {}:\n      match:\n        macaddress: \"{}\"\n", nic.name, nic.mac);
        text += &addresses(learned, Duty::of_nics(learned));
    }
    if let Some(bond) = &learned.bond {
        let members: Vec<&str> = learned.nics.iter().map(|nic| nic.name.as_str()).collect();
        text += &format!("  bonds:\n    {}:\n      interfaces: [{}]\n", bond.name, members.join(", "));
        text += &format!("      macaddress: \"{}\"\n      parameters:\n", bond.mac);
        for (name, value) in &bond.options {
            if let Some((_, netplans)) = PARAMETERS.iter().find(|(kernels, _)| kernels == name) {
                text += &format!("        {netplans}: {value}\n");
            }
        }
        text += &addresses(learned, Duty::of_bond(learned));
    }
    if let Some(id) = learned.vlan {
        let (name, below) = (learned.vlan_name(id), learned.base());
        text += &format!("  vlans:\n    {name}:\n      id: {id}\n      link: {below}\n");
        text += &addresses(learned, Duty::Address);
    }
    text
}

fn addresses(learned: &Learned, duty: Duty) -> String {
    let mut text = String::new();
    if let Some(mtu) = learned.mtu() {
        text += &format!("      mtu: {mtu}\n");
    }
    match (duty, learned.is_dynamic(), learned.is_ipv4()) {
        (Duty::Member | Duty::Carries, ..) => return text,
        (_, true, true) => return text + "      dhcp4: true\n      dhcp-identifier: mac\n",
        (_, true, false) => return text + &format!("      accept-ra: true\n      dhcp6: {}\n", learned.method == Method::Dhcp6),
        (_, false, _) => {}
    }
    text += &format!("      addresses: [\"{}/{}\"]\n", learned.address, learned.prefix);
    if !learned.routes.is_empty() {
        text += "      routes:\n";
    }
    for route in &learned.routes {
        text += &format!("        - to: \"{}/{}\"\n", route.destination, route.prefix);
        text += &match route.gateway {
            Some(gateway) => format!("          via: \"{gateway}\"\n"),
            None => "          scope: link\n".to_owned(),
        };
        if route.gateway.is_some_and(|gateway| learned.is_off_link(gateway)) {
            text += "          on-link: true\n";
        }
    }
    if !(learned.dns.is_empty() && learned.search.is_empty()) {
        text += "      nameservers:\n";
    }
    if !learned.dns.is_empty() {
        text += &format!("        addresses: [\"{}\"]\n", joined(&learned.dns, "\", \""));
    }
    if !learned.search.is_empty() {
        text += &format!("        search: [\"{}\"]\n", joined(&learned.search, "\", \""));
    }
    text
}
