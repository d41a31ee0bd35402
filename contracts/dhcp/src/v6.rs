//! DHCPv6 messages (RFC 8415, 8), as clients, relays and servers send and read them.

mod identity;
mod relay;
mod request;

use std::net::Ipv6Addr;

pub use identity::{duid_mac, eui64, eui64_mac};
pub use relay::{HOP_LIMIT, Relay, unwrap, wrap};
pub use request::Wanted;

/// Servers and relays of a link.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Servers of a site, for relays.
pub const ALL_SERVERS_OF_SITE: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
pub const CLIENT_PORT: u16 = 546;
pub const SERVER_PORT: u16 = 547;

pub const SOLICIT: u8 = 1;
pub const ADVERTISE: u8 = 2;
pub const REQUEST: u8 = 3;
pub const CONFIRM: u8 = 4;
pub const RENEW: u8 = 5;
pub const REBIND: u8 = 6;
pub const REPLY: u8 = 7;
pub const RELEASE: u8 = 8;
pub const DECLINE: u8 = 9;
pub const INFORMATION_REQUEST: u8 = 11;
pub const RELAY_FORWARD: u8 = 12;
pub const RELAY_REPLY: u8 = 13;

pub const CLIENT_ID: u16 = 1;
pub const SERVER_ID: u16 = 2;
pub const IA_NA: u16 = 3;
pub const IA_ADDRESS: u16 = 5;
pub const OPTION_REQUEST: u16 = 6;
pub const PREFERENCE: u16 = 7;
pub const ELAPSED_TIME: u16 = 8;
pub const RELAY_MESSAGE: u16 = 9;
pub const STATUS_CODE: u16 = 13;
pub const RAPID_COMMIT: u16 = 14;
pub const USER_CLASS: u16 = 15;
pub const VENDOR_CLASS: u16 = 16;
pub const INTERFACE_ID: u16 = 18;
pub const DNS_SERVERS: u16 = 23;
pub const DOMAIN_LIST: u16 = 24;
/// RFC 4075
pub const SNTP_SERVERS: u16 = 31;
pub const INFORMATION_REFRESH: u16 = 32;
/// RFC 5908, whose suboption 1 is an address.
pub const NTP_SERVER: u16 = 56;
const NTP_ADDRESS: u16 = 1;
/// RFC 5970, with the next two.
pub const BOOT_FILE_URL: u16 = 59;
pub const CLIENT_ARCH: u16 = 61;
pub const NETWORK_INTERFACE: u16 = 62;
/// RFC 6939, which a relay adds.
pub const CLIENT_LINK_LAYER: u16 = 79;
/// RFC 8357: the relay listens on the port that it sends from.
pub const RELAY_SOURCE_PORT: u16 = 135;

/// Codes of `STATUS_CODE` (RFC 8415, 21.13).
pub const NO_ADDRESSES: u16 = 2;
pub const NO_BINDING: u16 = 3;
pub const NOT_ON_LINK: u16 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub transaction: [u8; 3],
    pub options: Options,
}

/// In their order, with repetitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<(u16, Vec<u8>)>);

/// An identity association with its addresses (RFC 8415, 21.4); times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub id: u32,
    pub renew: u32,
    pub rebind: u32,
    pub addresses: Vec<Address>,
    /// 0 is success.
    pub status: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub address: Ipv6Addr,
    pub preferred: u32,
    pub valid: u32,
}

impl Message {
    /// `None`: it has no whole header.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([kind, transaction @ ..], options) = bytes.split_first_chunk::<4>()?;
        Some(Self { kind: *kind, transaction: *transaction, options: Options::decode(options) })
    }

    pub fn encode(&self) -> Vec<u8> {
        [&[self.kind], &self.transaction[..], &self.options.encode()].concat()
    }
}

impl Options {
    /// An option that is cut off is left out.
    pub fn decode(mut bytes: &[u8]) -> Self {
        let mut options = Vec::new();
        while let Some(([k0, k1, l0, l1], rest)) = bytes.split_first_chunk::<4>()
            && let Some((value, rest)) = rest.split_at_checked(u16::from_be_bytes([*l0, *l1]).into())
        {
            options.push((u16::from_be_bytes([*k0, *k1]), value.to_vec()));
            bytes = rest;
        }
        Self(options)
    }

