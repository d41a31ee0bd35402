//! What a certificate says about itself, as far as it matters to a certificate that is trusted as it is: versions 1 and 3,
//! whatever its extensions. Signatures are not checked here.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const KEY_CERT_SIGN: u8 = 0x04;
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// No server has more names than this. The rest is not read.
const NAMES_MAX: usize = 1000;

/// Elements of DER, one after the other.
struct Elements<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, rest) = rest.split_first()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, content, whole })
    }
}

impl<'a> Elements<'a> {
    fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element if it has this tag. Otherwise nothing is taken.
    fn maybe(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.0.first() == Some(&tag) { self.next() } else { None }
    }
}

/// The first element, if it is a sequence; notes may follow it.
pub(crate) fn first(bytes: &[u8]) -> Option<&[u8]> {
    Elements(bytes).expect(SEQUENCE).map(|element| element.whole)
}

/// The bytes, if they are one sequence and nothing else.
pub(crate) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    first(bytes).filter(|element| element.len() == bytes.len())
}

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    pub self_issued: bool,
    pub common_names: Vec<String>,
    /// The groups of a client's certificate.
    pub organizations: Vec<String>,
    /// `None` without a subjectAltName that names a server.
    pub alternative_names: Option<Vec<Name>>,
    /// What the extensions say: `Some(false)` for a certificate that may sign no other.
    pub authority: Option<bool>,
    /// SubjectPublicKeyInfo.
    pub key: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Dns(String),
    Ip(IpAddr),
}

impl<'a> Certificate<'a> {
    pub fn parse(der: &'a [u8]) -> Option<Self> {
        let outer = whole(der).and_then(|_| Elements(der).next())?;
        let mut tbs = Elements(Elements(outer.content).expect(SEQUENCE)?.content);
        let _ = tbs.maybe(VERSION);
        tbs.expect(INTEGER)?; // serial number
        tbs.expect(SEQUENCE)?; // algorithm of the signature
        let issuer = tbs.expect(SEQUENCE)?;
        let mut validity = Elements(tbs.expect(SEQUENCE)?.content);
        let (not_before, not_after) = (time(&validity.next()?)?, time(&validity.next()?)?);
        let subject = tbs.expect(SEQUENCE)?;
        let key = tbs.expect(SEQUENCE)?;
        let mut read = Self {
            not_before,
            not_after,
            self_issued: issuer.whole == subject.whole,
            common_names: attributes(subject.content, COMMON_NAME),
            organizations: attributes(subject.content, ORGANIZATION),
            alternative_names: None,
            authority: None,
            key: key.whole,
        };
        if let Some(extensions) = tbs.find(|element| element.tag == EXTENSIONS) {
            for extension in Elements(Elements(extensions.content).expect(SEQUENCE)?.content) {
                read.extension(extension.content)?;
            }
        }
        Some(read)
    }

    fn extension(&mut self, bytes: &[u8]) -> Option<()> {
        let mut parts = Elements(bytes);
        let kind = parts.expect(OID)?.content;
        let _ = parts.maybe(BOOLEAN); // critical
        let value = parts.expect(OCTET_STRING)?.content;
        match kind {
            BASIC_CONSTRAINTS => {
                let stated = Elements(Elements(value).expect(SEQUENCE)?.content).maybe(BOOLEAN);
                let may = stated.is_some_and(|stated| stated.content != [0]);
                self.authority = Some(may && self.authority != Some(false));
            }
            KEY_USAGE => {
                // The first byte counts the unused bits.
                let may = Elements(value).expect(BIT_STRING)?.content.get(1).is_some_and(|bits| bits & KEY_CERT_SIGN != 0);
                if !may {
                    self.authority = Some(false);
                }
            }
            ALTERNATIVE_NAME => {
                let names = Elements(Elements(value).expect(SEQUENCE)?.content).take(NAMES_MAX);
                let names: Vec<Name> = names.filter_map(|name| alternative_name(&name)).collect();
                self.alternative_names = Some(names).filter(|names| !names.is_empty()); // others are no servers' names
            }
            _ => {}
        }
        Some(())
    }

    /// Whether the certificate is for this server. The common name counts only without a subjectAltName, as in
    /// certificates of version 1.
    pub fn is_for(&self, server: &ServerName<'_>) -> bool {
        match server {
            ServerName::DnsName(wanted) => match &self.alternative_names {
                Some(names) => names.iter().any(|name| matches!(name, Name::Dns(pattern) if covers(pattern, wanted.as_ref()))),
                None => self.common_names.iter().any(|name| covers(name, wanted.as_ref())),
            },
            ServerName::IpAddress(wanted) => {
                let wanted = IpAddr::from(*wanted);
                match &self.alternative_names {
                    Some(names) => names.contains(&Name::Ip(wanted)),
                    None => self.common_names.iter().any(|name| name.trim().parse() == Ok(wanted)),
                }
            }
            _ => false,
        }
    }

