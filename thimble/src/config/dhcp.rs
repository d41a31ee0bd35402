//! The settings `dhcp-mode` and `dhcp`: what DHCP does, by network.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use boots::dhcp::{LONGEST_POOL, Mode, Modes, Network, Pool, Subnet};
use serde::Deserialize;

/// An entry of the list `dhcp`, as a person wrote it.
#[derive(Deserialize, Debug, Default, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Entry {
    pub subnet: Option<String>,
    pub interface: Option<String>,
    pub mode: Option<String>,
    /// At which the machines of this network find this host.
    pub address: Option<String>,
    pub range: Option<String>,
    pub router: Option<String>,
    pub dns: Vec<String>,
    pub domain: Option<String>,
    #[serde(alias = "lease_time")]
    pub lease_time: Option<u32>,
}

/// Seconds. A machine that was seen once gives its address back soon.
const LEASE_TIME: u32 = 3600;
/// Less would make clients ask all the time.
const LEAST_LEASE_TIME: u32 = 60;
const WORDS: &str = "reservation, pool, proxy, auto-proxy and off are the choices";

/// The other settings that the modes depend on.
pub struct Around<'a> {
    pub address: Ipv4Addr,
    pub interface: Option<&'a str>,
    /// The setting `discovery` names networks.
    pub discovers: bool,
}

/// Adds each mistake with the setting that it is in.
pub fn check(mode: Option<&str>, entries: &[Entry], around: &Around<'_>, mistakes: &mut Vec<String>) -> Modes {
    let otherwise = match mode {
        None | Some("reservation") => Mode::Reservation,
        Some("proxy") => Mode::Proxy,
        Some("auto-proxy") => {
            if !around.discovers {
                let what = "the networks whose unknown machines shall boot";
                mistakes.push(format!("dhcp-mode: auto-proxy wants the setting discovery, which names {what}"));
            }
            Mode::AutoProxy
        }
        Some("off") => Mode::Off,
        Some("pool") => {
            mistakes.push("dhcp-mode: a pool has a range; write it in the list dhcp of the settings file".to_owned());
            Mode::Off
        }
        Some(other) => {
            mistakes.push(format!("dhcp-mode: {other:?} is not a mode; {WORDS}"));
            Mode::Off
        }
    };
    let mut networks: Vec<Network> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let mut own = Vec::new();
        if let Some(network) = entry.check(around, &mut own) {
            let earlier = networks.iter().position(|earlier| hides(earlier, &network));
            own.extend(earlier.map(|earlier| format!(": never applies, because dhcp[{earlier}] comes first")));
            own.extend(overlap(&networks, &network));
            networks.push(network);
        }
        mistakes.extend(own.into_iter().map(|mistake| format!("dhcp[{number}]{mistake}")));
    }
    Modes { networks, otherwise }
}

/// Whether some machine is answered with the setting `address`.
pub fn wants_address(modes: &Modes) -> bool {
    let answers = |mode: &Mode| *mode != Mode::Off;
    answers(&modes.otherwise) || modes.networks.iter().any(|network| network.address.is_none() && answers(&network.mode))
}

/// The networks of `auto-proxy`, whose unknown machines are discovered.
pub fn discovered(modes: &Modes) -> impl Iterator<Item = Subnet> {
    modes.networks.iter().filter(|network| network.mode == Mode::AutoProxy).filter_map(|network| network.subnet)
}

/// The earlier entry applies wherever the later one does.
fn hides(earlier: &Network, later: &Network) -> bool {
    let (interface, subnet) = (earlier.interface.as_ref(), earlier.subnet.as_ref());
    let covers =
        |wide: &Subnet| later.subnet.is_some_and(|narrow| wide.contains(narrow.parts().0) && wide.parts().1 <= narrow.parts().1);
    interface.is_none_or(|name| later.interface.as_ref() == Some(name)) && subnet.is_none_or(covers)
}

fn overlap(earlier: &[Network], later: &Network) -> Option<String> {
    let Mode::Pool(pool) = &later.mode else { return None };
    let meets = |network: &Network| match &network.mode {
        Mode::Pool(other) => other.first <= pool.last && pool.first <= other.last,
        _ => false,
    };
    earlier.iter().position(meets).map(|number| format!(".range: has addresses of dhcp[{number}].range"))
}

