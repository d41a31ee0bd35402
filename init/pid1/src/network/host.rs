//! A host on the network, in the form of arguments and servers: an address or a name.

use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

/// From RFC 1035, 2.3.4: the longest name, and the longest label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

impl Host {
    /// `None` if the text is neither an address nor a valid name. A valid name never needs quotes.
    pub fn parse(text: &str) -> Option<Self> {
        let address = text.parse().ok().map(Self::Address);
        address.or_else(|| is_name(text).then(|| Self::Name(text.to_owned())))
    }

    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// Whether an address of that family may lead to this host.
    pub fn may_be(&self, family: fn(&IpAddr) -> bool) -> bool {
        self.address().is_none_or(|address| family(&address))
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=LABEL_MAX).contains(&label.len()) && label.chars().all(allowed)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit()); // a mistyped address
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= NAME_MAX && text.split('.').all(is_label) && text.rsplit('.').next().is_some_and(|last| !is_number(last))
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for text in ["10.0.0.1", "fd00::1"] {
            assert_eq!(Host::parse(text), Some(Host::Address(text.parse().unwrap())));
        }
        let long = format!("{}.lab", "a".repeat(63));
        for text in ["tink", "tink.lab", "tink.lab.", "0.de.pool.ntp.org", "a_b-c.lab", long.as_str()] {
            assert_eq!(Host::parse(text), Some(Host::Name(text.to_owned())), "{text}");
        }
        let (long, longest) = (format!("{}.lab", "a".repeat(64)), ["abcdefg"; 40].join("."));
        for text in
            ["", ".", "a..b", "10.0.0.256", "10.0.0", "a b", "a\"b", "ä.lab", "http://a", "a:1", long.as_str(), longest.as_str()]
        {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }
}
