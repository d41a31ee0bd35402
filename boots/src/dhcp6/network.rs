//! What DHCPv6 does on which network, and which of its addresses say what machine has them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ::machine::network::covers;
use dhcp::v6::eui64_mac;
use model::Mac;

use super::links::Link;
use crate::BootInterface;
use crate::machine::Addresses;

/// A network, as address and length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: Ipv6Addr,
    length: u8,
}

impl Subnet {
    /// The network of an address. A prefix longer than 128 counts as 128.
    #[must_use]
    pub fn of(address: Ipv6Addr, length: u8) -> Self {
        let length = length.min(128);
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { address: Ipv6Addr::from_bits(address.to_bits() & mask), length }
    }

    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        covers(self.address.into(), self.length, address.into())
    }

    #[must_use]
    pub const fn parts(&self) -> (Ipv6Addr, u8) {
        (self.address, self.length)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv6 network such as 2001:db8:1::/64")]
pub struct NotASubnet(String);

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, NotASubnet> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let (address, length): (Ipv6Addr, u8) = (address.parse().ok()?, length.parse().ok().filter(|length| *length <= 128)?);
            let subnet = Self::of(address, length);
            (subnet.address == address).then_some(subnet)
        };
        parse().ok_or_else(|| NotASubnet(text.chars().take(60).collect()))
    }
}

/// What DHCPv6 does for the machines of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Machines with Hardware get the IPv6 address of their Hardware. Others get no answer.
    #[default]
    Reservation,
    /// As reservation, and who asks for it gets everything but an address. Hosts make themselves addresses.
    Stateless,
    /// As reservation, and all others get an address that is made from their MAC or DUID.
    Pool,
    /// No answer.
    Off,
}

impl Mode {
    /// The word of the settings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Stateless => "stateless",
            Self::Pool => "pool",
            Self::Off => "off",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub subnet: Subnet,
    pub mode: Mode,
    pub name_servers: Vec<Ipv6Addr>,
    pub time_servers: Vec<Ipv6Addr>,
    pub domain: Option<String>,
    /// Seconds.
    pub lease_time: u32,
    /// Router advertisements with this prefix. `None` sends none.
    pub advertised: Option<Advertised>,
}

/// How a network is advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advertised {
    /// Seconds for which hosts use this host as their router. 0: it is not a router.
    pub router_lifetime: u16,
}

/// All networks of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    pub listed: Vec<Network>,
    /// Whether other networks get no answer at all.
    pub only_listed: bool,
}

impl Networks {
    /// Those of a link: they have the relay's address, or one of this host's on that link.
    pub fn on<'n>(&'n self, link: &'n Link, relay: Option<Ipv6Addr>) -> impl Iterator<Item = &'n Network> {
        self.listed.iter().filter(move |network| match relay {
            Some(relay) => network.subnet.contains(relay),
            None => link.addresses.iter().any(|(address, _)| network.subnet.contains(*address)),
        })
    }

    /// No machine gets an answer.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.only_listed && self.listed.iter().all(|network| network.mode == Mode::Off)
    }
}

impl Addresses for Networks {
    /// Where boots or the hosts themselves make addresses from MACs.
    fn mac(&self, address: IpAddr) -> Option<Mac> {
        let IpAddr::V6(address) = address else { return None };
        let makes = |network: &&Network| matches!(network.mode, Mode::Pool | Mode::Stateless);
        let mut makers = self.listed.iter().filter(makes);
        eui64_mac(address).filter(|_| makers.any(|network| network.subnet.contains(address))).map(Mac::new)
    }
}

/// The machine itself, if an unknown one may boot at this address.
#[must_use]
pub fn unknown(mac: Mac, netboot_allowed: bool) -> BootInterface {
    BootInterface { netboot_allowed, ..BootInterface::unknown(mac) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_a_network_and_not_an_address_in_it() {
        let subnet: Subnet = "fd00:77::/64".parse().unwrap();
        assert!(subnet.contains("fd00:77::9".parse().unwrap()) && !subnet.contains("fd00:78::9".parse().unwrap()));
        assert_eq!(subnet.to_string(), "fd00:77::/64");
        for text in ["fd00:77::1/64", "fd00::/129", "10.0.0.0/8", "fd00::", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert!(Subnet::of("fd00::1".parse().unwrap(), 0).contains(Ipv6Addr::LOCALHOST));
    }
}
