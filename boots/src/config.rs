//! What boots needs to know of its own place in the network; checked by whoever reads the settings.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use cmdline::Arguments;
use model::Mac;

#[derive(Debug, Clone)]
pub struct Config {
    /// The address machines are told to come to.
    pub address: Ipv4Addr,
    /// The port of scripts and files, as machines reach it.
    pub http_port: u16,
    /// The port of TFTP, as machines reach it. Firmware knows 69 only; another one serves tests and chainloading.
    pub tftp_port: u16,
    /// The network interface to serve; without it all of them are.
    pub interface: Option<String>,
    /// What `/files/` serves.
    pub files: PathBuf,
    /// Where the network boot programs are, such as `/usr/lib/ipxe`.
    pub nbp: PathBuf,
    /// Kernel and ramdisk as paths below `files`.
    pub kernel: String,
    pub initrd: String,
    /// Kernel arguments of every machine: authority, syslog, registries, consoles and the operator's own. What
    /// belongs to one machine (`worker_id`, `hw_addr`, …) is added to it.
    pub arguments: Arguments,
    /// Hand the NBP to an iPXE that is already running in the machine's ROM, as smee does. Off: such an iPXE gets its
    /// script at once, without TFTP, if it says that it speaks HTTP.
    pub chainload_own_ipxe: bool,
    /// Seconds; for Hardware without `lease_time`. (smee sends 0 there, which no client can live with.)
    pub default_lease_time: u32,
    pub router_advertisements: bool,
}

impl Config {
    /// Defaults around an address: standard ports, one day of lease.
    #[must_use]
    pub fn new(address: Ipv4Addr, files: PathBuf, nbp: PathBuf) -> Self {
        Self {
            address,
            http_port: 7080,
            tftp_port: 69,
            interface: None,
            files,
            nbp,
            kernel: "vmlinuz".to_owned(),
            initrd: "initrd".to_owned(),
            arguments: Arguments::default(),
            chainload_own_ipxe: false,
            default_lease_time: 86_400,
            router_advertisements: false,
        }
    }

    #[must_use]
    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}:{}/{}", self.address, self.http_port, path.trim_start_matches('/'))
    }

    #[must_use]
    pub fn script_url(&self, mac: Mac) -> String {
        self.http_url(&format!("ipxe/script/{mac}/auto.ipxe"))
    }

    #[must_use]
    pub fn tftp_url(&self, mac: Mac, file: &str) -> String {
        match self.tftp_port {
            69 => format!("tftp://{}/{mac}/{file}", self.address),
            port => format!("tftp://{}:{port}/{mac}/{file}", self.address),
        }
    }
}
