//! Router solicitations and advertisements (RFC 4861, 4.1 and 4.2), with the names in them (RFC 8106). The kernel acts on
//! prefixes and routes itself. What is read here is what the kernel leaves out: whether to ask DHCPv6, and names.

use std::net::Ipv6Addr;

use crate::domain_names;

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// A message with fewer hops left came through a router and does not count (RFC 4861, 6.1).
pub const HOPS: u32 = 255;
/// Type, code, checksum and reserved bytes. The kernel adds the checksum. The packet carries no address, so routers answer to
/// all nodes.
pub const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

const ADVERTISEMENT: u8 = 134;
const HEADER: usize = 16;
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const PREFIX: u8 = 3;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
/// How many servers and names are announced, so that the packet is never cut.
const MOST: usize = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// DHCPv6 gives addresses and everything else.
    pub managed: bool,
    /// DHCPv6 gives everything but addresses.
    pub other: bool,
    /// The kernel makes an address from a prefix.
    pub autonomous: bool,
    pub dns: Vec<Ipv6Addr>,
    pub search: Vec<String>,
}

impl Advertisement {
    /// `None` for another message, and for one that is cut off.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER)?;
        let [ADVERTISEMENT, 0, _, _, _, flags, ..] = *header else { return None };
        let mut found = Self { managed: flags & MANAGED != 0, other: flags & OTHER != 0, ..Self::default() };
        while let [kind, length, ..] = *rest {
            let (option, behind) = rest.split_at_checked(usize::from(length) * 8).filter(|_| length > 0)?;
            found.take(kind, option.get(2..)?);
            rest = behind;
        }
        rest.is_empty().then_some(found)
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (PREFIX, [_, flags, lifetime @ ..]) if lifetime.get(..4) != Some(&[0; 4]) => {
                self.autonomous |= flags & AUTONOMOUS != 0;
            }
            (RDNSS, [_, _, lifetime @ ..]) => {
                if let Some((lifetime, addresses)) = lifetime.split_at_checked(4)
                    && lifetime != [0; 4]
                {
                    self.dns.extend(addresses.as_chunks().0.iter().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets)));
                }
            }
            (DNSSL, [_, _, lifetime @ ..]) => {
                if let Some((lifetime, names)) = lifetime.split_at_checked(4)
                    && lifetime != [0; 4]
                {
                    self.search.extend(domain_names(names));
                }
            }
            _ => {}
        }
    }
}

/// What a host announces. The default is that of a host that is not a router: a lifetime of 0, no prefix, and no word on DHCPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The sender's, so that its hosts need not ask for it.
    pub mac: Option<[u8; 6]>,
    /// DHCPv6 gives addresses, or everything else.
    pub managed: bool,
    pub other: bool,
    /// Seconds for which hosts use the sender as their router.
    pub router_lifetime: u16,
    pub prefixes: Vec<Prefix>,
    pub dns: Vec<Ipv6Addr>,
    pub search: Vec<String>,
}

/// A network whose hosts reach each other without a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    pub address: Ipv6Addr,
    pub length: u8,
    /// Whether hosts make themselves addresses from it. It has 64 bits then.
    pub autonomous: bool,
}

/// Seconds for which prefixes and names hold. They are announced again long before.
const HOLDS: u32 = 3600;

impl Announcement {
    /// The kernel adds the checksum.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0] = ADVERTISEMENT;
        bytes[5] = if self.managed { MANAGED } else { 0 } | if self.other { OTHER } else { 0 };
        bytes[6..8].copy_from_slice(&self.router_lifetime.to_be_bytes());
        if let Some(mac) = self.mac {
            bytes.extend([SOURCE_LINK_LAYER_ADDRESS, 1]); // length in units of 8 bytes
            bytes.extend(mac);
        }
        for prefix in &self.prefixes {
            let flags = ON_LINK | if prefix.autonomous { AUTONOMOUS } else { 0 };
            bytes.extend([PREFIX, 4, prefix.length, flags]);
            bytes.extend([HOLDS.to_be_bytes(), HOLDS.to_be_bytes(), [0; 4]].concat());
            bytes.extend(prefix.address.octets());
        }
        let dns: Vec<u8> = self.dns.iter().take(MOST).flat_map(Ipv6Addr::octets).collect();
        push_names(&mut bytes, RDNSS, dns);
        let search = crate::name::encode(self.search.get(..MOST.min(self.search.len())).unwrap_or_default());
        push_names(&mut bytes, DNSSL, search);
        bytes
    }
}

