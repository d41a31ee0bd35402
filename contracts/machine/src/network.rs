//! What PID 1's network client learned of the network, for the system that is installed. The client writes
//! [`files::LEARNED`] and keeps it current. The crate `netconfig` turns it into configuration files.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

pub use cmdline::HwAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::files;

const MAX_NAME: usize = 63;

/// The links below the one that is used, and the address with all that came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    pub method: Method,
    /// The link that carries everything, or the members of the bond that does.
    pub nics: Vec<Nic>,
    pub bond: Option<Bond>,
    pub vlan: Option<u16>,
    pub address: IpAddr,
    pub prefix: u8,
    pub routes: Vec<Route>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
    /// Addresses or names.
    pub ntp: Vec<String>,
    pub hostname: Option<String>,
    pub mtu: Option<u16>,
}

/// Where the address came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The kernel arguments `ipam=` or `ip=`.
    Static,
    Dhcp,
    /// A router advertisement.
    Auto6,
    Dhcp6,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    pub name: String,
    /// The permanent address of the hardware. A member of a bond uses the bond's address instead.
    #[serde(with = "text")]
    pub mac: HwAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    pub name: String,
    #[serde(with = "text")]
    pub mac: HwAddr,
    /// In the kernel's names and words.
    pub options: Vec<(String, String)>,
    pub mtu: Option<u16>,
}

/// `gateway` is `None` for a destination on the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
}

impl Learned {
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        files::replace(path, serde_json::to_vec(self)?)
    }

    /// The network gives the address again whenever the machine asks.
    pub fn is_dynamic(&self) -> bool {
        self.method != Method::Static
    }

    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The name of the link below a VLAN, or of the only link.
    pub fn base(&self) -> &str {
        let nic = || self.nics.first().map_or("eth0", |nic| nic.name.as_str());
        self.bond.as_ref().map_or_else(nic, |bond| &bond.name)
    }

    pub fn vlan_name(&self, id: u16) -> String {
        format!("{}.{id}", self.base())
    }

    /// For every link of the stack: the frames of one are no longer than those of the next below.
    pub fn mtu(&self) -> Option<u16> {
        self.mtu.or(self.bond.as_ref().and_then(|bond| bond.mtu))
    }

    pub fn gateway(&self) -> Option<IpAddr> {
        self.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.gateway)
    }

    /// The routes beside the default one.
    pub fn other_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.prefix != 0)
    }

    /// Clouds hand out /32 addresses whose gateway lies outside of the subnet.
    pub fn is_off_link(&self, gateway: IpAddr) -> bool {
        !covers(self.address, self.prefix, gateway)
    }
}

/// Whether `address` lies in the network `network/prefix`.
pub fn covers(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let prefix = u32::from(prefix);
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) & !u32::MAX.checked_shr(prefix).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) & !u128::MAX.checked_shr(prefix).unwrap_or(0) == 0,
        _ => false,
    }
}

/// Whether a name of a host or a link needs no quotes in any file that it is written to.
pub fn is_plain_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A value in JSON as it is written elsewhere.
mod text {
    use super::*;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_read_as_it_was_written() {
        let mac = HwAddr([2, 0, 0, 0, 0, 1]);
        let address = "10.0.0.5".parse().unwrap();
        let gateway = Some("10.0.0.1".parse().unwrap());
        let learned = Learned {
            method: Method::Dhcp,
            nics: vec![Nic { name: "eth0".to_owned(), mac }],
            bond: Some(Bond { name: "bond0".to_owned(), mac, options: vec![("mode".into(), "802.3ad".into())], mtu: None }),
            vlan: Some(100),
            address,
            prefix: 24,
            routes: vec![Route { destination: "0.0.0.0".parse().unwrap(), prefix: 0, gateway }],
            dns: vec![address],
            search: vec!["lab.test".to_owned()],
            ntp: Vec::new(),
            hostname: None,
            mtu: Some(1400),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("thimble/network.json");
        learned.write(&file).unwrap();
        assert_eq!(Learned::read(&file).unwrap(), learned);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(r#""method":"dhcp","nics":[{"name":"eth0","mac":"02:00:00:00:00:01"}]"#), "{text}");
        fs::write(&file, "{").unwrap();
        assert!(Learned::read(&file).is_err());
    }
}