    /// The names it is for, for messages.
    pub fn names(&self) -> Vec<String> {
        match &self.alternative_names {
            Some(names) => names
                .iter()
                .map(|name| match name {
                    Name::Dns(name) => format!("DNS:{name}"),
                    Name::Ip(address) => format!("IP:{address}"),
                })
                .collect(),
            None => self.common_names.iter().map(|name| format!("CN={name}")).collect(),
        }
    }

    /// The length of an RSA key, in bits.
    pub fn rsa_bits(&self) -> Option<usize> {
        let mut parts = Elements(Elements(self.key).expect(SEQUENCE)?.content);
        let algorithm = Elements(parts.expect(SEQUENCE)?.content).expect(OID)?;
        let key = parts.expect(BIT_STRING)?.content.get(1..)?;
        let modulus = Elements(Elements(key).expect(SEQUENCE)?.content).expect(INTEGER)?.content;
        let significant = modulus.iter().position(|byte| *byte != 0)?;
        let highest = 8 - modulus.get(significant)?.leading_zeros() as usize;
        (algorithm.content == RSA).then(|| (modulus.len() - significant - 1) * 8 + highest)
    }

    /// The algorithm of the key as its AlgorithmIdentifier says it, and the key itself.
    pub(crate) fn key_parts(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut parts = Elements(Elements(self.key).expect(SEQUENCE)?.content);
        let algorithm = parts.expect(SEQUENCE)?.content;
        let key = parts.expect(BIT_STRING)?.content.split_first().filter(|(unused, _)| **unused == 0)?.1;
        Some((algorithm, key))
    }
}

/// A host name or a pattern with `*` as its whole first label.
fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.trim_end_matches('.'), name.trim_end_matches('.'));
    if pattern.eq_ignore_ascii_case(name) {
        return !pattern.is_empty() && !pattern.contains('*');
    }
    let (Some(suffix), Some((_, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else { return false };
    suffix.contains('.') && !suffix.contains('*') && suffix.eq_ignore_ascii_case(rest)
}

/// The values of one type in a name.
fn attributes(subject: &[u8], wanted: &[u8]) -> Vec<String> {
    let parts = Elements(subject).filter(|set| set.tag == SET).flat_map(|set| Elements(set.content));
    let named = parts.filter_map(|part| {
        let mut pair = Elements(part.content);
        (pair.expect(OID)?.content == wanted).then(|| pair.next()).flatten()
    });
    named.take(NAMES_MAX).map(|value| string(&value)).collect()
}

fn string(value: &Element<'_>) -> String {
    if value.tag != BMP_STRING {
        return String::from_utf8_lossy(value.content).into_owned();
    }
    let units = value.content.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_be_bytes);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn alternative_name(name: &Element<'_>) -> Option<Name> {
    match name.tag {
        DNS_NAME => Some(Name::Dns(std::str::from_utf8(name.content).ok()?.to_owned())),
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(name.content).map(IpAddr::from);
            Some(Name::Ip(v4.or_else(|_| <[u8; 16]>::try_from(name.content).map(IpAddr::from)).ok()?))
        }
        _ => None,
    }
}

/// `YYMMDDHHMM[SS]Z`, or with four digits of the year.
fn time(element: &Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<i64>().ok());
    let (month, day, hour, minute) = (part(0)?, part(2)?, part(4)?, part(6)?);
    let second = if rest.len() == 8 { 0 } else { part(8)? };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    (fits && matches!(rest.len(), 8 | 10)).then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 in the Gregorian calendar, with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_dates_are_read() {
        for (tag, text, want) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (UTC_TIME, "2602281200Z", Some(1_772_280_000)),
            (GENERALIZED_TIME, "20240229000000Z", Some(1_709_164_800)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "261301000000Z", None),
            (UTC_TIME, "260101000000+0100", None),
            (UTC_TIME, "Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            assert_eq!(time(&Element { tag, content: text.as_bytes(), whole: &[] }), want, "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_one_first_label() {
        for (pattern, name, want) in [
            ("registry.example", "Registry.Example", true),
            ("registry.example", "registry.example.", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.com", "example.com", false),
            ("*", "example", false),
            ("a*.example.com", "ab.example.com", false),
            ("", "", false),
        ] {
            assert_eq!(covers(pattern, name), want, "{pattern} {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Certificate::parse(&bytes).map(|read| (read.names(), read.rsa_bits(), read.key_parts().is_some()));
            let _ = (first(&bytes), whole(&bytes));
        }
    }
}
