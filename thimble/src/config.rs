//! The settings of the daemons: flag, environment, file, default, in that order, checked before any socket opens.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use access::{Names, PlainGrpc};
use anyhow::Context;
use clap::Args;
use machine::ports;
use serde::Deserialize;

use crate::log_format::LogFormat;
use crate::sandbox::Folders;

pub use https::Https;
use lists::{list, networks};
pub use metadata::Metadata;
pub use mistakes::Mistakes;
pub use store::{Etcd, Files as StoreFiles};

mod authorities;
mod dhcp;
mod dhcp6;
mod https;
mod lists;
mod logs;
mod metadata;
mod mistakes;
mod names;
mod store;

/// The settings as a person wrote them. Each one is optional in every place.
#[derive(Args, Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Address of this host on the provisioning network, where machines find it
    #[arg(long, env = "THIMBLE_ADDRESS", value_name = "IP")]
    pub address: Option<Ipv4Addr>,
    /// IPv6 address of this host for machines; without it each machine gets the one of its own network. On a host with IPv6 only,
    /// it stands in place of `address`
    #[arg(long, env = "THIMBLE_ADDRESS6", value_name = "IPV6")]
    pub address6: Option<Ipv6Addr>,
    /// Network interface to answer DHCP on; without it all interfaces
    #[arg(long, env = "THIMBLE_INTERFACE", value_name = "NAME")]
    pub interface: Option<String>,
    /// Folder for data that must survive a restart
    #[arg(long, env = "THIMBLE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// etcd in place of the store's file, so that several servers are one site: members, and a prefix for all keys
    #[arg(long, env = "THIMBLE_STORE", value_name = "etcd://HOST:PORT,.../PREFIX")]
    pub store: Option<String>,
    /// Authority of etcd's members in PEM, with which they are reached by TLS
    #[arg(long, env = "THIMBLE_STORE_CA", value_name = "FILE")]
    #[serde(alias = "store_ca")]
    pub store_ca: Option<PathBuf>,
    /// Certificate of this host for etcd in PEM
    #[arg(long, env = "THIMBLE_STORE_CERTIFICATE", value_name = "FILE")]
    #[serde(alias = "store_certificate")]
    pub store_certificate: Option<PathBuf>,
    /// Its key in PEM; without it the certificate's file has the key, too
    #[arg(long, env = "THIMBLE_STORE_KEY", value_name = "FILE")]
    #[serde(alias = "store_key")]
    pub store_key: Option<PathBuf>,
    /// Key file of the site, the same for all its servers; with it they share one certificate authority and all tokens
    #[arg(long, env = "THIMBLE_SITE_KEY", value_name = "FILE")]
    #[serde(alias = "site_key")]
    pub site_key: Option<PathBuf>,
    /// Folder served at /files/: kernel, ramdisk and operating system images
    #[arg(long, env = "THIMBLE_FILES", value_name = "DIR")]
    pub files: Option<PathBuf>,
    /// Folder with the network boot programs (undionly.kpxe, ipxe.efi, ...)
    #[arg(long, env = "THIMBLE_NBP", value_name = "DIR")]
    pub nbp: Option<PathBuf>,
    /// Name of the kernel below the files folder
    #[arg(long, env = "THIMBLE_KERNEL", value_name = "NAME")]
    pub kernel: Option<String>,
    /// Name of the ramdisk below the files folder; with a packs.json beside it, machines get the driver packs they need
    #[arg(long, env = "THIMBLE_INITRD", value_name = "NAME")]
    pub initrd: Option<String>,
    /// Kernel arguments for every machine, added after those of Thimble
    #[arg(long, env = "THIMBLE_KERNEL_ARGS", value_name = "TEXT", allow_hyphen_values = true)]
    pub kernel_args: Option<String>,
    /// Address at which agents reach the workflow service, or one of each server, comma separated; default is ADDRESS:42113
    #[arg(long, env = "THIMBLE_GRPC_AUTHORITY", value_name = "HOST:PORT[,..]")]
    pub grpc_authority: Option<String>,
    /// Registries and networks whose certificates the agents do not check, comma separated
    #[arg(long, env = "THIMBLE_INSECURE_REGISTRIES", value_name = "LIST")]
    pub insecure_registries: Option<String>,
    /// Listening address of HTTP (files, scripts, images)
    #[arg(long, env = "THIMBLE_HTTP", value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,
    /// Listening address of HTTPS for the same, which needs a certificate
    #[arg(long, env = "THIMBLE_HTTPS", value_name = "IP:PORT")]
    pub https: Option<SocketAddr>,
    /// Certificate for HTTPS in PEM, with those of its issuers; without it HTTPS is off
    #[arg(long, env = "THIMBLE_HTTPS_CERTIFICATE", value_name = "FILE")]
    #[serde(alias = "https_certificate")]
    pub https_certificate: Option<PathBuf>,
    /// Its key in PEM; without it the certificate's file has the key, too
    #[arg(long, env = "THIMBLE_HTTPS_KEY", value_name = "FILE")]
    #[serde(alias = "https_key")]
    pub https_key: Option<PathBuf>,
    /// ISO image that machines get at /iso/MAC/NAME.iso with their own kernel arguments, if no file has the name
    #[arg(long, env = "THIMBLE_ISO_SOURCE", value_name = "URL")]
    #[serde(alias = "iso_source")]
    pub iso_source: Option<String>,
    /// Listening addresses of metadata beside the port of HTTP, comma separated; none serves no metadata at all
    #[arg(long, env = "THIMBLE_METADATA", value_name = "IP:PORT,...|none")]
    pub metadata: Option<String>,
    /// How an installed machine shows which one it is: address, token (IMDSv2), or secret (in the path, which always counts)
    #[arg(long, env = "THIMBLE_METADATA_PROOF", value_name = "address|token|secret")]
    #[serde(alias = "metadata_proof")]
    pub metadata_proof: Option<String>,
    /// Networks of proxies whose X-Forwarded-For says which machine asks for metadata, comma separated CIDRs
    #[arg(long, env = "THIMBLE_TRUSTED_PROXIES", value_name = "CIDRS")]
    #[serde(alias = "trusted_proxies")]
    pub trusted_proxies: Option<String>,
    /// Listening address of the workflow service
    #[arg(long, env = "THIMBLE_GRPC", value_name = "IP:PORT")]
    pub grpc: Option<SocketAddr>,
    /// Listening address of the API by TLS, for `kubectl` and other hosts
    #[arg(long, env = "THIMBLE_API", value_name = "IP:PORT")]
    pub api: Option<SocketAddr>,
    /// Unix socket of the API, for root on this host
    #[arg(long, env = "THIMBLE_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Further names and addresses at which clients reach this host, comma separated; its certificate covers them, too
    #[arg(long, env = "THIMBLE_TLS_NAME", value_name = "LIST")]
    pub tls_name: Option<String>,
    /// Which agents may call without TLS: known (networks of known Hardware), none, or comma separated CIDRs
    #[arg(long, env = "THIMBLE_PLAIN_GRPC", value_name = "known|none|CIDRS")]
    #[serde(alias = "plain_grpc")]
    pub plain_grpc: Option<String>,
    /// Networks besides loopback that may read /metrics on the HTTP port, comma separated CIDRs; for the API use a token
    #[arg(long, env = "THIMBLE_API_ALLOW", value_name = "CIDRS")]
    pub api_allow: Option<String>,
    /// Send router advertisements, so that iPXE does not wait for IPv6
    #[arg(long, env = "THIMBLE_ROUTER_ADVERTISEMENTS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub router_advertisements: Option<bool>,
    /// The largest block of TFTP, 512 to 1468 bytes; less for firmware or tunnels that lose large packets
    #[arg(long, env = "THIMBLE_TFTP_BLOCK", value_name = "BYTES")]
    #[serde(alias = "tftp_block")]
    pub tftp_block: Option<u16>,
    /// What to do with a machine's first order: install, or hold until it is approved
    #[arg(long, env = "THIMBLE_NEW_MACHINES", value_name = "install|hold")]
    #[serde(alias = "new_machines")]
    pub new_machines: Option<String>,
    /// Networks whose unknown machines boot the ramdisk and wait for approval as Hardware, comma separated CIDRs
    #[arg(long, env = "THIMBLE_DISCOVERY", value_name = "CIDRS")]
    pub discovery: Option<String>,
    /// What DHCP does: reservation, proxy, auto-proxy or off; the list `dhcp` of the settings file has it by network, with pools
    #[arg(long, env = "THIMBLE_DHCP_MODE", value_name = "MODE")]
    #[serde(alias = "dhcp_mode")]
    pub dhcp_mode: Option<String>,
    #[arg(skip)]
    pub dhcp: Vec<dhcp::Entry>,
    /// What DHCPv6 does on networks that the list `dhcp6` of the settings file does not have: reservation or off
    #[arg(long, env = "THIMBLE_DHCP6_MODE", value_name = "MODE")]
    #[serde(alias = "dhcp6_mode")]
    pub dhcp6_mode: Option<String>,
    #[arg(skip)]
    pub dhcp6: Vec<dhcp6::Entry>,
    /// The most that the logs of machines and workflows take below the data folder, such as 500MiB or 1GiB
    #[arg(long, env = "THIMBLE_LOG_SIZE", value_name = "SIZE")]
    #[serde(alias = "log_size")]
    pub log_size: Option<String>,
    /// How many days they are kept
    #[arg(long, env = "THIMBLE_LOG_DAYS", value_name = "DAYS")]
    #[serde(alias = "log_days")]
    pub log_days: Option<u32>,
    /// How log lines look: text, or json with one object a line
    #[arg(long, env = "THIMBLE_LOG_FORMAT", value_name = "text|json")]
    #[serde(alias = "log_format")]
    pub log_format: Option<String>,
    /// YAML files with Hardware, Template and Workflow objects to apply at start
    #[arg(long, value_name = "FILE")]
    pub apply: Vec<PathBuf>,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Unspecified on a host with IPv6 only.
    pub address: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
    pub interface: Option<String>,
    pub data: PathBuf,
    /// `None` if the store is a file of the data folder.
    pub etcd: Option<Etcd>,
    pub site_key: Option<PathBuf>,
    pub files: PathBuf,
    /// What `/v2/` serves.
    pub images: PathBuf,
    pub nbp: PathBuf,
    pub kernel: String,
    pub initrd: String,
    pub kernel_args: String,
    pub grpc_authority: String,
    /// The workflow services of the site's other servers.
    pub servers: Vec<String>,
    pub insecure_registries: Vec<String>,
    pub http: SocketAddr,
    /// `None` without a certificate.
    pub https: Option<Https>,
    pub iso_source: Option<String>,
    /// `None` if metadata is switched off.
    pub metadata: Option<Metadata>,
    pub grpc: SocketAddr,
    pub api: SocketAddr,
    pub socket: PathBuf,
    /// What the server's certificate is for.
    pub names: Names,
    pub plain_grpc: PlainGrpc,
    pub api_allow: Vec<server::Network>,
    pub router_advertisements: bool,
    pub tftp_block: u16,
    pub hold_new_machines: bool,
    pub discovery: Vec<server::Network>,
    pub dhcp: boots::dhcp::Modes,
    pub dhcp6: boots::dhcp6::Networks,
    pub logs: server::LogLimits,
    pub log_format: LogFormat,
    pub apply: Vec<PathBuf>,
}

