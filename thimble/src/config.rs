//! The settings of the daemons: flag, environment, file, default, in that order, checked before any socket opens.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use access::{Names, PlainGrpc};
use anyhow::Context;
use clap::Args;
use machine::ports;
use serde::Deserialize;

use crate::log_format::LogFormat;

/// The settings as a person wrote them. Each one is optional in every place.
#[derive(Args, Deserialize, Debug, Default, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Address of this host on the provisioning network, where machines find it
    #[arg(long, env = "THIMBLE_ADDRESS", value_name = "IP")]
    pub address: Option<Ipv4Addr>,
    /// Network interface to answer DHCP on; without it all interfaces
    #[arg(long, env = "THIMBLE_INTERFACE", value_name = "NAME")]
    pub interface: Option<String>,
    /// Folder for data that must survive a restart
    #[arg(long, env = "THIMBLE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
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
    /// Address at which agents reach the workflow service; default is ADDRESS:42113
    #[arg(long, env = "THIMBLE_GRPC_AUTHORITY", value_name = "HOST:PORT")]
    pub grpc_authority: Option<String>,
    /// Registries and networks whose certificates the agents do not check, comma separated
    #[arg(long, env = "THIMBLE_INSECURE_REGISTRIES", value_name = "LIST")]
    pub insecure_registries: Option<String>,
    /// Listening address of HTTP (files, scripts, images)
    #[arg(long, env = "THIMBLE_HTTP", value_name = "IP:PORT")]
    pub http: Option<SocketAddr>,
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
    /// What to do with a machine's first order: install, or hold until it is approved
    #[arg(long, env = "THIMBLE_NEW_MACHINES", value_name = "install|hold")]
    #[serde(alias = "new_machines")]
    pub new_machines: Option<String>,
    /// Networks whose unknown machines boot the ramdisk and wait for approval as Hardware, comma separated CIDRs
    #[arg(long, env = "THIMBLE_DISCOVERY", value_name = "CIDRS")]
    pub discovery: Option<String>,
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
    pub address: Ipv4Addr,
    pub interface: Option<String>,
    pub data: PathBuf,
    pub files: PathBuf,
    /// What `/v2/` serves.
    pub images: PathBuf,
    pub nbp: PathBuf,
    pub kernel: String,
    pub initrd: String,
    pub kernel_args: String,
    pub grpc_authority: String,
    pub insecure_registries: Vec<String>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub api: SocketAddr,
    pub socket: PathBuf,
    /// What the server's certificate is for.
    pub names: Names,
    pub plain_grpc: PlainGrpc,
    pub api_allow: Vec<server::Network>,
    pub router_advertisements: bool,
    pub hold_new_machines: bool,
    pub discovery: Vec<server::Network>,
    pub logs: server::LogLimits,
    pub log_format: LogFormat,
    pub apply: Vec<PathBuf>,
}

/// Less would hold only a few lines of each machine.
const LEAST_LOGS: u64 = 16 << 20;

