//! The settings `dhcp6-mode` and `dhcp6`: what DHCPv6 and router advertisements do, by network.

use std::net::Ipv6Addr;

use boots::dhcp6::{Advertised, Mode, Network, Networks, Subnet};
use serde::Deserialize;

use super::dhcp::is_domain;

/// An entry of the list `dhcp6`, as a person wrote it.
#[derive(Deserialize, Debug, Default, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Entry {
    pub subnet: Option<String>,
    pub mode: Option<String>,
    pub dns: Vec<String>,
    pub ntp: Vec<String>,
    pub domain: Option<String>,
    #[serde(alias = "lease_time")]
    pub lease_time: Option<u32>,
    /// Whether router advertisements name this network.
    pub advertise: Option<bool>,
    #[serde(alias = "router_lifetime")]
    pub router_lifetime: Option<u16>,
}

/// Seconds.
const LEASE_TIME: u32 = 3600;
/// Less would make clients ask all the time.
const LEAST_LEASE_TIME: u32 = 60;
/// The longest one of RFC 4861, 6.2.1.
const LONGEST_ROUTER_LIFETIME: u16 = 9000;
const WORDS: &str = "reservation, stateless, pool and off are the choices";

/// Adds each mistake with the setting that it is in.
pub fn check(mode: Option<&str>, entries: &[Entry], mistakes: &mut Vec<String>) -> Networks {
    let only_listed = match mode {
        None | Some("reservation") => false,
        Some("off") => true,
        Some(other) => {
            let hint = "a stateless network or a pool is an entry of the list dhcp6 in the settings file";
            mistakes.push(format!("dhcp6-mode: {other:?} is neither reservation nor off; {hint}"));
            true
        }
    };
    let mut listed: Vec<Network> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let mut own = Vec::new();
        if let Some(network) = entry.check(&mut own) {
            if let Some(earlier) = listed.iter().position(|earlier| earlier.subnet.contains(network.subnet.parts().0)) {
                own.push(format!(".subnet: {} is also in dhcp6[{earlier}]", network.subnet));
            }
            listed.push(network);
        }
        mistakes.extend(own.into_iter().map(|mistake| format!("dhcp6[{number}]{mistake}")));
    }
    Networks { listed, only_listed }
}

impl Entry {
    fn check(&self, mistakes: &mut Vec<String>) -> Option<Network> {
        let subnet = match self.subnet.as_deref().map(str::parse::<Subnet>) {
            Some(Ok(subnet)) => Some(subnet),
            Some(Err(error)) => {
                mistakes.push(format!(".subnet: {error}"));
                None
            }
            None => {
                mistakes.push(".subnet: not set".to_owned());
                None
            }
        };
        let mode = match self.mode.as_deref() {
            Some("reservation") => Some(Mode::Reservation),
            Some("stateless") => Some(Mode::Stateless),
            Some("pool") => Some(Mode::Pool),
            Some("off") => Some(Mode::Off),
            Some(other) => {
                mistakes.push(format!(".mode: {other:?} is not a mode; {WORDS}"));
                None
            }
            None => {
                mistakes.push(format!(".mode: not set; {WORDS}"));
                None
            }
        };
        if let (Some(Mode::Pool | Mode::Stateless), Some((_, length))) = (mode, subnet.map(|subnet| subnet.parts()))
            && length != 64
        {
            mistakes.push(format!(".subnet: addresses that are made from MACs want a prefix of 64 bits, and this has {length}"));
        }
        let name_servers = addresses("dns", &self.dns, mistakes);
        let time_servers = addresses("ntp", &self.ntp, mistakes);
        if let Some(domain) = self.domain.as_deref().filter(|domain| !is_domain(domain)) {
            mistakes.push(format!(".domain: {domain:?} is not a domain name"));
        }
        let lease_time = self.lease_time.unwrap_or(LEASE_TIME);
        if lease_time < LEAST_LEASE_TIME {
            mistakes.push(format!(".lease-time: {lease_time} seconds are fewer than {LEAST_LEASE_TIME}"));
        }
        let router_lifetime = self.router_lifetime.unwrap_or(0);
        let advertise = self.advertise.unwrap_or(false);
        if router_lifetime > LONGEST_ROUTER_LIFETIME {
            mistakes.push(format!(".router-lifetime: {router_lifetime} seconds are more than {LONGEST_ROUTER_LIFETIME}"));
        }
        if router_lifetime > 0 && !advertise {
            mistakes.push(".router-lifetime: only router advertisements have it: set `advertise: true`".to_owned());
        }
        let advertised = advertise.then_some(Advertised { router_lifetime });
        let domain = self.domain.clone();
        Some(Network { subnet: subnet?, mode: mode?, name_servers, time_servers, domain, lease_time, advertised })
    }
}