/// With its length in units of 8 bytes, filled up with zeros. Nothing if there are no names.
fn push_names(bytes: &mut Vec<u8>, kind: u8, mut names: Vec<u8>) {
    names.resize(names.len().next_multiple_of(8), 0);
    if let Some(length) = u8::try_from(names.len() / 8 + 1).ok().filter(|length| *length > 1) {
        bytes.extend([kind, length, 0, 0]);
        bytes.extend(HOLDS.to_be_bytes());
        bytes.extend(names);
    }
}

/// Whether these bytes are a whole solicitation; its options do not matter.
#[must_use]
pub fn is_solicitation(bytes: &[u8]) -> bool {
    matches!(bytes, [kind, 0, ..] if *kind == SOLICITATION[0]) && bytes.len() >= SOLICITATION.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertisement(flags: u8, options: &[&[u8]]) -> Vec<u8> {
        let header = [ADVERTISEMENT, 0, 0, 0, 64, flags, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0];
        [&header[..], &options.concat()].concat()
    }

    const SERVER: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    fn rdnss(lifetime: u8) -> Vec<u8> {
        [&[RDNSS, 3, 0, 0, 0, 0, 0, lifetime], &SERVER[..]].concat()
    }

    #[test]
    fn flags_names_and_prefixes_are_read() {
        let mut prefix = vec![PREFIX, 4, 64, 0xc0, 0, 0, 0, 9];
        prefix.resize(32, 0);
        let search = [DNSSL, 3, 0, 0, 0, 0, 0, 9, 3, b'l', b'a', b'b', 4, b't', b'e', b's', b't', 0, 1, b'b', 0, 0, 0, 0];
        let bytes = advertisement(MANAGED | OTHER, &[&[1, 1, 2, 0, 0, 0, 0, 1], &prefix, &rdnss(9), &search]);
        let expected = Advertisement {
            managed: true,
            other: true,
            autonomous: true,
            dns: vec![Ipv6Addr::from(SERVER)],
            search: vec!["lab.test".into(), "b".into()],
        };
        assert_eq!(Advertisement::decode(&bytes), Some(expected));
        assert_eq!(Advertisement::decode(&advertisement(0, &[])), Some(Advertisement::default()));
    }

    #[test]
    fn what_has_no_lifetime_left_does_not_count() {
        let mut prefix = vec![PREFIX, 4, 64, 0xc0];
        prefix.resize(32, 0);
        assert_eq!(Advertisement::decode(&advertisement(0, &[&rdnss(0), &prefix])), Some(Advertisement::default()));
    }

    #[test]
    fn broken_messages_are_none() {
        let cases: [(&str, Vec<u8>); 5] = [
            ("short", vec![ADVERTISEMENT; 15]),
            ("another type", [vec![135], vec![0; 15]].concat()),
            ("an option without length", advertisement(0, &[&[RDNSS, 0]])),
            ("an option that is cut off", advertisement(0, &[&[RDNSS, 3, 0, 0]])),
            ("a byte too many", advertisement(0, &[&[1]])),
        ];
        for (case, bytes) in cases {
            assert_eq!(Advertisement::decode(&bytes), None, "{case}");
        }
    }

    #[test]
    fn a_host_that_is_no_router_offers_nothing() {
        let bytes = Announcement { mac: Some([2, 0, 0, 0, 0, 1]), ..Announcement::default() }.encode();
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes.get(6..8), Some(&[0, 0][..]), "router lifetime");
        assert_eq!(bytes.get(16..), Some(&[1, 1, 2, 0, 0, 0, 0, 1][..]));
        assert_eq!(Advertisement::decode(&bytes), Some(Advertisement::default()));
        assert_eq!(Announcement::default().encode().len(), HEADER);
    }

    #[test]
    fn an_announcement_is_read_as_it_was_written() {
        let prefix = Prefix { address: Ipv6Addr::from(SERVER), length: 64, autonomous: true };
        let announced = Announcement {
            managed: true,
            router_lifetime: 1800,
            prefixes: vec![prefix, Prefix { autonomous: false, ..prefix }],
            dns: vec![Ipv6Addr::from(SERVER); 9],
            search: vec!["lab.test".to_owned()],
            ..Announcement::default()
        };
        let bytes = announced.encode();
        assert_eq!(bytes.get(6..8), Some(&[7, 8][..]), "router lifetime");
        let expected = Advertisement {
            managed: true,
            other: false,
            autonomous: true,
            dns: vec![Ipv6Addr::from(SERVER); 4],
            search: vec!["lab.test".to_owned()],
        };
        assert_eq!(Advertisement::decode(&bytes), Some(expected));
    }

    #[test]
    fn solicitations_are_recognised() {
        assert!(is_solicitation(&SOLICITATION));
        for bytes in [&[134, 0, 0, 0, 0, 0, 0, 0][..], &[133, 0, 0], &[]] {
            assert!(!is_solicitation(bytes), "{bytes:?}");
        }
    }
}