impl Settings {
    /// Reads a settings file; an unknown key is refused with its line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the settings file {}", path.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not a settings file", path.display()))
    }

    /// These settings, and those of `other` for the rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            address6: self.address6.or(other.address6),
            interface: self.interface.or(other.interface),
            data: self.data.or(other.data),
            store: self.store.or(other.store),
            store_ca: self.store_ca.or(other.store_ca),
            store_certificate: self.store_certificate.or(other.store_certificate),
            store_key: self.store_key.or(other.store_key),
            site_key: self.site_key.or(other.site_key),
            files: self.files.or(other.files),
            nbp: self.nbp.or(other.nbp),
            kernel: self.kernel.or(other.kernel),
            initrd: self.initrd.or(other.initrd),
            kernel_args: self.kernel_args.or(other.kernel_args),
            grpc_authority: self.grpc_authority.or(other.grpc_authority),
            insecure_registries: self.insecure_registries.or(other.insecure_registries),
            http: self.http.or(other.http),
            https: self.https.or(other.https),
            https_certificate: self.https_certificate.or(other.https_certificate),
            https_key: self.https_key.or(other.https_key),
            iso_source: self.iso_source.or(other.iso_source),
            metadata: self.metadata.or(other.metadata),
            metadata_proof: self.metadata_proof.or(other.metadata_proof),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            grpc: self.grpc.or(other.grpc),
            api: self.api.or(other.api),
            socket: self.socket.or(other.socket),
            tls_name: self.tls_name.or(other.tls_name),
            plain_grpc: self.plain_grpc.or(other.plain_grpc),
            api_allow: self.api_allow.or(other.api_allow),
            router_advertisements: self.router_advertisements.or(other.router_advertisements),
            tftp_block: self.tftp_block.or(other.tftp_block),
            new_machines: self.new_machines.or(other.new_machines),
            discovery: self.discovery.or(other.discovery),
            dhcp_mode: self.dhcp_mode.or(other.dhcp_mode),
            dhcp: if self.dhcp.is_empty() { other.dhcp } else { self.dhcp },
            dhcp6_mode: self.dhcp6_mode.or(other.dhcp6_mode),
            dhcp6: if self.dhcp6.is_empty() { other.dhcp6 } else { self.dhcp6 },
            log_size: self.log_size.or(other.log_size),
            log_days: self.log_days.or(other.log_days),
            log_format: self.log_format.or(other.log_format),
            apply: if self.apply.is_empty() { other.apply } else { self.apply },
        }
    }

    /// The settings for a server alone. It needs no address for machines, and leaves the usual HTTP port to boots.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check_server(self) -> Result<Config, Mistakes> {
        let http = self.http.or_else(|| Some(any_address(ports::HTTP + 1)));
        Self { address: self.address.or(Some(Ipv4Addr::LOCALHOST)), http, ..self }.check()
    }

    /// Fills in the defaults and checks what can be checked without opening anything.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check(self) -> Result<Config, Mistakes> {
        let mut mistakes = Vec::new();
        let address = self.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        check_addresses(self.address, self.address6, &mut mistakes);
        let data = self.data.unwrap_or_else(|| PathBuf::from("/var/lib/thimble"));
        let http = self.http.unwrap_or_else(|| any_address(ports::HTTP));
        let grpc = self.grpc.unwrap_or_else(|| any_address(ports::GRPC));
        let host = match self.address6 {
            Some(address6) if self.address.is_none() => format!("[{address6}]"),
            _ => address.to_string(),
        };
        let grpc_authority = self.grpc_authority.unwrap_or_else(|| format!("{host}:{}", grpc.port()));
        let (grpc_authority, servers) = authorities::check(&grpc_authority, &mut mistakes);
        let hold_new_machines = match self.new_machines.as_deref() {
            None | Some("install") => false,
            Some("hold") => true,
            Some(other) => {
                mistakes.push(format!("new-machines: {other:?} is neither install nor hold"));
                false
            }
        };
        let log_format = self.log_format.as_deref().unwrap_or("text").parse().unwrap_or_else(|error| {
            mistakes.push(format!("log-format: {error}"));
            LogFormat::Text
        });
        let api_allow = networks("api-allow", self.api_allow.as_deref(), &mut mistakes);
        let discovery = networks("discovery", self.discovery.as_deref(), &mut mistakes);
        let around = dhcp::Around { address, interface: self.interface.as_deref(), discovers: !discovery.is_empty() };
        // Without an IPv4 address there is none to answer with.
        let mode = self.dhcp_mode.as_deref().or(self.address.is_none().then_some("off"));
        let dhcp = dhcp::check(mode, &self.dhcp, &around, &mut mistakes);
        if self.address.is_none() && self.address6.is_some() && dhcp::wants_address(&dhcp) {
            let remedy = "set it, or switch these modes off";
            mistakes.push(format!("address: not set, and DHCPv4 answers with it (dhcp-mode, dhcp); {remedy}"));
        }
        let dhcp6 = dhcp6::check(self.dhcp6_mode.as_deref(), &self.dhcp6, &mut mistakes);
        let names = names::of(
            address,
            names::addresses6(self.address6),
            std::iter::once(&grpc_authority).chain(&servers),
            self.tls_name.as_deref(),
            &mut mistakes,
        );
        let plain_grpc = self.plain_grpc.as_deref().unwrap_or("known").parse().unwrap_or_else(|error| {
            mistakes.push(format!("plain-grpc: {error}; known and none are the other choices"));
            PlainGrpc::None
        });
        if let Some(url) = self.iso_source.as_ref().filter(|url| !metadata::is_web(url)) {
            mistakes.push(format!("iso-source: {url:?} is not a URL of http or https"));
        }
        let https = https::checked(self.https, self.https_certificate, self.https_key, &mut mistakes);
        let proxies = networks("trusted-proxies", self.trusted_proxies.as_deref(), &mut mistakes);
        let metadata = metadata::checked(self.metadata.as_deref(), self.metadata_proof.as_deref(), proxies, &mut mistakes);
        let given =
            store::Given { store: self.store, ca: self.store_ca, certificate: self.store_certificate, key: self.store_key };
        let etcd = store::checked(given, &mut mistakes);
        if self.site_key.is_some() && etcd.is_none() {
            mistakes.push("site-key: it is for servers that share etcd, which the setting store names".to_owned());
        }
        let logs = logs::limits(self.log_size.as_deref(), self.log_days, &mut mistakes);
        let tftp_block = self.tftp_block.unwrap_or(1468);
        if !(512..=1468).contains(&tftp_block) {
            mistakes.push(format!("tftp-block: {tftp_block} is not a size from 512 to 1468 bytes"));
        }
        let files = self.files.unwrap_or_else(|| data.join("files"));
        if files.exists() && !files.is_dir() {
            mistakes.push(format!("files: {} is not a folder", files.display()));
        }
        let config = Config {
            address,
            address6: self.address6,
            interface: self.interface,
            files,
            images: data.join("images"),
            data,
            etcd,
            site_key: self.site_key,
            nbp: self.nbp.unwrap_or_else(|| PathBuf::from("/usr/lib/ipxe")),
            kernel: self.kernel.unwrap_or_else(|| api::names::KERNEL.to_owned()),
            initrd: self.initrd.unwrap_or_else(|| api::names::RAMDISK.to_owned()),
            kernel_args: self.kernel_args.unwrap_or_default(),
            grpc_authority,
            servers,
            insecure_registries: list(self.insecure_registries.as_deref()),
            http,
            https,
            iso_source: self.iso_source,
            metadata,
            grpc,
            api: self.api.unwrap_or_else(|| any_address(ports::API)),
            socket: self.socket.unwrap_or_else(|| PathBuf::from(machine::files::SERVER_SOCKET)),
            names,
            plain_grpc,
            api_allow,
            router_advertisements: self.router_advertisements.unwrap_or(false),
            tftp_block,
            hold_new_machines,
            discovery,
            dhcp,
            dhcp6,
            logs,
            log_format,
            apply: self.apply,
        };
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }
}