impl Entry {
    fn check(&self, around: &Around<'_>, mistakes: &mut Vec<String>) -> Option<Network> {
        let subnet = parsed::<Subnet>("subnet", self.subnet.as_deref(), mistakes);
        if self.subnet.is_none() && self.interface.is_none() {
            mistakes.push(": names neither a subnet nor an interface".to_owned());
        }
        if let (Some(own), Some(bound)) = (self.interface.as_deref(), around.interface)
            && own != bound
        {
            mistakes.push(format!(".interface: {own} is not served, because the setting interface is {bound}"));
        }
        let word = self.mode.as_deref().unwrap_or_else(|| {
            mistakes.push(format!(".mode: not set; {WORDS}"));
            "off"
        });
        if word != "pool" {
            let has = [
                ("range", self.range.is_some()),
                ("router", self.router.is_some()),
                ("dns", !self.dns.is_empty()),
                ("domain", self.domain.is_some()),
                ("lease-time", self.lease_time.is_some()),
            ];
            let surplus = has.into_iter().filter(|(_, is_set)| *is_set);
            mistakes.extend(surplus.map(|(name, _)| format!(".{name}: only a pool has it, and the mode is {word}")));
        }
        let mode = match word {
            "reservation" => Mode::Reservation,
            "proxy" => Mode::Proxy,
            "auto-proxy" => {
                if self.subnet.is_none() {
                    mistakes.push(".subnet: auto-proxy wants it, because its unknown machines are discovered".to_owned());
                }
                Mode::AutoProxy
            }
            "off" => Mode::Off,
            "pool" => match subnet {
                Some(subnet) => Mode::Pool(Arc::new(self.pool(subnet, around, mistakes)?)),
                None if self.subnet.is_none() => {
                    mistakes.push(".subnet: a pool wants it".to_owned());
                    return None;
                }
                None => return None,
            },
            other => {
                mistakes.push(format!(".mode: {other:?} is not a mode; {WORDS}"));
                return None;
            }
        };
        let address = parsed::<Ipv4Addr>("address", self.address.as_deref(), mistakes);
        if let Some(address) = address.filter(|address| address.is_unspecified() || address.is_multicast()) {
            mistakes.push(format!(".address: {address} is not the address of a host"));
        } else if address.is_some() && self.subnet.is_none() {
            let why = "scripts and kernel arguments find the entry by the machine's address";
            mistakes.push(format!(".address: wants .subnet beside it, because {why}"));
        }
        Some(Network { subnet, interface: self.interface.clone(), mode, address })
    }

    fn pool(&self, subnet: Subnet, around: &Around<'_>, mistakes: &mut Vec<String>) -> Option<Pool> {
        let range = self.range.as_deref().and_then(|text| {
            let (first, last) = text.split_once('-')?;
            Some((first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse::<Ipv4Addr>().ok()?))
        });
        let Some((first, last)) = range else {
            let text = self.range.as_deref().unwrap_or_default();
            mistakes.push(format!(".range: {text:?} is not FIRST-LAST, such as 192.0.2.100-192.0.2.199"));
            return None;
        };
        for address in [first, last] {
            if !subnet.has_host(address) {
                mistakes.push(format!(".range: {address} is not the address of a host in {subnet}"));
            }
        }
        if first > last {
            mistakes.push(format!(".range: {first} comes after {last}"));
        } else if last.to_bits() - first.to_bits() >= LONGEST_POOL {
            mistakes.push(format!(".range: more than {LONGEST_POOL} addresses"));
        }
        let router = parsed::<Ipv4Addr>("router", self.router.as_deref(), mistakes);
        if let Some(router) = router.filter(|router| !subnet.has_host(*router)) {
            mistakes.push(format!(".router: {router} is not the address of a host in {subnet}"));
        }
        let name_servers = self.dns.iter().filter_map(|text| parsed("dns", Some(text), mistakes)).collect();
        if let Some(domain) = self.domain.as_deref().filter(|domain| !is_domain(domain)) {
            mistakes.push(format!(".domain: {domain:?} is not a domain name"));
        }
        let lease_time = self.lease_time.unwrap_or(LEASE_TIME);
        if lease_time < LEAST_LEASE_TIME {
            mistakes.push(format!(".lease-time: {lease_time} seconds are fewer than {LEAST_LEASE_TIME}"));
        }
        if around.address == first && first == last {
            mistakes.push(format!(".range: its only address, {first}, is the one of this host"));
        }
        Some(Pool { subnet, first, last, router, name_servers, domain: self.domain.clone(), lease_time })
    }
}

fn parsed<T: FromStr>(name: &str, text: Option<&str>, mistakes: &mut Vec<String>) -> Option<T> {
    let text = text?;
    let parsed = text.trim().parse().ok();
    if parsed.is_none() {
        let wanted = if name == "subnet" { "a network with its first address, such as 192.0.2.0/24" } else { "an IPv4 address" };
        mistakes.push(format!(".{name}: {text:?} is not {wanted}"));
    }
    parsed
}

