//! Router advertisements (RFC 4861, 4.2), as far as the kernel leaves them to us: whether to ask DHCPv6, and names (RFC
//! 8106). Pure.

use std::net::Ipv6Addr;

const ADVERTISEMENT: u8 = 134;
const HEADER: usize = 16;
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const PREFIX: u8 = 3;
const AUTONOMOUS: u8 = 0x40;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
const NAME_MAX: usize = 253;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// Addresses come from DHCPv6.
    pub managed: bool,
    /// Everything else does.
    pub other: bool,
    /// The kernel makes an address from a prefix.
    pub autonomous: bool,
    pub dns: Vec<Ipv6Addr>,
    pub search: Vec<String>,
}

impl Advertisement {
    /// `None`: another message, or one that is broken off.
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

/// Uncompressed names one after the other (RFC 1035, 3.1); what is broken, and padding, ends the list.
pub fn domain_names(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((name, rest)) = domain_name(bytes) {
        names.push(name);
        bytes = rest;
    }
    names
}

fn domain_name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    loop {
        let (length, rest) = bytes.split_first()?;
        if *length == 0 {
            return (!name.is_empty()).then_some((name, rest));
        }
        let (label, rest) = rest.split_at_checked((*length).into()).filter(|_| *length < 64)?;
        let label = std::str::from_utf8(label).ok()?;
        name += if name.is_empty() { "" } else { "." };
        name += label;
        if name.len() > NAME_MAX {
            return None;
        }
        bytes = rest;
    }
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
            ("a broken off option", advertisement(0, &[&[RDNSS, 3, 0, 0]])),
            ("a byte too many", advertisement(0, &[&[1]])),
        ];
        for (case, bytes) in cases {
            assert_eq!(Advertisement::decode(&bytes), None, "{case}");
        }
        assert_eq!(domain_names(&[3, b'a']), Vec::<String>::new());
    }
}
