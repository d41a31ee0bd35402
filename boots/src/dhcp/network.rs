//! What DHCP does for which machines: the mode of a network. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use dhcp::v4::{MessageType, Packet};
use nix::sys::socket::LinkAddr;

/// The longest range of a pool. Each address costs memory, and a search for a free one costs time.
pub const LONGEST_POOL: u32 = 65_536;

/// A network, as address and length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network of an address. A prefix longer than 32 counts as 32.
    #[must_use]
    pub fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: address & mask(prefix), prefix }
    }

    /// The network of an address with this mask. Its ones are at the beginning, or they count up to the first zero.
    #[must_use]
    pub fn with_mask(address: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Self::of(address, u8::try_from(mask.to_bits().leading_ones()).unwrap_or(32))
    }

    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.address
    }

    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        mask(self.prefix)
    }

    #[must_use]
    pub const fn parts(&self) -> (Ipv4Addr, u8) {
        (self.address, self.prefix)
    }

    /// Whether a host of this network can have the address. In a network of two addresses both can (RFC 3021).
    #[must_use]
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        let is_edge = address == self.address || address == self.address | !self.mask();
        self.contains(address) && (self.prefix >= 31 || !is_edge)
    }
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network such as 192.0.2.0/24")]
pub struct NotASubnet(String);

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, NotASubnet> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?);
            let subnet = Self::of(address, prefix);
            (subnet.address == address).then_some(subnet)
        };
        parse().ok_or_else(|| NotASubnet(text.chars().take(60).collect()))
    }
}

/// What DHCP does for the machines of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// Machines with Hardware get the address of their Hardware. Others get no answer.
    #[default]
    Reservation,
    /// As reservation, and all others get an address of a range.
    Pool(Arc<Pool>),
    /// Another DHCP server gives the addresses. Machines with Hardware learn from boots what to boot.
    Proxy,
    /// As proxy, and machines without Hardware boot the ramdisk to be discovered.
    AutoProxy,
    /// No answer.
    Off,
}

impl Mode {
    /// The word of the settings.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Pool(_) => "pool",
            Self::Proxy => "proxy",
            Self::AutoProxy => "auto-proxy",
            Self::Off => "off",
        }
    }

    #[must_use]
    pub const fn is_proxy(&self) -> bool {
        matches!(self, Self::Proxy | Self::AutoProxy)
    }
}

/// A range of addresses, and what a lease from it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub subnet: Subnet,
    pub first: Ipv4Addr,
    /// It belongs to the range.
    pub last: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    /// Seconds.
    pub lease_time: u32,
}

impl Pool {
    /// How many addresses the range has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.last.to_bits().saturating_sub(self.first.to_bits()).saturating_add(1).min(LONGEST_POOL)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first > self.last
    }

    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// The address at a place of the range.
    #[must_use]
    pub fn at(&self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits().saturating_add(place))
    }
}

/// An entry of the setting `dhcp`. It applies if all that it names applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub subnet: Option<Subnet>,
    pub interface: Option<String>,
    pub mode: Mode,
    /// At which the machines of this network find this host, in place of what the link says.
    pub address: Option<Ipv4Addr>,
}

/// Modes by network. The first entry that applies counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes {
    pub networks: Vec<Network>,
    /// For machines to which no entry applies.
    pub otherwise: Mode,
}

/// The link over which a packet came to this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    /// The addresses of this host there, each with its network.
    pub addresses: Vec<(Ipv4Addr, Subnet)>,
    /// Its index and its hardware address, if it is one of Ethernet.
    pub ethernet: Option<LinkAddr>,
}

impl Modes {
    /// The mode, and the entry that says it.
    #[must_use]
    pub fn of(&self, request: &Packet, link: &Link) -> (&Mode, Option<&Network>) {
        let entry = self.networks.iter().find(|network| network.applies(request, link));
        (entry.map_or(&self.otherwise, |network| &network.mode), entry)
    }

    /// On port 4011 a machine has the address of another server, which may serve more networks of the link than are known here.
    #[must_use]
    pub fn of_boot_server(&self, request: &Packet, link: &Link) -> (&Mode, Option<&Network>) {
        let by_address = || self.networks.iter().find(|network| network.applies(request, link));
        let by_link = || self.networks.iter().find(|network| network.is_of(link));
        let entry = by_address().or_else(by_link);
        (entry.map_or(&self.otherwise, |network| &network.mode), entry)
    }

    pub fn all(&self) -> impl Iterator<Item = &Mode> {
        self.networks.iter().map(|network| &network.mode).chain([&self.otherwise])
    }

    /// The addresses of this host that entries name.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.networks.iter().filter_map(|network| network.address)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.all().filter_map(|mode| if let Mode::Pool(pool) = mode { Some(pool) } else { None })
    }
}