/// All mistakes in the settings. Each one names its setting.
#[derive(Debug)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the settings cannot be used:")?;
        self.0.iter().try_for_each(|mistake| write!(out, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

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
            interface: self.interface.or(other.interface),
            data: self.data.or(other.data),
            files: self.files.or(other.files),
            nbp: self.nbp.or(other.nbp),
            kernel: self.kernel.or(other.kernel),
            initrd: self.initrd.or(other.initrd),
            kernel_args: self.kernel_args.or(other.kernel_args),
            grpc_authority: self.grpc_authority.or(other.grpc_authority),
            insecure_registries: self.insecure_registries.or(other.insecure_registries),
            http: self.http.or(other.http),
            grpc: self.grpc.or(other.grpc),
            api: self.api.or(other.api),
            socket: self.socket.or(other.socket),
            tls_name: self.tls_name.or(other.tls_name),
            plain_grpc: self.plain_grpc.or(other.plain_grpc),
            api_allow: self.api_allow.or(other.api_allow),
            router_advertisements: self.router_advertisements.or(other.router_advertisements),
            new_machines: self.new_machines.or(other.new_machines),
            discovery: self.discovery.or(other.discovery),
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
        let address = self.address.unwrap_or_else(|| {
            mistakes
                .push("address: not set; give the address of this host on the provisioning network (--address IP)".to_owned());
            Ipv4Addr::UNSPECIFIED
        });
        if self.address.is_some_and(|ip| ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()) {
            mistakes.push(format!("address: {address} is not the address of a host"));
        }
        let data = self.data.unwrap_or_else(|| PathBuf::from("/var/lib/thimble"));
        let http = self.http.unwrap_or_else(|| any_address(ports::HTTP));
        let grpc = self.grpc.unwrap_or_else(|| any_address(ports::GRPC));
        let grpc_authority = self.grpc_authority.unwrap_or_else(|| format!("{address}:{}", grpc.port()));
        if !grpc_authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            mistakes.push(format!("grpc-authority: {grpc_authority:?} is not HOST:PORT"));
        }
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
        let names = names(address, &grpc_authority, self.tls_name.as_deref(), &mut mistakes);
        let plain_grpc = self.plain_grpc.as_deref().unwrap_or("known").parse().unwrap_or_else(|error| {
            mistakes.push(format!("plain-grpc: {error}; known and none are the other choices"));
            PlainGrpc::None
        });
        let logs = log_limits(self.log_size.as_deref(), self.log_days, &mut mistakes);
        let files = self.files.unwrap_or_else(|| data.join("files"));
        if files.exists() && !files.is_dir() {
            mistakes.push(format!("files: {} is not a folder", files.display()));
        }
        let config = Config {
            address,
            interface: self.interface,
            files,
            images: data.join("images"),
            data,
            nbp: self.nbp.unwrap_or_else(|| PathBuf::from("/usr/lib/ipxe")),
            kernel: self.kernel.unwrap_or_else(|| api::names::KERNEL.to_owned()),
            initrd: self.initrd.unwrap_or_else(|| api::names::RAMDISK.to_owned()),
            kernel_args: self.kernel_args.unwrap_or_default(),
            grpc_authority,
            insecure_registries: list(self.insecure_registries.as_deref()),
            http,
            grpc,
            api: self.api.unwrap_or_else(|| any_address(ports::API)),
            socket: self.socket.unwrap_or_else(|| PathBuf::from(machine::files::SERVER_SOCKET)),
            names,
            plain_grpc,
            api_allow,
            router_advertisements: self.router_advertisements.unwrap_or(false),
            hold_new_machines,
            discovery,
            logs,
            log_format,
            apply: self.apply,
        };
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }
}

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Where machines and clients look for this host, its own name, and what the operator adds.
fn names(address: Ipv4Addr, authority: &str, more: Option<&str>, mistakes: &mut Vec<String>) -> Names {
    let mut names = Names::local();
    let grpc = authority.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    // A host's name can be one that no certificate may have.
    for own in [Some(address.to_string()), grpc, host].into_iter().flatten() {
        let _ = names.add(&own);
    }
    for text in list(more) {
        if let Err(error) = names.add(&text) {
            mistakes.push(format!("tls-name: {error}"));
        }
    }
    names
}

fn log_limits(size: Option<&str>, days: Option<u32>, mistakes: &mut Vec<String>) -> server::LogLimits {
    let total = size.map_or(Some(1 << 30), bytes).filter(|total| *total >= LEAST_LOGS).unwrap_or_else(|| {
        let size = size.unwrap_or_default();
        mistakes.push(format!("log-size: {size:?} is not a size of at least 16MiB, such as 500MiB or 1GiB"));
        LEAST_LOGS
    });
    let days = days.unwrap_or(30);
    if days == 0 {
        mistakes.push("log-days: the logs are kept for at least 1 day".to_owned());
    }
    server::LogLimits::of(total, Duration::from_secs(u64::from(days) * 86_400))
}

