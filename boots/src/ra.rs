//! Router advertisements (RFC 4861). With the setting `router-advertisements` alone they say nothing: iPXE waits up to 16 seconds
//! for one before it goes on, and this one has a lifetime of 0 and no prefix, so hosts do not use boots as a router or make
//! themselves an address. A network of the settings adds its prefix, and whether hosts ask DHCPv6.

mod socket;

use std::net::IpAddr;

use dhcp::router::{Announcement, Prefix};

pub use socket::{Socket, serve};

use crate::Config;
use crate::dhcp6::{Link, Mode, Network};

/// What is announced on a link. `None`: nothing is sent there. Pure.
#[must_use]
pub fn announcement(config: &Config, link: &Link, is_first: bool) -> Option<Announcement> {
    let networks: Vec<&Network> = config.networks6.on(link, None).filter(|network| network.advertised.is_some()).collect();
    if networks.is_empty() && !is_first {
        return None;
    }
    let prefix = |network: &&Network| {
        let (address, length) = network.subnet.parts();
        Prefix { address, length, autonomous: makes_addresses(network) }
    };
    let has_other = |network: &Network| !(network.name_servers.is_empty() && network.domain.is_none());
    let lifetime = networks.iter().filter_map(|network| network.advertised).map(|advertised| advertised.router_lifetime).max();
    Some(Announcement {
        mac: link.mac,
        managed: networks.iter().any(|network| matches!(network.mode, Mode::Reservation | Mode::Pool)),
        other: networks.iter().any(|network| network.mode != Mode::Off),
        router_lifetime: lifetime.unwrap_or(0),
        prefixes: networks.iter().map(prefix).collect(),
        dns: networks.iter().filter(|network| has_other(network)).flat_map(|network| network.name_servers.clone()).collect(),
        search: networks.iter().filter_map(|network| network.domain.clone()).collect(),
    })
}

/// What hosts hear when boots ends: it is a router no more (RFC 4861, 6.2.5). Prefixes and names stay, as they do over a restart.
/// `None` if it was none. Pure.
#[must_use]
pub fn last_announcement(usual: Announcement) -> Option<Announcement> {
    (usual.router_lifetime > 0).then_some(Announcement { router_lifetime: 0, ..usual })
}

/// Hosts make themselves addresses where DHCPv6 gives none.
fn makes_addresses(network: &Network) -> bool {
    matches!(network.mode, Mode::Stateless | Mode::Off) && network.subnet.parts().1 == 64
}

/// Whether the setting `router-advertisements` is about this link: the named one, else the one with the address of this host.
fn is_first(config: &Config, link: &Link, with_address: Option<&str>) -> bool {
    config.router_advertisements && config.interface.as_deref().or(with_address) == Some(link.name.as_str())
}

/// The interface with the address of the settings.
fn interface_with(address: IpAddr) -> Option<String> {
    let has = |found: &nix::ifaddrs::InterfaceAddress| {
        let v4 = || Some(IpAddr::V4(found.address?.as_sockaddr_in()?.ip()));
        let v6 = || Some(IpAddr::V6(found.address?.as_sockaddr_in6()?.ip()));
        v4().or_else(v6) == Some(address)
    };
    nix::ifaddrs::getifaddrs().ok()?.find(has).map(|found| found.interface_name)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::dhcp6::{Advertised, Networks, Subnet};

    #[test]
    fn only_a_router_takes_its_leave() {
        let with =
            |router_lifetime| last_announcement(Announcement { managed: true, router_lifetime, ..Announcement::default() });
        assert_eq!(with(1800).map(|last| (last.router_lifetime, last.managed)), Some((0, true)));
        assert!(with(0).is_none(), "no host uses it as its router");
    }

    #[test]
    fn a_link_announces_its_networks_and_others_nothing() {
        let own: Ipv6Addr = "fd00:77::1".parse().unwrap();
        let network = |mode, advertised| Network {
            subnet: Subnet::of(own, 64),
            mode,
            name_servers: vec![own],
            time_servers: Vec::new(),
            domain: Some("lab.test".to_owned()),
            lease_time: 60,
            advertised,
        };
        let link = Link { name: "eth1".to_owned(), mac: None, addresses: vec![(own, Subnet::of(own, 64))] };
        let said = |mode, advertised, is_first| {
            let listed = vec![network(mode, advertised)];
            let networks6 = Networks { listed, only_listed: false };
            let config = Config { networks6, ..Config::new(Ipv4Addr::UNSPECIFIED, "/".into(), "/".into()) };
            announcement(&config, &link, is_first).map(|found| {
                (
                    found.managed,
                    found.other,
                    found.prefixes.first().map(|prefix| prefix.autonomous),
                    found.router_lifetime,
                    found.dns.len(),
                )
            })
        };
        let advertised = Some(Advertised::default());
        for (case, found, expected) in [
            ("reservation", said(Mode::Reservation, advertised, false), Some((true, true, Some(false), 0, 1))),
            ("pool", said(Mode::Pool, advertised, false), Some((true, true, Some(false), 0, 1))),
            ("stateless", said(Mode::Stateless, advertised, false), Some((false, true, Some(true), 0, 1))),
            ("without DHCPv6", said(Mode::Off, advertised, false), Some((false, false, Some(true), 0, 1))),
            ("a router", said(Mode::Off, Some(Advertised { router_lifetime: 9 }), false), Some((false, false, Some(true), 9, 1))),
            ("not advertised", said(Mode::Pool, None, false), None),
            ("only for iPXE", said(Mode::Pool, None, true), Some((false, false, None, 0, 0))),
        ] {
            assert_eq!(found, expected, "{case}");
        }
    }
}
