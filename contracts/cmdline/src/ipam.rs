//! `ipam=`: a static address, in Tinkerbell's nine fields separated by colons.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::{HwAddr, NotAnHwAddr};

/// `MAC:VLAN:IP:NETMASK:GATEWAY:HOSTNAME:DNS,..:SEARCH,..:NTP,..`, the MAC with dashes, fields may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipam {
    pub mac: HwAddr,
    pub vlan: Option<u16>,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub hostname: Option<String>,
    pub dns: Vec<Ipv4Addr>,
    pub search: Vec<String>,
    pub ntp: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    #[error("{0} fields instead of nine (MAC:VLAN:IP:NETMASK:GATEWAY:HOSTNAME:DNS:SEARCH:NTP, the MAC with dashes)")]
    Fields(usize),
    #[error("field 1: {0}")]
    Mac(NotAnHwAddr),
    #[error("field 2: VLAN {0} is not a number from 1 to 4094")]
    Vlan(String),
    #[error("field {field}: {text:?} is not an IPv4 address")]
    Address { field: usize, text: String },
    #[error("field 4: {0:?} is neither a netmask nor a prefix length")]
    Netmask(String),
}

impl FromStr for Ipam {
    type Err = IpamError;

    fn from_str(text: &str) -> Result<Self, IpamError> {
        let fields: Vec<&str> = text.split(':').collect();
        let [mac, vlan, address, netmask, gateway, hostname, dns, search, ntp] = fields[..] else {
            return Err(IpamError::Fields(fields.len()));
        };
        Ok(Self {
            mac: mac.parse().map_err(IpamError::Mac)?,
            vlan: optional(vlan, vlan_id)?,
            address: ipv4(3, address)?,
            prefix: prefix(netmask)?,
            gateway: optional(gateway, |text| ipv4(5, text))?,
            hostname: optional(hostname, |text| Ok(text.to_owned()))?,
            dns: list(dns).map(|text| ipv4(7, text)).collect::<Result<_, _>>()?,
            search: list(search).map(str::to_owned).collect(),
            ntp: list(ntp).map(str::to_owned).collect(),
        })
    }
}

fn optional<T>(text: &str, parse: impl Fn(&str) -> Result<T, IpamError>) -> Result<Option<T>, IpamError> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}

fn vlan_id(text: &str) -> Result<u16, IpamError> {
    text.parse().ok().filter(|id| (1..=4094).contains(id)).ok_or_else(|| IpamError::Vlan(text.to_owned()))
}

fn ipv4(field: usize, text: &str) -> Result<Ipv4Addr, IpamError> {
    text.parse().map_err(|_| IpamError::Address { field, text: text.to_owned() })
}

/// A dotted mask without holes, or (CaptainOS) a prefix length.
fn prefix(text: &str) -> Result<u8, IpamError> {
    let wrong = || IpamError::Netmask(text.to_owned());
    if let Ok(length) = text.parse::<u8>() {
        return if length <= 32 { Ok(length) } else { Err(wrong()) };
    }
    let mask = text.parse::<Ipv4Addr>().map_err(|_| wrong())?.to_bits();
    let ones = mask.leading_ones();
    if mask.count_ones() == ones { u8::try_from(ones).map_err(|_| wrong()) } else { Err(wrong()) }
}

impl fmt::Display for Ipam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = self.mac.to_string().replace(':', "-");
        let vlan = self.vlan.map(|id| id.to_string()).unwrap_or_default();
        let netmask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0));
        let gateway = self.gateway.map(|address| address.to_string()).unwrap_or_default();
        let hostname = self.hostname.as_deref().unwrap_or_default();
        let dns: Vec<String> = self.dns.iter().map(Ipv4Addr::to_string).collect();
        write!(f, "{mac}:{vlan}:{}:{netmask}:{gateway}:{hostname}:", self.address)?;
        write!(f, "{}:{}:{}", dns.join(","), self.search.join(","), self.ntp.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nine_fields_are_understood_and_written_back() {
        let text = "02-00-00-00-00-01:100:10.0.0.5:255.255.255.0:10.0.0.1:node1:10.0.0.2,10.0.0.3:lab.test:pool.test";
        let ipam: Ipam = text.parse().unwrap();
        assert_eq!((ipam.vlan, ipam.prefix, ipam.dns.len()), (Some(100), 24, 2));
        assert_eq!(ipam.to_string(), text);
    }

    #[test]
    fn a_bad_field_is_named() {
        for (text, error) in [
            ("10.0.0.5", "1 fields instead of nine (MAC:VLAN:IP:NETMASK:GATEWAY:HOSTNAME:DNS:SEARCH:NTP, the MAC with dashes)"),
            ("zz::10.0.0.5:24:::::", "field 1: not a MAC address (expected 02:00:00:00:00:01)"),
            ("02-00-00-00-00-01:0:10.0.0.5:24:::::", "field 2: VLAN 0 is not a number from 1 to 4094"),
            ("02-00-00-00-00-01::10.0.0:24:::::", "field 3: \"10.0.0\" is not an IPv4 address"),
            ("02-00-00-00-00-01::10.0.0.5:255.0.255.0:::::", "field 4: \"255.0.255.0\" is neither a netmask nor a prefix length"),
            ("02-00-00-00-00-01::10.0.0.5:33:::::", "field 4: \"33\" is neither a netmask nor a prefix length"),
            ("02-00-00-00-00-01::10.0.0.5:24:gw::::", "field 5: \"gw\" is not an IPv4 address"),
        ] {
            assert_eq!(text.parse::<Ipam>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_prefix_length_is_a_netmask() {
        for (netmask, written) in [("0", "0.0.0.0"), ("25", "255.255.255.128"), ("255.255.255.255", "255.255.255.255")] {
            let ipam: Ipam = format!("02-00-00-00-00-01::10.0.0.5:{netmask}:::::").parse().unwrap();
            assert_eq!(ipam.to_string(), format!("02-00-00-00-00-01::10.0.0.5:{written}:::::"));
        }
    }
}