/// A number with MiB, GiB or TiB.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = [("MiB", 20), ("GiB", 30), ("TiB", 40)]
        .into_iter()
        .find_map(|(unit, shift)| Some((text.trim().strip_suffix(unit)?, shift)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn networks(setting: &str, text: Option<&str>, mistakes: &mut Vec<String>) -> Vec<server::Network> {
    let mut found = Vec::new();
    for text in list(text) {
        match text.parse() {
            Ok(network) => found.push(network),
            Err(error) => mistakes.push(format!("{setting}: {error}")),
        }
    }
    found
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn all_mistakes_are_shown_at_once_and_each_names_its_setting() {
        let settings = Settings {
            api_allow: Some("10.0.0.0/8, nonsense".to_owned()),
            discovery: Some("10.0.0.0/8, 10.0.0.1".to_owned()),
            tls_name: Some("prov.example, https://prov".to_owned()),
            plain_grpc: Some("everyone".to_owned()),
            log_format: Some("xml".to_owned()),
            grpc_authority: Some("no-port".to_owned()),
            log_size: Some("1GB".to_owned()),
            log_days: Some(0),
            ..Settings::default()
        };
        let text = settings.check().unwrap_err().to_string();
        for name in [
            "address:",
            "api-allow: \"nonsense\"",
            "discovery: \"10.0.0.1\"",
            "tls-name: \"https://prov\"",
            "plain-grpc: \"everyone\"",
            "log-format: \"xml\"",
            "grpc-authority:",
            "log-size: \"1GB\"",
            "log-days:",
        ] {
            assert!(text.contains(name), "{name} is missing in: {text}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_default() {
        let flags = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 1)), ..Settings::default() };
        let file = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 2)), kernel: Some("k".to_owned()), ..Settings::default() };
        let config = flags.or(file).check().unwrap();
        assert_eq!(
            (config.address, config.kernel.as_str(), config.initrd.as_str(), config.grpc_authority.as_str()),
            (Ipv4Addr::new(10, 0, 0, 1), "k", "initramfs.cpio.zst", "10.0.0.1:42113")
        );
    }

    #[test]
    fn the_certificate_is_for_every_name_that_leads_here() {
        let settings = Settings {
            address: Some(Ipv4Addr::new(10, 0, 0, 1)),
            grpc_authority: Some("grpc.example:42113".to_owned()),
            tls_name: Some("prov.example, fd00::1".to_owned()),
            ..Settings::default()
        };
        let names = settings.check().unwrap().names.texts();
        for name in ["10.0.0.1", "grpc.example", "prov.example", "fd00::1", "localhost", "127.0.0.1", "::1"] {
            assert!(names.iter().any(|one| one == name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn an_unknown_key_in_the_settings_file_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thimble.yaml");
        std::fs::write(&path, "address: 10.0.0.1\nadress: 10.0.0.2\n").unwrap();
        let text = format!("{:#}", Settings::read(&path).unwrap_err());
        assert!(text.contains("adress") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn the_size_of_the_logs_has_a_unit() {
        for (text, expected) in [
            (None, Some(1 << 30)),
            (Some("500MiB"), Some(500 << 20)),
            (Some("2 GiB"), Some(2 << 30)),
            (Some("16MiB"), Some(16 << 20)),
            (Some("15MiB"), None),
            (Some("1000000000"), None),
            (Some("99999999999TiB"), None),
            (Some("-1GiB"), None),
        ] {
            let mut mistakes = Vec::new();
            let limits = log_limits(text, None, &mut mistakes);
            assert_eq!(mistakes.is_empty().then_some(limits.total), expected, "{text:?}");
        }
    }

    #[test]
    fn the_server_alone_needs_no_address() {
        assert_eq!(Settings::default().check_server().unwrap().http.port(), 7081);
    }
}
