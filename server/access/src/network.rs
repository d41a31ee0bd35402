//! Access to the API: loopback, and the networks that the operator names.

use std::net::IpAddr;
use std::str::FromStr;

/// `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let refused = || NotANetwork(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(refused)?;
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= longest).ok_or_else(refused)?;
        Ok(Self { address, length })
    }
}

impl Network {
    /// The network's address and the length of its prefix.
    #[must_use]
    pub const fn parts(self) -> (IpAddr, u8) {
        (self.address, self.length)
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (u32::from(network) ^ u32::from(address)).leading_zeros(),
            (IpAddr::V6(network), IpAddr::V6(address)) => (u128::from(network) ^ u128::from(address)).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.length)
    }
}

#[must_use]
pub fn is_operator(address: IpAddr, allowed: &[Network]) -> bool {
    address.to_canonical().is_loopback() || allowed.iter().any(|network| network.contains(address))
}

/// Which callers may use the workflow service without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PlainGrpc {
    /// Those of this host, and of the networks of known Hardware.
    #[default]
    Known,
    None,
    /// Those of this host, and of these networks.
    Networks(Vec<Network>),
}

impl PlainGrpc {
    /// `is_known` says whether the address is in a network of known Hardware.
    #[must_use]
    pub fn allows(&self, address: IpAddr, is_known: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Known => address.to_canonical().is_loopback() || is_known(),
            Self::None => false,
            Self::Networks(networks) => is_operator(address, networks),
        }
    }
}

impl std::fmt::Display for PlainGrpc {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Known => "from the networks of known Hardware only,",
            Self::None => "from no network,",
            Self::Networks(_) => "from the networks of --plain-grpc only,",
        })
    }
}

impl FromStr for PlainGrpc {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        match text.trim() {
            "known" => Ok(Self::Known),
            "none" => Ok(Self::None),
            list => {
                let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
                let networks = parts.map(str::parse).collect::<Result<Vec<Network>, _>>()?;
                if networks.is_empty() { Err(NotANetwork(text.to_owned())) } else { Ok(Self::Networks(networks)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn plain_calls_come_from_known_networks_unless_something_else_is_said() {
        for (setting, address, known, may) in [
            ("known", "10.0.0.7", true, true),
            ("known", "10.0.0.7", false, false),
            ("known", "127.0.0.1", false, true),
            ("none", "10.0.0.7", true, false),
            ("none", "127.0.0.1", true, false),
            ("10.0.0.0/24, fd00::/8", "10.0.0.7", false, true),
            ("10.0.0.0/24", "10.0.1.7", true, false),
            ("10.0.0.0/24", "::1", false, true),
            ("0.0.0.0/0", "192.0.2.1", false, true),
        ] {
            let plain: PlainGrpc = setting.parse().unwrap();
            assert_eq!(plain.allows(address.parse().unwrap(), || known), may, "{setting}: {address} {known}");
        }
        for text in ["", "all", "known,none", "10.0.0.1"] {
            assert!(text.parse::<PlainGrpc>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_named_networks_change_objects() {
        let allowed: Vec<Network> =
            ["10.1.0.0/16", "fd00::/8", "192.168.7.9/32"].iter().map(|text| text.parse().unwrap()).collect();
        for (address, may) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("192.168.7.9", true),
            ("192.168.7.8", false),
        ] {
            assert_eq!(is_operator(address.parse().unwrap(), &allowed), may, "{address}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
