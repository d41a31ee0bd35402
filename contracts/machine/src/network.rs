//! What PID 1's network client learned of the network, for the system that is installed. The client writes
//! [`files::LEARNED`] and keeps it current. The crate `netconfig` turns it into configuration files.

mod lines;

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

pub use cmdline::HwAddr;

use crate::files;

/// More than all values together have.
const FILE_MAX: u64 = 256 << 10;
const MAX_NAME: usize = 63;
const MAX_DOMAIN: usize = 253;

/// The links below the one that is used, and the address with all that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The kernel arguments `ipam=` or `ip=`.
    Static,
    Dhcp,
    /// A router advertisement.
    Auto6,
    Dhcp6,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    pub name: String,
    /// The permanent address of the hardware. A member of a bond uses the bond's address instead.
    pub mac: HwAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    pub name: String,
    pub mac: HwAddr,
    /// In the kernel's names and words.
    pub options: Vec<(String, String)>,
    pub mtu: Option<u16>,
}

/// `gateway` is `None` for a destination on the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub destination: IpAddr,
    pub prefix: u8,
    pub gateway: Option<IpAddr>,
}

impl Learned {
    /// # Errors
    /// Those of the file system, and `InvalidData` for a line that does not say what it should.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
        lines::parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        files::replace(path, lines::render(self))
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

    /// The MTU of every link of the stack. The frames of a link are not longer than those of the link below it.
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

/// Why a text is not the name of a domain (RFC 1035, 2.3.4). A name without fault needs no quotes in any file.
pub fn domain_name_fault(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > MAX_DOMAIN {
        return Some("is longer than 253 bytes");
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()) && !last.is_empty()) {
        return Some("is an address or a number");
    }
    name.split('.').find_map(|label| match label {
        "" => Some("has an empty label"),
        label if !label.chars().all(allowed) => Some("has characters that no domain has"),
        label if label.starts_with('-') => Some("has a label that begins with a hyphen"),
        label if label.len() > MAX_NAME => Some("has a label of more than 63 bytes"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_keeps_to_the_limits_of_dns() {
        let label = "a".repeat(63);
        let longest = [&label[..], &label, &label, &label[..61]].join(".");
        for good in ["lab", "corp.example", "_tcp.lab", "10.in-addr.arpa", &label, &longest] {
            assert_eq!(domain_name_fault(good), None, "{good}");
        }
        for bad in ["", ".", "a..b", "a b", "-a", "ä", "a\nb", "6.6.6.6", &format!("{label}a"), &format!("{longest}a")] {
            assert!(domain_name_fault(bad).is_some(), "{bad}");
        }
    }
}
