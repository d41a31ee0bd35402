//! Settings of boots. The caller has checked them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use cmdline::Arguments;
use model::Mac;

#[derive(Debug, Clone)]
pub struct Config {
    /// The address that machines use to reach this host.
    pub address: Ipv4Addr,
    /// The port of scripts and files, as machines see it.
    pub http_port: u16,
    /// The port of TFTP, as machines see it. Firmware only uses 69; tests and chainloading may use another.
    pub tftp_port: u16,
    /// The network interface to serve; `None` serves all.
    pub interface: Option<String>,
    /// What `/files/` serves.
    pub files: PathBuf,
    /// The folder with OCI image layouts that `/v2/` serves. `None` serves none.
    pub images: Option<PathBuf>,
    /// Where the network boot programs are, such as `/usr/lib/ipxe`.
    pub nbp: PathBuf,
    /// Kernel and ramdisk as paths below `files`.
    pub kernel: String,
    pub initrd: String,
    /// Kernel arguments for every machine: authority, syslog, registries, consoles and the operator's own. The script
    /// adds what belongs to one machine, such as `worker_id` and `hw_addr`.
    pub arguments: Arguments,
    /// The certificate authority of the workflow service, in PEM. Thimble's ramdisk gets it, and then speaks TLS.
    pub server_ca: Option<String>,
    /// Sends the NBP also to an iPXE in the machine's ROM, as smee does. If off, an iPXE that speaks HTTP gets its script at
    /// once, without TFTP.
    pub chainload_own_ipxe: bool,
    /// Seconds, for Hardware without `lease_time`. smee sends 0 in that case, which clients cannot use.
    pub default_lease_time: u32,
    pub router_advertisements: bool,
    /// Networks, as address and length of the prefix, whose unknown machines get the ramdisk.
    pub discovery: Vec<(IpAddr, u8)>,
}

impl Config {
    /// Defaults around an address: standard ports, one day of lease.
    #[must_use]
    pub fn new(address: Ipv4Addr, files: PathBuf, nbp: PathBuf) -> Self {
        Self {
            address,
            http_port: machine::ports::HTTP,
            tftp_port: 69,
            interface: None,
            files,
            images: None,
            nbp,
            kernel: api::names::KERNEL.to_owned(),
            initrd: api::names::RAMDISK.to_owned(),
            arguments: Arguments::default(),
            server_ca: None,
            chainload_own_ipxe: false,
            default_lease_time: 86_400,
            router_advertisements: false,
            discovery: Vec::new(),
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
