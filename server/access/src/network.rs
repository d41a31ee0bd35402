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

#[cfg(test)]
mod tests {

    use super::*;

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
