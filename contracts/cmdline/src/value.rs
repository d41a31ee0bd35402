//! Values with a meaning of their own: a hardware address, a secret, a proxy.

use std::fmt;
use std::str::FromStr;

use crate::Problem;

/// A MAC address, written `02:00:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HwAddr(pub [u8; 6]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address (expected 02:00:00:00:00:01)")]
pub struct NotAnHwAddr;

impl FromStr for HwAddr {
    type Err = NotAnHwAddr;

    /// Colons or dashes between the pairs, any case.
    fn from_str(text: &str) -> Result<Self, NotAnHwAddr> {
        let mut octets = [0; 6];
        let mut pairs = text.split([':', '-']);
        for octet in &mut octets {
            let pair = pairs.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = pair.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or(NotAnHwAddr)?;
        }
        if pairs.next().is_some() { Err(NotAnHwAddr) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for HwAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The URL of a proxy, which may carry a user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(String);

impl Proxy {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, credentials included.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((before, host)) = self.0.rsplit_once('@') else { return f.write_str(&self.0) };
        match before.split_once("://") {
            Some((scheme, _)) => write!(f, "{scheme}://***@{host}"),
            None => write!(f, "***@{host}"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What follows if the agent fails again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The machine stays as it is, so that a person can look at it. PID 1 tries the agent now and then.
    #[default]
    Hold,
    Reboot,
    PowerOff,
}

impl OnFailure {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 3] = [(Self::Hold, "hold"), (Self::Reboot, "reboot"), (Self::PowerOff, "poweroff")];
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(known, _)| known == self);
        f.write_str(word.map_or("hold", |(_, word)| word))
    }
}

/// When images that came with the machine are used, in relation to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmbeddedImages {
    #[default]
    First,
    /// Only if the registry is unreachable or does not have the image.
    Fallback,
    Never,
}

impl EmbeddedImages {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 3] = [(Self::First, "first"), (Self::Fallback, "fallback"), (Self::Never, "never")];
}

impl FromStr for EmbeddedImages {
    type Err = Problem;

    fn from_str(word: &str) -> Result<Self, Problem> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(when, _)| *when).ok_or(Problem::NotAPlace)
    }
}

impl fmt::Display for EmbeddedImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::ALL.iter().find(|(known, _)| known == self);
        f.write_str(word.map_or("first", |(_, word)| word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_six_pairs() {
        let address = HwAddr([0x02, 0, 0, 0, 0, 0xab]);
        for (text, result) in [
            ("02:00:00:00:00:ab", Ok(address)),
            ("02-00-00-00-00-AB", Ok(address)),
            ("02:00:00:00:00", Err(NotAnHwAddr)),
            ("02:00:00:00:00:ab:01", Err(NotAnHwAddr)),
            ("02:00:00:00:00:+b", Err(NotAnHwAddr)),
            ("2:0:0:0:0:ab", Err(NotAnHwAddr)),
            ("", Err(NotAnHwAddr)),
        ] {
            assert_eq!(text.parse::<HwAddr>(), result, "{text}");
        }
        assert_eq!(address.to_string(), "02:00:00:00:00:ab");
    }

    #[test]
    fn a_proxy_shows_its_host_but_not_its_credentials() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://joe:p@ss@proxy:3128", "http://***@proxy:3128"),
            ("joe:pass@proxy", "***@proxy"),
        ] {
            assert_eq!(Proxy::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", Proxy::new(url)), shown);
        }
    }
}