fn addresses(name: &str, texts: &[String], mistakes: &mut Vec<String>) -> Vec<Ipv6Addr> {
    let mut found = Vec::new();
    for text in texts {
        match text.trim().parse() {
            Ok(address) => found.push(address),
            Err(_) => mistakes.push(format!(".{name}: {text:?} is not an IPv6 address")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(mode: Option<&str>, yaml: &str) -> Result<Networks, Vec<String>> {
        let mut mistakes = Vec::new();
        let entries: Vec<Entry> = serde_saphyr::from_str(yaml).unwrap();
        let networks = check(mode, &entries, &mut mistakes);
        if mistakes.is_empty() { Ok(networks) } else { Err(mistakes) }
    }

    #[test]
    fn the_list_of_the_example_can_be_used() {
        let example = include_str!("../../../examples/settings/thimble.yaml");
        let lines = example.lines().skip_while(|line| *line != "#dhcp6:").skip(1).take_while(|line| !line.is_empty());
        let yaml: String = lines.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
        let networks = checked(Some("off"), &yaml).unwrap();
        assert!(networks.only_listed && networks.listed.len() > 2, "{yaml}");
        assert!(networks.listed.iter().any(|network| network.advertised.is_some()), "{yaml}");
        assert_eq!(checked(None, "[]").unwrap(), Networks::default(), "machines with IPv6 addresses in their Hardware");
    }

    #[test]
    fn each_mistake_is_named_with_its_entry() {
        for (mode, yaml, mistake) in [
            (Some("pool"), "[]", "dhcp6-mode: \"pool\" is neither"),
            (None, "[{mode: off}]", "dhcp6[0].subnet: not set"),
            (None, "[{subnet: 'fd00::1/64', mode: off}]", "dhcp6[0].subnet: \"fd00::1/64\" is not an IPv6 network"),
            (None, "[{subnet: 'fd00::/64'}]", "dhcp6[0].mode: not set"),
            (None, "[{subnet: 'fd00::/64', mode: x}]", "dhcp6[0].mode: \"x\" is not a mode"),
            (None, "[{subnet: 'fd00::/56', mode: pool}]", "want a prefix of 64 bits"),
            (None, "[{subnet: 'fd00::/64', mode: pool, dns: [10.0.0.1]}]", "dhcp6[0].dns: \"10.0.0.1\" is not an IPv6 address"),
            (None, "[{subnet: 'fd00::/64', mode: pool, ntp: [x]}]", "dhcp6[0].ntp: \"x\" is not an IPv6 address"),
            (None, "[{subnet: 'fd00::/64', mode: pool, domain: a b}]", "dhcp6[0].domain: \"a b\""),
            (None, "[{subnet: 'fd00::/64', mode: pool, lease-time: 1}]", "dhcp6[0].lease-time: 1 seconds"),
            (None, "[{subnet: 'fd00::/64', mode: off, router-lifetime: 60}]", "dhcp6[0].router-lifetime: only router"),
            (None, "[{subnet: 'fd00::/64', mode: off, advertise: true, router-lifetime: 9001}]", "9001 seconds are more than"),
            (
                None,
                "[{subnet: 'fd00::/56', mode: off}, {subnet: 'fd00::/64', mode: pool}]",
                "dhcp6[1].subnet: fd00::/64 is also in",
            ),
        ] {
            let mistakes = checked(mode, yaml).unwrap_err();
            assert!(mistakes.iter().any(|found| found.contains(mistake)), "{yaml}: {mistake} is not in {mistakes:?}");
        }
    }
}
