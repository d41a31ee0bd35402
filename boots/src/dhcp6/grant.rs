//! What a machine gets: its reservation, an address of a pool, or everything but an address. Pure.

use std::net::Ipv6Addr;

use dhcp::v6::eui64;
use sha2::{Digest, Sha256};

use super::network::{Mode, Network, Subnet};
use super::{Ignored, Request};
use crate::{BootInterface, Config};

/// How many addresses of a pool are tried for one client, if other hosts use them.
const TRIES: u8 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `None`: it makes itself one.
    pub address: Option<Ipv6Addr>,
    /// The Hardware has the address.
    pub is_reserved: bool,
    /// Seconds.
    pub lease_time: u32,
    pub name_servers: Vec<Ipv6Addr>,
    pub time_servers: Vec<Ipv6Addr>,
    pub domain: Option<String>,
}

/// Where a client is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Those of the settings on its link.
    pub networks: &'a [&'a Network],
    /// All networks of its link. Empty if they are not known.
    pub on_link: &'a [Subnet],
}

impl Place<'_> {
    /// The address of a Hardware that is of another network.
    #[must_use]
    pub fn misplaced(&self, machine: &BootInterface) -> Option<Ipv6Addr> {
        let address = machine.reservation6.as_ref()?.address;
        let is_elsewhere = !self.on_link.is_empty() && !self.on_link.iter().any(|subnet| subnet.contains(address));
        is_elsewhere.then_some(address)
    }

    /// Machines without a reservation get an address here, or make themselves one.
    fn has_addresses(&self) -> bool {
        self.networks.first().is_some_and(|network| matches!(network.mode, Mode::Pool | Mode::Stateless))
    }
}

/// A reservation of another network is of no use where all machines have addresses. `is_used` says that another host has one.
///
/// # Errors
/// Why it gets nothing.
pub fn grant(
    config: &Config,
    place: &Place<'_>,
    machine: Option<&BootInterface>,
    request: &Request,
    is_used: impl Fn(Ipv6Addr) -> bool,
) -> Result<Grant, Ignored> {
    if machine.is_some_and(|machine| machine.dhcp_disabled) {
        return Err(Ignored::Disabled);
    }
    let of_network = |network: &Network, address| Grant {
        address,
        is_reserved: false,
        lease_time: network.lease_time,
        name_servers: network.name_servers.clone(),
        time_servers: network.time_servers.clone(),
        domain: network.domain.clone(),
    };
    let networks = place.networks;
    let is_usable = |machine: &&BootInterface| !place.has_addresses() || place.misplaced(machine).is_none();
    if let Some(reservation) = machine.filter(is_usable).and_then(|machine| machine.reservation6.as_ref()) {
        let network = networks.iter().find(|network| network.subnet.contains(reservation.address));
        let or = |own: &Vec<Ipv6Addr>, network: Option<&Vec<Ipv6Addr>>| match network {
            Some(network) if own.is_empty() => network.clone(),
            _ => own.clone(),
        };
        return Ok(Grant {
            address: Some(reservation.address),
            is_reserved: true,
            lease_time: reservation.lease_time.unwrap_or(config.default_lease_time),
            name_servers: or(&reservation.name_servers, network.map(|network| &network.name_servers)),
            time_servers: or(&reservation.time_servers, network.map(|network| &network.time_servers)),
            domain: reservation.domain_name.clone().or_else(|| network.and_then(|network| network.domain.clone())),
        });
    }
    let network = networks.first().ok_or(if machine.is_some() { Ignored::NoReservation } else { Ignored::Unknown })?;
    match network.mode {
        Mode::Pool => Ok(of_network(network, Some(pooled(network, request, is_used).ok_or(Ignored::AllUsed)?))),
        Mode::Stateless => Ok(of_network(network, None)),
        Mode::Off => Err(Ignored::Off),
        Mode::Reservation if machine.is_some() => Err(Ignored::NoReservation),
        Mode::Reservation => Err(Ignored::Unknown),
    }
}

/// An address that needs no record: made from the MAC, so that the same card has the same address in firmware, iPXE and Linux,
/// else from the client's identifier as RFC 7943 has it.
fn pooled(network: &Network, request: &Request, is_used: impl Fn(Ipv6Addr) -> bool) -> Option<Ipv6Addr> {
    let (prefix, _) = network.subnet.parts();
    let mac = request.mac().map(|mac| eui64(prefix, mac.bytes()));
    let made = (0..TRIES).map(|counter| {
        let hash = Sha256::new()
            .chain_update(prefix.octets())
            .chain_update(request.duid().unwrap_or_default())
            .chain_update([counter])
            .finalize();
        let identifier = hash.first_chunk::<8>().map_or(1, |bytes| u64::from_be_bytes(*bytes));
        // A zero where addresses of MACs have ff:fe, and where the reserved ones of RFC 5453 have ones.
        Ipv6Addr::from_bits(prefix.to_bits() | u128::from(identifier & 0x7dff_ff00_ffff_ffff))
    });
    mac.into_iter().chain(made).find(|address| !is_used(*address))
}