impl Config {
    /// This host in URLs and before ports.
    #[must_use]
    pub fn host(&self) -> String {
        match self.address6 {
            Some(address) if self.address.is_unspecified() => format!("[{address}]"),
            _ => self.address.to_string(),
        }
    }

    /// What a daemon reads and writes.
    #[must_use]
    pub fn folders(&self) -> Folders {
        let mut read = vec![self.files.clone(), self.images.clone(), self.nbp.clone()];
        read.extend(self.apply.iter().cloned());
        read.extend(self.https.iter().flat_map(|https| [https.files.certificate.clone(), https.files.key.clone()]));
        read.extend(self.etcd.iter().flat_map(Etcd::files).chain(self.site_key.clone()));
        Folders { read, write: vec![self.data.clone()] }
    }

    /// Whether machines reach files and workflow service at each address of this host.
    #[must_use]
    pub fn listens_everywhere(&self) -> bool {
        let https = self.https.as_ref().is_none_or(|https| https.listen.ip().is_unspecified());
        https && self.http.ip().is_unspecified() && self.grpc.ip().is_unspecified()
    }

    /// The networks of the setting `discovery`, and those of the mode `auto-proxy`.
    #[must_use]
    pub fn discovered(&self) -> Vec<server::Network> {
        let proxied = dhcp::discovered(&self.dhcp).filter_map(|subnet| subnet.to_string().parse().ok());
        self.discovery.iter().cloned().chain(proxied).collect()
    }
}

fn check_addresses(address: Option<Ipv4Addr>, address6: Option<Ipv6Addr>, mistakes: &mut Vec<String>) {
    if address.is_none() && address6.is_none() {
        mistakes.push("address: not set; give the address of this host on the provisioning network (--address IP)".to_owned());
    }
    if let Some(address6) = address6.filter(|address| !boots::dhcp6::is_reachable(*address)) {
        mistakes.push(format!("address6: {address6} is not an address that machines can reach by a URL"));
    }
    if let Some(address) = address.filter(|ip| ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()) {
        mistakes.push(format!("address: {address} is not the address of a host"));
    }
}

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)) // and all of IPv4
}

#[cfg(test)]
mod tests;