    /// A value longer than an option can be is left out.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = self.0.iter().filter_map(|(kind, value)| {
            let length = u16::try_from(value.len()).ok()?;
            Some([&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat())
        });
        encoded.flatten().collect()
    }

    pub fn with(mut self, kind: u16, value: impl Into<Vec<u8>>) -> Self {
        self.0.push((kind, value.into()));
        self
    }

    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.all(kind).next()
    }

    fn all(&self, kind: u16) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(found, _)| *found == kind).map(|(_, value)| value.as_slice())
    }

    /// 0 is success, also when the option is missing.
    pub fn status(&self) -> u16 {
        self.get(STATUS_CODE).and_then(|value| value.first_chunk()).map_or(0, |code| u16::from_be_bytes(*code))
    }

    /// A status with its text.
    pub fn with_status(self, code: u16, text: &str) -> Self {
        self.with(STATUS_CODE, [&code.to_be_bytes()[..], text.as_bytes()].concat())
    }

    pub fn with_addresses(self, kind: u16, addresses: &[Ipv6Addr]) -> Self {
        if addresses.is_empty() {
            return self;
        }
        self.with(kind, addresses.iter().flat_map(Ipv6Addr::octets).collect::<Vec<u8>>())
    }

    /// Time servers, each in an option of its own (RFC 5908, 4).
    pub fn with_time_servers(self, servers: &[Ipv6Addr]) -> Self {
        servers
            .iter()
            .fold(self, |options, server| options.with(NTP_SERVER, Self::default().with(NTP_ADDRESS, server.octets()).encode()))
    }

    /// Names that DNS cannot carry are left out.
    pub fn with_domains(self, kind: u16, names: &[impl AsRef<str>]) -> Self {
        let bytes = crate::name::encode(names);
        if bytes.is_empty() { self } else { self.with(kind, bytes) }
    }

    pub fn seconds(&self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|seconds| u32::from_be_bytes(*seconds))
    }

    pub fn addresses(&self, kind: u16) -> Vec<Ipv6Addr> {
        self.all(kind).flat_map(|value| value.as_chunks().0).map(|octets: &[u8; 16]| Ipv6Addr::from(*octets)).collect()
    }

    pub fn time_servers(&self) -> Vec<Ipv6Addr> {
        let listed = self.all(NTP_SERVER).map(Self::decode).flat_map(|options| options.addresses(NTP_ADDRESS));
        listed.chain(self.addresses(SNTP_SERVERS)).collect()
    }

    pub fn association(&self, id: u32) -> Option<Association> {
        self.all(IA_NA).filter_map(Association::decode).find(|association| association.id == id)
    }
}

impl Association {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(12)?;
        let [id, renew, rebind] = *head.as_chunks().0 else { return None };
        let options = Options::decode(options);
        let good = |options: &Options| options.status() == 0;
        let addresses = options.all(IA_ADDRESS).filter_map(|value| {
            let (head, options) = value.split_at_checked(24)?;
            let (address, times) = head.split_first_chunk::<16>()?;
            let [preferred, valid] = *times.as_chunks().0 else { return None };
            let [preferred, valid] = [preferred, valid].map(u32::from_be_bytes);
            let usable = valid > 0 && preferred <= valid && good(&Options::decode(options));
            usable.then_some(Address { address: Ipv6Addr::from(*address), preferred, valid })
        });
        let [id, renew, rebind] = [id, renew, rebind].map(u32::from_be_bytes);
        Some(Self { id, renew, rebind, addresses: addresses.collect(), status: options.status() })
    }

    pub fn encode(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().fold(Options::default(), |options, address| {
            let value = [&address.address.octets()[..], &address.preferred.to_be_bytes(), &address.valid.to_be_bytes()].concat();
            options.with(IA_ADDRESS, value)
        });
        let options = if self.status == 0 { addresses } else { addresses.with_status(self.status, "") };
        let head = [self.id, self.renew, self.rebind].map(u32::to_be_bytes).concat();
        [head, options.encode()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x50);

    fn association() -> Association {
        let address = Address { address: HOST, preferred: 1800, valid: 3600 };
        Association { id: 7, renew: 900, rebind: 1440, addresses: vec![address], status: 0 }
    }

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        let options = Options::default()
            .with(SERVER_ID, [0, 3])
            .with(IA_NA, association().encode())
            .with(DNS_SERVERS, HOST.octets())
            .with(NTP_SERVER, Options::default().with(NTP_ADDRESS, HOST.octets()).encode());
        let message = Message { kind: REPLY, transaction: [1, 2, 3], options };
        let read = Message::decode(&message.encode()).unwrap();
        assert_eq!(read, message);
        assert_eq!(read.options.association(7), Some(association()));
        assert_eq!(read.options.association(8), None);
        assert_eq!((read.options.addresses(DNS_SERVERS), read.options.time_servers()), (vec![HOST], vec![HOST]));
    }

    #[test]
    fn refused_and_expired_addresses_do_not_count() {
        let expired = Association { addresses: vec![Address { address: HOST, preferred: 0, valid: 0 }], ..association() };
        let refused = [association().encode(), Options::default().with(STATUS_CODE, [0, 2]).encode()].concat();
        assert!(Association::decode(&expired.encode()).unwrap().addresses.is_empty());
        assert_eq!(Association::decode(&refused).unwrap().status, 2);
    }

    #[test]
    fn an_option_that_is_cut_off_costs_that_option() {
        for cut in [&[][..], &[0], &[0, 1, 0, 9, 0]] {
            let bytes = [&[7, 0, 0, 0, 0, 2, 0, 1, 9], cut].concat();
            assert_eq!(Message::decode(&bytes).unwrap().options, Options::default().with(SERVER_ID, [9]), "{cut:?}");
        }
        assert_eq!(Message::decode(&[7, 0, 0]), None);
        assert_eq!(Association::decode(&[0; 11]), None);
    }
}
