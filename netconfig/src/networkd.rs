//! systemd-networkd: a file for each link, and one more for each that has to be made.

use machine::network::Learned;

use super::{Duty, File, joined};

/// The kernel's name of a bonding option, networkd's, and the unit of its number.
const OPTIONS: [(&str, &str, &str); 13] = [
    ("mode", "Mode", ""),
    ("miimon", "MIIMonitorSec", "ms"),
    ("updelay", "UpDelaySec", "ms"),
    ("downdelay", "DownDelaySec", "ms"),
    ("lacp_rate", "LACPTransmitRate", ""),
    ("xmit_hash_policy", "TransmitHashPolicy", ""),
    ("min_links", "MinLinks", ""),
    ("ad_select", "AdSelect", ""),
    ("fail_over_mac", "FailOverMACPolicy", ""),
    ("num_grat_arp", "GratuitousARP", ""),
    ("resend_igmp", "ResendIGMP", ""),
    ("packets_per_slave", "PacketsPerSlave", ""),
    ("all_slaves_active", "AllSlavesActive", ""),
];

pub fn render(learned: &Learned) -> Vec<File> {
    let mut files = Vec::new();
    for nic in &learned.nics {
        // The address in use is also that of a VLAN or a bond above it.
        let matched = format!("PermanentMACAddress={}", nic.mac);
        files.push((format!("10-{}.network", nic.name), network(learned, &matched, Duty::of_nics(learned))));
    }
    if let Some(bond) = &learned.bond {
        let mut text = format!("[NetDev]\nName={}\nKind=bond\nMACAddress={}\n\n[Bond]\n", bond.name, bond.mac);
        for (name, value) in &bond.options {
            if let Some((_, networkds, unit)) = OPTIONS.iter().find(|(kernels, ..)| kernels == name) {
                text += &format!("{networkds}={value}{unit}\n");
            }
        }
        files.push((format!("10-{}.netdev", bond.name), text));
        let matched = format!("Name={}", bond.name);
        files.push((format!("10-{}.network", bond.name), network(learned, &matched, Duty::of_bond(learned))));
    }
    if let Some(id) = learned.vlan {
        let name = learned.vlan_name(id);
        files.push((format!("10-{name}.netdev"), format!("[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={id}\n")));
        files.push((format!("10-{name}.network"), network(learned, &format!("Name={name}"), Duty::Address)));
    }
    files
}

fn network(learned: &Learned, matched: &str, duty: Duty) -> String {
    let mut text = format!("[Match]\n{matched}\n");
    if let Some(mtu) = learned.mtu() {
        text += &format!("\n[Link]\nMTUBytes={mtu}\n");
    }
    text += "\n[Network]\n";
    match (duty, &learned.bond, learned.vlan) {
        (Duty::Member, Some(bond), _) => text += &format!("Bond={}\n", bond.name),
        (Duty::Carries, _, Some(id)) => {
            text += &format!("VLAN={}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", learned.vlan_name(id));
        }
        _ if learned.is_dynamic() => text += &asked(learned),
        _ => text += &fixed(learned),
    }
    text
}

fn asked(learned: &Learned) -> String {
    if !learned.is_ipv4() {
        return "IPv6AcceptRA=yes\n".to_owned(); // routers say whether to ask DHCPv6
    }
    let mut text = "DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n".to_owned(); // as PID 1 did, so the same address comes again
    if !learned.search.is_empty() {
        text += "UseDomains=yes\n";
    }
    text
}

fn fixed(learned: &Learned) -> String {
    let mut text = format!("Address={}/{}\n", learned.address, learned.prefix);
    for server in &learned.dns {
        text += &format!("DNS={server}\n");
    }
    if !learned.search.is_empty() {
        text += &format!("Domains={}\n", joined(&learned.search, " "));
    }
    for server in &learned.ntp {
        text += &format!("NTP={server}\n");
    }
    for route in &learned.routes {
        text += &format!("\n[Route]\nDestination={}/{}\n", route.destination, route.prefix);
        text += &route.gateway.map_or("Scope=link\n".to_owned(), |gateway| format!("Gateway={gateway}\n"));
        if route.gateway.is_some_and(|gateway| learned.is_off_link(gateway)) {
            text += "GatewayOnLink=yes\n";
        }
    }
    text
}