/// Why an address is of no use to the client: its network is another one. A relay can serve several networks on one link, so
/// the client gets the address all the same, unless a pool has one for it.
#[must_use]
pub fn misplaced(address: Ipv4Addr, mask: Ipv4Addr, request: &Packet, link: &Link) -> Option<String> {
    let subnet = Subnet::with_mask(address, mask);
    match request.remote_link() {
        Some(remote) if !subnet.contains(remote) => Some(format!("it asks through the relay {}, for {remote}", request.giaddr)),
        Some(_) => None,
        None if link.addresses.is_empty() || !request.ciaddr.is_unspecified() => None,
        None if link.has_one_of(&subnet) => None,
        None => {
            let own: Vec<String> = link.addresses.iter().map(|(_, subnet)| subnet.to_string()).collect();
            Some(format!("it asks on {}, which has {}", link.name, own.join(", ")))
        }
    }
}

/// Whether a reservation is of the network from which the client asks. On the network of a pool no other reservation counts.
#[must_use]
pub fn is_at_home(address: Ipv4Addr, mask: Ipv4Addr, request: &Packet, link: &Link) -> bool {
    let subnet = Subnet::with_mask(address, mask);
    match named_network(request) {
        Some(named) => subnet.contains(named),
        None => link.addresses.is_empty() || link.has_one_of(&subnet),
    }
}

/// An address of the network that the request names. A request through a relay is of the relay's network. A client that has
/// an address is of the network of that address. Others are on the link. A DISCOVER has no address of its own (RFC 2131
/// table 5), although some firmware sends an old one.
fn named_network(request: &Packet) -> Option<Ipv4Addr> {
    let is_first = request.message_type() == Some(MessageType::Discover);
    let own = || Some(request.ciaddr).filter(|ciaddr| !is_first && !ciaddr.is_unspecified());
    request.remote_link().or_else(own)
}

impl Link {
    fn has_one_of(&self, subnet: &Subnet) -> bool {
        self.addresses.iter().any(|(address, _)| subnet.contains(*address))
    }
}

impl Network {
    fn applies(&self, request: &Packet, link: &Link) -> bool {
        match named_network(request) {
            Some(named) => self.has_interface(link) && self.subnet.as_ref().is_none_or(|subnet| subnet.contains(named)),
            None => self.is_of(link),
        }
    }

    fn is_of(&self, link: &Link) -> bool {
        self.has_interface(link) && self.subnet.as_ref().is_none_or(|subnet| link.has_one_of(subnet))
    }

    fn has_interface(&self, link: &Link) -> bool {
        self.interface.as_ref().is_none_or(|name| *name == link.name)
    }
}

#[cfg(test)]
mod tests {
    use dhcp::v4::code;

    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_written_with_its_first_address() {
        for (text, expected) in [
            ("10.0.0.0/8", Some((ip("10.0.0.0"), 8))),
            ("192.0.2.128/25", Some((ip("192.0.2.128"), 25))),
            ("0.0.0.0/0", Some((ip("0.0.0.0"), 0))),
            ("192.0.2.1/32", Some((ip("192.0.2.1"), 32))),
            ("192.0.2.1/24", None),
            ("192.0.2.0/33", None),
            ("192.0.2.0", None),
            ("fd00::/64", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Subnet>().ok().map(|subnet| subnet.parts()), expected, "{text}");
        }
        let subnet: Subnet = "192.0.2.0/24".parse().unwrap();
        assert!(subnet.contains(ip("192.0.2.255")) && !subnet.has_host(ip("192.0.2.255")) && !subnet.contains(ip("192.0.3.0")));
        assert!("192.0.2.0/31".parse::<Subnet>().unwrap().has_host(ip("192.0.2.1")));
    }

