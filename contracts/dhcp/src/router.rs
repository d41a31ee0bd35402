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
const AUTONOMOUS: u8 = 0x40;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

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

/// The advertisement of a host that is not a router: a lifetime of 0, no prefix, and no word on DHCPv6. The kernel adds
/// the checksum.
#[must_use]
pub fn no_router(mac: Option<[u8; 6]>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[0] = ADVERTISEMENT;
    if let Some(mac) = mac {
        bytes.extend([SOURCE_LINK_LAYER_ADDRESS, 1]); // length in units of 8 bytes
        bytes.extend(mac);
    }
    bytes
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
        let bytes = no_router(Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes.get(6..8), Some(&[0, 0][..]), "router lifetime");
        assert_eq!(bytes.get(16..), Some(&[1, 1, 2, 0, 0, 0, 0, 1][..]));
        assert_eq!(Advertisement::decode(&bytes), Some(Advertisement::default()));
        assert_eq!(no_router(None).len(), HEADER);
    }

    #[test]
    fn solicitations_are_recognised() {
        assert!(is_solicitation(&SOLICITATION));
        for bytes in [&[134, 0, 0, 0, 0, 0, 0, 0][..], &[133, 0, 0], &[]] {
            assert!(!is_solicitation(bytes), "{bytes:?}");
        }
    }
}
