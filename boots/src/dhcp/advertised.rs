//! The address of this host that a machine is told. On each network machines find this host by another one. Pure.

use std::net::{IpAddr, Ipv4Addr};

use dhcp::v4::Packet;

use super::network::{Link, Modes, Network};
use crate::Config;

/// For the client of a request. `at` is the address that it gets, if that is known.
///
/// The entry of its network has the first word, then the settings if they say that one address serves all networks. A relay
/// leads to anywhere, and finds this host by the address of the settings. So does a link that has this address.
#[must_use]
pub fn for_request(config: &Config, entry: Option<&Network>, request: &Packet, link: &Link, at: Option<Ipv4Addr>) -> Ipv4Addr {
    let general = config.address;
    if let Some(named) = entry.and_then(|entry| entry.address) {
        return named;
    }
    let is_here = link.addresses.iter().any(|(own, _)| *own == general);
    if !config.address_by_network || request.remote_link().is_some() || is_here {
        return general;
    }
    let (on_its_network, in_entry) = (
        at.and_then(|at| link.addresses.iter().find(|(_, subnet)| subnet.contains(at))),
        entry.and_then(|entry| entry.subnet).and_then(|subnet| link.addresses.iter().find(|(own, _)| subnet.contains(*own))),
    );
    on_its_network.or(in_entry).or(link.addresses.first()).map_or(general, |(own, _)| *own)
}

/// For a client that already found this host at `local`.
#[must_use]
pub fn for_peer(config: &Config, modes: &Modes, peer: Option<IpAddr>, local: Option<IpAddr>) -> Ipv4Addr {
    let named = |peer: Ipv4Addr| {
        let of_peer = |network: &&Network| network.subnet.is_some_and(|subnet| subnet.contains(peer));
        modes.networks.iter().find(of_peer)?.address
    };
    if let Some(named) = v4(peer).and_then(named) {
        return named;
    }
    v4(local).filter(|local| config.address_by_network && !local.is_loopback()).unwrap_or(config.address)
}

fn v4(address: Option<IpAddr>) -> Option<Ipv4Addr> {
    match address?.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use dhcp::v4::MessageType;

    use super::super::network::{Mode, Subnet};
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn config(address_by_network: bool) -> Config {
        Config { address_by_network, ..Config::new(ip("10.0.0.1"), "/".into(), "/".into()) }
    }

    fn entry(subnet: Option<&str>, address: Option<&str>) -> Network {
        Network {
            subnet: subnet.map(|text| text.parse().unwrap()),
            interface: None,
            mode: Mode::Reservation,
            address: address.map(ip),
        }
    }

    #[test]
    fn a_machine_is_told_the_address_of_its_network() {
        let link = |addresses: &[&str]| Link {
            name: "eth1".to_owned(),
            addresses: addresses.iter().map(|text| (ip(text), Subnet::of(ip(text), 24))).collect(),
            ethernet: None,
        };
        let ask = || Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]);
        let relayed = || Packet { giaddr: ip("10.9.0.1"), ..ask() };
        let eth1 = || link(&["10.1.0.1", "10.2.0.1"]);
        for (case, by_network, entry, request, link, at, expected) in [
            ("its link has the address of the settings", true, None, ask(), link(&["10.5.0.1", "10.0.0.1"]), None, "10.0.0.1"),
            ("another link", true, None, ask(), eth1(), None, "10.1.0.1"),
            ("the network of its address", true, None, ask(), eth1(), Some("10.2.0.9"), "10.2.0.1"),
            ("the network of the entry", true, Some(entry(Some("10.2.0.0/24"), None)), ask(), eth1(), None, "10.2.0.1"),
            ("the entry says it", true, Some(entry(None, Some("192.0.2.7"))), ask(), eth1(), Some("10.2.0.9"), "192.0.2.7"),
            ("the entry says it to a relay", true, Some(entry(None, Some("192.0.2.7"))), relayed(), eth1(), None, "192.0.2.7"),
            ("one address for all", false, None, ask(), eth1(), Some("10.2.0.9"), "10.0.0.1"),
            ("a relay", true, None, relayed(), eth1(), None, "10.0.0.1"),
            ("a link without an address", true, None, ask(), link(&[]), None, "10.0.0.1"),
        ] {
            let told = for_request(&config(by_network), entry.as_ref(), &request, &link, at.map(ip));
            assert_eq!(told, ip(expected), "{case}");
        }
    }

    #[test]
    fn a_client_that_has_found_this_host_goes_on_there() {
        let modes = Modes { networks: vec![entry(Some("10.2.0.0/24"), Some("192.0.2.7"))], otherwise: Mode::Reservation };
        for (case, by_network, peer, local, expected) in [
            ("where it asked", true, "10.1.0.9", "10.1.0.1", "10.1.0.1"),
            ("where it asked by an IPv6 socket", true, "::ffff:10.1.0.9", "::ffff:10.1.0.1", "10.1.0.1"),
            ("by IPv6", true, "fd00::9", "fd00::1", "10.0.0.1"),
            ("on this host", true, "127.0.0.1", "127.0.0.1", "10.0.0.1"),
            ("an entry says it", true, "10.2.0.9", "10.2.0.1", "192.0.2.7"),
            ("an entry says it", false, "10.2.0.9", "10.2.0.1", "192.0.2.7"),
            ("one address for all, such as one before NAT", false, "10.1.0.9", "10.1.0.1", "10.0.0.1"),
        ] {
            let [peer, local] = [peer, local].map(|text| text.parse().ok());
            assert_eq!(for_peer(&config(by_network), &modes, peer, local), ip(expected), "{case}");
        }
    }
}