    #[test]
    fn the_first_entry_that_applies_decides() {
        let network = |subnet: Option<&str>, interface: Option<&str>, mode| Network {
            subnet: subnet.map(|text| text.parse().unwrap()),
            interface: interface.map(str::to_owned),
            mode,
            address: None,
        };
        let modes = Modes {
            networks: vec![
                network(Some("10.1.0.0/16"), None, Mode::Proxy),
                network(Some("10.2.0.0/16"), Some("eth1"), Mode::AutoProxy),
                network(None, Some("eth2"), Mode::Off),
            ],
            otherwise: Mode::Reservation,
        };
        let link = |name: &str, addresses: &[&str]| Link {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| (ip(text), Subnet::of(ip(text), 24))).collect(),
            ethernet: None,
        };
        let ask = || Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]);
        let renew = |ciaddr| Packet { ciaddr: ip(ciaddr), ..Packet::request(MessageType::Request, 1, [2, 0, 0, 0, 0, 1]) };
        let selected = |mut packet: Packet, option: &[u8]| {
            packet.options.set(code::RELAY_AGENT, option);
            packet
        };
        for (case, request, link, mode) in [
            ("an address of the link", ask(), link("eth0", &["10.1.0.1"]), "proxy"),
            ("a secondary address of the link", ask(), link("eth0", &["192.0.2.1", "10.1.0.1"]), "proxy"),
            ("no entry", ask(), link("eth0", &["192.0.2.1"]), "reservation"),
            ("subnet and interface", ask(), link("eth1", &["10.2.0.1"]), "auto-proxy"),
            ("the subnet, but another interface", ask(), link("eth0", &["10.2.0.1"]), "reservation"),
            ("an interface", ask(), link("eth2", &["192.0.2.1"]), "off"),
            ("a relay", Packet { giaddr: ip("10.1.3.1"), ..ask() }, link("eth0", &["192.0.2.1"]), "proxy"),
            (
                "a relay of another network",
                Packet { giaddr: ip("10.9.0.1"), ..ask() },
                link("eth0", &["10.1.0.1"]),
                "reservation",
            ),
            (
                "a relay that selects a link",
                selected(Packet { giaddr: ip("10.9.0.1"), ..ask() }, &[1, 1, 7, 5, 4, 10, 1, 0, 0]),
                link("eth0", &["192.0.2.1"]),
                "proxy",
            ),
            ("it renews through a router", renew("10.1.0.9"), link("eth0", &["192.0.2.1"]), "proxy"),
            ("it renews on a link of two networks", renew("192.0.2.9"), link("eth0", &["10.1.0.1", "192.0.2.1"]), "reservation"),
            ("it renews through a router of an entry", renew("10.9.0.9"), link("eth0", &["10.1.0.1"]), "reservation"),
            ("it renews on an interface", renew("10.9.0.9"), link("eth2", &["10.1.0.1"]), "off"),
            ("an old address in a DISCOVER", Packet { ciaddr: ip("10.9.0.9"), ..ask() }, link("eth0", &["10.1.0.1"]), "proxy"),
        ] {
            assert_eq!(modes.of(&request, &link).0.word(), mode, "{case}");
        }
        let shared = link("eth0", &["10.1.0.1"]);
        assert_eq!(modes.of_boot_server(&renew("10.9.0.9"), &shared).0.word(), "proxy", "another network of the proxy's link");
        assert_eq!(modes.of_boot_server(&renew("10.2.0.9"), &link("eth1", &["10.1.0.1"])).0.word(), "auto-proxy");
    }

    #[test]
    fn a_reservation_counts_on_its_own_network() {
        let link = |addresses: &[&str]| Link {
            name: "eth0".to_owned(),
            addresses: addresses.iter().map(|text| (ip(text), Subnet::of(ip(text), 24))).collect(),
            ethernet: None,
        };
        let ask = || Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]);
        let renew = |ciaddr| Packet { ciaddr: ip(ciaddr), ..Packet::request(MessageType::Request, 1, [2, 0, 0, 0, 0, 1]) };
        let both = || link(&["192.0.2.1", "10.1.0.1"]);
        for (case, request, link, expected) in [
            ("a second network of the link", ask(), both(), true),
            ("not of the link", ask(), link(&["192.0.2.1"]), false),
            ("its relay's", Packet { giaddr: ip("10.1.0.1"), ..ask() }, link(&["192.0.2.1"]), true),
            ("not its relay's", Packet { giaddr: ip("10.9.0.1"), ..ask() }, both(), false),
            ("it renews its address", renew("10.1.0.9"), link(&["192.0.2.1"]), true),
            ("it renews one of the pool", renew("192.0.2.77"), both(), false),
            ("an unknown link", ask(), Link::default(), true),
        ] {
            assert_eq!(is_at_home(ip("10.1.0.9"), ip("255.255.255.0"), &request, &link), expected, "{case}");
        }
    }

    #[test]
    fn an_address_of_another_network_is_noticed() {
        let addresses = vec![(ip("10.0.0.1"), Subnet::of(ip("10.0.0.1"), 24))];
        let link = Link { name: "eth0".to_owned(), addresses, ethernet: None };
        let ask = || Packet::request(MessageType::Discover, 1, [2, 0, 0, 0, 0, 1]);
        let relay = |giaddr| Packet { giaddr: ip(giaddr), ..ask() };
        for (case, address, request, text) in [
            ("its own", "10.0.0.9", ask(), None),
            ("another one", "10.1.0.9", ask(), Some("it asks on eth0, which has 10.0.0.0/24")),
            ("its relay's", "10.1.0.9", relay("10.1.0.1"), None),
            ("not its relay's", "10.0.0.9", relay("10.1.0.1"), Some("it asks through the relay 10.1.0.1, for 10.1.0.1")),
            ("it renews through a router", "10.1.0.9", Packet { ciaddr: ip("10.1.0.9"), ..ask() }, None),
        ] {
            let found = misplaced(ip(address), ip("255.255.255.0"), &request, &link);
            assert_eq!(found.as_deref(), text, "{case}");
        }
        assert_eq!(misplaced(ip("10.1.0.9"), ip("255.255.255.0"), &ask(), &Link::default()), None, "an unknown link");
    }
}
