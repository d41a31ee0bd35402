//! [`Learned`] as text: `NAME=VALUE` lines, and a line for each value of a list.

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::str::FromStr;

use super::{Bond, Learned, Method, Nic, Route};

const METHODS: [(Method, &str); 4] =
    [(Method::Static, "static"), (Method::Dhcp, "dhcp"), (Method::Auto6, "auto6"), (Method::Dhcp6, "dhcp6")];

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a line of what was learned of the network")]
pub struct BadLine(String);

pub fn render(learned: &Learned) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn Display| {
        let value: String = value.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let _ = writeln!(text, "{name}={value}"); // a String takes everything
    };
    let method = METHODS.iter().find(|(method, _)| *method == learned.method);
    line("method", &method.map_or("static", |(_, word)| word));
    learned.nics.iter().for_each(|nic| line("nic", &format_args!("{} {}", nic.mac, nic.name)));
    if let Some(bond) = &learned.bond {
        line("bond", &format_args!("{} {}", bond.mac, bond.name));
        bond.options.iter().for_each(|(name, value)| line("bond_option", &format_args!("{name} {value}")));
        bond.mtu.iter().for_each(|mtu| line("bond_mtu", mtu));
    }
    learned.vlan.iter().for_each(|id| line("vlan", id));
    line("address", &format_args!("{}/{}", learned.address, learned.prefix));
    for route in &learned.routes {
        let (destination, prefix) = (route.destination, route.prefix);
        match route.gateway {
            Some(gateway) => line("route", &format_args!("{destination}/{prefix} {gateway}")),
            None => line("route", &format_args!("{destination}/{prefix}")),
        }
    }
    learned.dns.iter().for_each(|server| line("dns", server));
    learned.search.iter().for_each(|domain| line("search", domain));
    learned.ntp.iter().for_each(|server| line("ntp", server));
    learned.hostname.iter().for_each(|name| line("hostname", name));
    learned.mtu.iter().for_each(|mtu| line("mtu", mtu));
    text
}

/// A name of another release is skipped.
pub fn parse(text: &str) -> Result<Learned, BadLine> {
    let (mut method, mut address) = (None, None);
    let mut learned = Learned {
        method: Method::Static,
        nics: Vec::new(),
        bond: None,
        vlan: None,
        address: IpAddr::from([0; 4]),
        prefix: 0,
        routes: Vec::new(),
        dns: Vec::new(),
        search: Vec::new(),
        ntp: Vec::new(),
        hostname: None,
        mtu: None,
    };
    for line in text.lines() {
        let bad = || BadLine(line.to_owned());
        let (name, value) = line.split_once('=').ok_or_else(bad)?;
        match name {
            "method" => method = METHODS.iter().find(|(_, word)| *word == value).map(|(method, _)| *method),
            "nic" => learned.nics.push(link(value).map(|(mac, name)| Nic { name, mac }).ok_or_else(bad)?),
            "bond" => {
                let bond = link(value).map(|(mac, name)| Bond { name, mac, options: Vec::new(), mtu: None });
                learned.bond = Some(bond.ok_or_else(bad)?);
            }
            "bond_option" => {
                let (name, value) = value.split_once(' ').ok_or_else(bad)?;
                learned.bond.as_mut().ok_or_else(bad)?.options.push((name.to_owned(), value.to_owned()));
            }
            "bond_mtu" => learned.bond.as_mut().ok_or_else(bad)?.mtu = Some(read(value).ok_or_else(bad)?),
            "vlan" => learned.vlan = Some(read(value).ok_or_else(bad)?),
            "address" => address = Some(network(value).ok_or_else(bad)?),
            "route" => learned.routes.push(route(value).ok_or_else(bad)?),
            "dns" => learned.dns.push(read(value).ok_or_else(bad)?),
            "search" => learned.search.push(value.to_owned()),
            "ntp" => learned.ntp.push(value.to_owned()),
            "hostname" => learned.hostname = Some(value.to_owned()),
            "mtu" => learned.mtu = Some(read(value).ok_or_else(bad)?),
            _ => {}
        }
    }
    learned.method = method.ok_or_else(|| BadLine("method=".to_owned()))?;
    (learned.address, learned.prefix) = address.ok_or_else(|| BadLine("address=".to_owned()))?;
    Ok(learned)
}

fn read<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

fn link(value: &str) -> Option<(cmdline::HwAddr, String)> {
    let (mac, name) = value.split_once(' ')?;
    Some((read(mac)?, name.to_owned()))
}

fn network(value: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = value.split_once('/')?;
    Some((read(address)?, read(prefix)?))
}

fn route(value: &str) -> Option<Route> {
    let (to, gateway) = value.split_once(' ').map_or((value, None), |(to, gateway)| (to, Some(gateway)));
    let (destination, prefix) = network(to)?;
    let gateway = gateway.map(|gateway| read(gateway).ok_or(())).transpose().ok()?;
    Some(Route { destination, prefix, gateway })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use cmdline::HwAddr;

    fn learned() -> Learned {
        let mac = HwAddr([2, 0, 0, 0, 0, 1]);
        let route = |destination: &str, prefix, gateway: Option<&str>| Route {
            destination: destination.parse().unwrap(),
            prefix,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        Learned {
            method: Method::Dhcp,
            nics: vec![Nic { name: "eth0".to_owned(), mac }, Nic { name: "eth1".to_owned(), mac }],
            bond: Some(Bond { name: "bond0".to_owned(), mac, options: vec![("mode".into(), "802.3ad".into())], mtu: Some(9000) }),
            vlan: Some(100),
            address: "10.0.0.5".parse().unwrap(),
            prefix: 24,
            routes: vec![route("0.0.0.0", 0, Some("10.0.0.1")), route("10.9.0.0", 16, None)],
            dns: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            search: vec!["lab.test".to_owned()],
            ntp: vec!["time.lab.test".to_owned()],
            hostname: Some("node one".to_owned()),
            mtu: Some(1400),
        }
    }

    #[test]
    fn what_was_learned_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("thimble/learned");
        let nothing = Learned { nics: Vec::new(), bond: None, vlan: None, routes: Vec::new(), ..learned() };
        let nothing = Learned { dns: Vec::new(), search: Vec::new(), ntp: Vec::new(), hostname: None, mtu: None, ..nothing };
        for learned in [learned(), nothing] {
            for method in [Method::Static, Method::Dhcp, Method::Auto6, Method::Dhcp6] {
                let learned = Learned { method, ..learned.clone() };
                learned.write(&file).unwrap();
                assert_eq!(Learned::read(&file).unwrap(), learned);
            }
        }
        let expected = "method=dhcp6\naddress=10.0.0.5/24\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }

    #[test]
    fn a_value_from_the_network_cannot_forge_a_line() {
        let forged = Learned { hostname: Some("a\ndns=10.6.6.6".to_owned()), ..learned() };
        let read = parse(&render(&forged)).unwrap();
        assert_eq!((read.hostname.as_deref(), read.dns), (Some("a?dns=10.6.6.6"), learned().dns));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let good = render(&learned());
        for bad in ["{", "mtu=big", "address=10.0.0.5", "route=10.0.0.0/8 home", "nic=eth0", "dns=dns"] {
            let error = parse(&format!("{good}{bad}\n")).unwrap_err();
            assert!(error.to_string().contains(bad), "{bad}: {error}");
        }
        assert!(parse("").is_err() && parse("method=dhcp\n").is_err(), "an address is needed");
        assert_eq!(parse(&format!("{good}colour=red\n")).unwrap(), learned(), "a name of another release");
    }
}
