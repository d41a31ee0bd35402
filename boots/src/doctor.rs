//! What may keep machines from booting, on this host and on its network: it looks and changes nothing.
//!
//! `host` and `probe` read, and `checks` are pure functions of what was read.

mod checks;
mod firewall;
mod host;
mod probe;
mod sockets;

use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

pub use crate::vrf::Kernel;
pub use checks::{check, vrfs};
pub use firewall::{Family, Passage, Rules, of_iptables, of_nft};
pub use host::{examine, interfaces, other_servers};
pub use probe::Answer;
pub use sockets::{Holder, Transport};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Question {
    /// The address at which machines find this host, if it is configured.
    pub address: Option<Ipv4Addr>,
    /// Without one, all interfaces that have the address, or all.
    pub interface: Option<String>,
    /// Another server is meant to give the addresses: the mode is proxy somewhere.
    pub is_proxy: bool,
    /// DHCPv6 is served.
    pub has_dhcp6: bool,
    /// The ports of HTTP, the workflow service and the API.
    pub http: u16,
    pub grpc: u16,
    pub api: u16,
    /// Where metadata is served beside the port of HTTP.
    pub metadata: Vec<SocketAddr>,
    /// Files that scripts name, and the folder of boot programs.
    pub files: Vec<std::path::PathBuf>,
    pub nbp: std::path::PathBuf,
}

/// Everything that was read.
#[derive(Debug, Clone)]
pub struct Facts {
    pub interfaces: Vec<Interface>,
    pub holders: Vec<Holder>,
    /// What the kernel does for interfaces in a VRF.
    pub kernel: Kernel,
    /// Answers to the probe, or why there was none.
    pub answers: Result<Vec<Answer>, String>,
    /// The rules of the firewall, or why they cannot be read.
    pub firewall: Result<Vec<PortRule>, String>,
    pub missing: Vec<std::path::PathBuf>,
    /// Architectures whose boot program is missing, and its name.
    pub programs: Vec<(&'static str, &'static str)>,
}

/// What the firewall does with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRule {
    pub family: Family,
    pub transport: Transport,
    pub port: u16,
    pub passage: Passage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// `None` if it cannot be read.
    pub mtu: Option<u32>,
    pub is_up: bool,
    pub vrf: Option<String>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// One word for programs.
    pub check: &'static str,
    pub level: Level,
    pub found: String,
    /// What to do. Empty if nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It could not be looked at.
    Unknown,
    Warning,
    Error,
}

impl Level {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
