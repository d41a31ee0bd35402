//! NetworkManager's keyfiles, for the systems of Red Hat and SUSE.

use machine::network::Learned;

use super::{BOND, Duty, File, joined, uuid};

/// A new option. Versions in use refuse it.
const TOO_NEW: &str = "lacp_active";

pub fn render(learned: &Learned) -> Vec<File> {
    let mut files = Vec::new();
    for nic in &learned.nics {
        let mut text = head(&nic.name, &uuid(nic.mac, 0), "ethernet");
        if let Some(bond) = &learned.bond {
            text += &format!("master={}\nslave-type=bond\n", bond.name);
        }
        text += &format!("\n[ethernet]\nmac-address={}\n{}", nic.mac, mtu(learned));
        files.push(file(&nic.name, text + &addresses(learned, Duty::of_nics(learned))));
    }
    if let Some(bond) = &learned.bond {
        let mut text = head(&bond.name, &uuid(bond.mac, BOND), "bond") + &format!("interface-name={}\n", bond.name);
        text += &format!("\n[ethernet]\ncloned-mac-address={}\n{}\n[bond]\n", bond.mac, mtu(learned));
        for (name, value) in bond.options.iter().filter(|(name, _)| name != TOO_NEW) {
            text += &format!("{name}={value}\n");
        }
        files.push(file(&bond.name, text + &addresses(learned, Duty::of_bond(learned))));
    }
    if let Some(id) = learned.vlan {
        let name = learned.vlan_name(id);
        files.push(file(&name, vlan(learned, id, &name)));
    }
    files
}

fn vlan(learned: &Learned, id: u16, name: &str) -> String {
    let nic = learned.nics.first().map(|nic| nic.mac).filter(|_| learned.bond.is_none());
    let mac = nic.or(learned.bond.as_ref().map(|bond| bond.mac));
    let mut text = head(name, &mac.map(|mac| uuid(mac, id)).unwrap_or_default(), "vlan");
    // A NIC below is found by its address, a bond by the name that is set here.
    text += &match nic {
        Some(mac) => format!("\n[ethernet]\nmac-address={mac}\n{}\n[vlan]\nid={id}\nflags=1\n", mtu(learned)),
        None => {
            let below = learned.base();
            format!("interface-name={name}\n\n[ethernet]\n{}\n[vlan]\nid={id}\nflags=1\nparent={below}\n", mtu(learned))
        }
    };
    text + &addresses(learned, Duty::Address)
}

fn file(name: &str, text: String) -> File {
    (format!("{name}.nmconnection"), text)
}

fn head(id: &str, uuid: &str, kind: &str) -> String {
    format!("[connection]\nid={id}\nuuid={uuid}\ntype={kind}\n")
}

fn mtu(learned: &Learned) -> String {
    learned.mtu().map(|mtu| format!("mtu={mtu}\n")).unwrap_or_default()
}

fn addresses(learned: &Learned, duty: Duty) -> String {
    const OFF: &str = "method=disabled\n";
    let (v4, v6) = match (duty, learned.is_dynamic(), learned.is_ipv4()) {
        (Duty::Member, ..) => return String::new(),
        (Duty::Carries, ..) => (OFF.to_owned(), OFF.to_owned()),
        (_, true, true) => ("method=auto\ndhcp-client-id=mac\n".to_owned(), "method=auto\n".to_owned()),
        (_, true, false) => (OFF.to_owned(), "method=auto\n".to_owned()),
        (_, false, true) => (fixed(learned), "method=auto\n".to_owned()),
        (_, false, false) => (OFF.to_owned(), fixed(learned)),
    };
    format!("\n[ipv4]\n{v4}\n[ipv6]\n{v6}")
}

fn fixed(learned: &Learned) -> String {
    let gateway = learned.gateway().map(|gateway| format!(",{gateway}")).unwrap_or_default();
    let mut text = format!("method=manual\naddress1={}/{}{gateway}\n", learned.address, learned.prefix);
    for (number, route) in learned.other_routes().enumerate() {
        let gateway = route.gateway.map(|gateway| format!(",{gateway}")).unwrap_or_default();
        text += &format!("route{}={}/{}{gateway}\n", number + 1, route.destination, route.prefix);
    }
    for (key, list) in [("dns", joined(&learned.dns, ";")), ("dns-search", joined(&learned.search, ";"))] {
        if !list.is_empty() {
            text += &format!("{key}={list};\n");
        }
    }
    text
}