/// Names of DNS: letters, digits and hyphens between dots.
pub(super) fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(yaml: &str) -> Vec<Entry> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn checked(mode: Option<&str>, yaml: &str, interface: Option<&str>) -> Result<Modes, Vec<String>> {
        let mut mistakes = Vec::new();
        let around = Around { address: Ipv4Addr::new(192, 0, 2, 1), interface, discovers: false };
        let modes = check(mode, &entries(yaml), &around, &mut mistakes);
        if mistakes.is_empty() { Ok(modes) } else { Err(mistakes) }
    }

    #[test]
    fn a_network_has_its_mode() {
        let yaml = "
- {subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.100 - 192.0.2.199, router: 192.0.2.254, dns: [192.0.2.53], domain: lab.example}
- {subnet: 198.51.100.0/24, mode: auto-proxy}
- {interface: eth1, mode: off}
";
        let modes = checked(Some("proxy"), yaml, None).unwrap();
        let words: Vec<&str> = modes.all().map(Mode::word).collect();
        assert_eq!(words, ["pool", "auto-proxy", "off", "proxy"]);
        let pool = modes.pools().next().unwrap();
        assert_eq!((pool.len(), pool.lease_time, pool.router), (100, 3600, Some(Ipv4Addr::new(192, 0, 2, 254))));
        let discovered: Vec<String> = discovered(&modes).map(|subnet| subnet.to_string()).collect();
        assert_eq!(discovered, ["198.51.100.0/24"], "they need no entry in the setting discovery");
        assert_eq!(checked(None, "[]", None).unwrap(), Modes::default(), "reservation is the default");
    }

    #[test]
    fn the_list_of_the_example_can_be_used() {
        let example = include_str!("../../../examples/settings/thimble.yaml");
        let lines = example.lines().skip_while(|line| *line != "#dhcp:").skip(1).take_while(|line| !line.is_empty());
        let yaml: String = lines.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
        assert!(checked(None, &yaml, None).unwrap().networks.len() > 2, "{yaml}");
    }

    #[test]
    fn each_mistake_is_named_with_its_entry() {
        for (mode, yaml, interface, mistake) in [
            (Some("pool"), "[]", None, "dhcp-mode: a pool has a range"),
            (Some("proxies"), "[]", None, "dhcp-mode: \"proxies\" is not a mode"),
            (Some("auto-proxy"), "[]", None, "dhcp-mode: auto-proxy wants the setting discovery"),
            (None, "[{interface: eth0, mode: proxy, address: x}]", None, "dhcp[0].address: \"x\" is not an IPv4 address"),
            (None, "[{interface: eth0, mode: proxy, address: 0.0.0.0}]", None, "dhcp[0].address: 0.0.0.0 is not the address"),
            (None, "[{interface: eth0, mode: proxy, address: 192.0.2.1}]", None, "dhcp[0].address: wants .subnet"),
            (None, "[{mode: off}]", None, "dhcp[0]: names neither a subnet nor an interface"),
            (None, "[{interface: eth0}]", None, "dhcp[0].mode: not set"),
            (None, "[{interface: eth0, mode: x}]", None, "dhcp[0].mode: \"x\" is not a mode"),
            (None, "[{interface: eth0, mode: off}]", Some("eth1"), "dhcp[0].interface: eth0 is not served"),
            (None, "[{subnet: 192.0.2.1/24, mode: off}]", None, "dhcp[0].subnet: \"192.0.2.1/24\" is not a network"),
            (None, "[{interface: eth0, mode: auto-proxy}]", None, "dhcp[0].subnet: auto-proxy wants it"),
            (None, "[{interface: eth0, mode: pool}]", None, "dhcp[0].subnet: a pool wants it"),
            (None, "[{interface: eth0, mode: proxy, range: a}]", None, "dhcp[0].range: only a pool has it"),
            (None, "[{interface: eth0, mode: proxy, lease-time: 60}]", None, "dhcp[0].lease-time: only a pool has it"),
            (None, "[{subnet: 192.0.2.0/24, mode: pool}]", None, "dhcp[0].range: \"\" is not FIRST-LAST"),
            (None, "[{subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.9}]", None, "dhcp[0].range: \"192.0.2.9\" is not"),
            (None, "[{subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.9-192.0.2.8}]", None, "192.0.2.9 comes after 192.0.2.8"),
            (None, "[{subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.9-192.0.3.8}]", None, "192.0.3.8 is not the address of"),
            (None, "[{subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.0-192.0.2.8}]", None, "192.0.2.0 is not the address of"),
            (
                None,
                "[{subnet: 10.0.0.0/8, mode: pool, range: 10.0.0.1-10.9.0.1}]",
                None,
                "dhcp[0].range: more than 65536 addresses",
            ),
            (
                None,
                "[{subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.8-192.0.2.9, router: 10.0.0.1, dns: [x], domain: a b, lease-time: 1}]",
                None,
                "dhcp[0].router: 10.0.0.1 is not the address of a host in 192.0.2.0/24|dhcp[0].dns: \"x\"|dhcp[0].domain: \"a b\"|\
                 dhcp[0].lease-time: 1 seconds",
            ),
            (
                None,
                "[{interface: eth0, mode: off}, {interface: eth0, subnet: 192.0.2.0/24, mode: proxy}]",
                None,
                "dhcp[1]: never applies, because dhcp[0] comes first",
            ),
            (
                None,
                "[{subnet: 192.0.2.0/25, mode: pool, range: 192.0.2.8-192.0.2.9}, \
                 {subnet: 192.0.2.0/24, mode: pool, range: 192.0.2.9-192.0.2.200}]",
                None,
                "dhcp[1].range: has addresses of dhcp[0].range",
            ),
        ] {
            let mistakes = checked(mode, yaml, interface).unwrap_err();
            for expected in mistake.split('|') {
                assert!(mistakes.iter().any(|found| found.contains(expected)), "{yaml}: {expected} is not in {mistakes:?}");
            }
        }
    }
}
