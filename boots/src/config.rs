//! Settings of boots. The caller has checked them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cmdline::Arguments;
use model::Mac;
use tokio::sync::watch;

use crate::dhcp::{Modes, advertised};
use crate::dhcp6::{self, Networks};

#[derive(Debug, Clone)]
pub struct Config {
    /// The address that machines use to reach this host.
    pub address: Ipv4Addr,
    /// Whether machines of another network are told the address of this host there. Off if `address` is one before NAT, or if
    /// the services listen at one address only.
    pub address_by_network: bool,
    /// The same by IPv6. `None`: each machine reaches this host at the address of its own network.
    pub address6: Option<Ipv6Addr>,
    /// Where the machine of this request reaches this host, if it came by IPv6.
    pub reached: Option<Ipv6Addr>,
    /// The port of scripts and files, as machines see it.
    pub http_port: u16,
    /// The port of HTTPS, as machines see it. `None` if HTTPS is off.
    pub https_port: Option<u16>,
    /// Whether the URLs of scripts and files name HTTPS; see [`Config::over_https`].
    pub names_https: bool,
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
    /// Further folders with boot programs, such as those of Debian's GRUB and shim.
    pub more_nbp: Vec<PathBuf>,
    /// Boot programs among them that start the disk of a UEFI machine; see [`crate::ipxe::disk_loaders`].
    pub disk_loaders: Vec<&'static str>,
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
    /// The largest block of TFTP, which is never more than fits into a packet of the network.
    pub tftp_block: u16,
    pub router_advertisements: bool,
    /// Networks, as address and length of the prefix, whose unknown machines get the ramdisk.
    pub discovery: Vec<(IpAddr, u8)>,
    /// What DHCP does, by network.
    pub modes: Modes,
    /// What DHCPv6 does, and what router advertisements say, by network.
    pub networks6: Networks,
    /// The folder where the leases of pools are kept. `None` keeps them in memory.
    pub leases: Option<PathBuf>,
    /// The URL of an ISO image that machines get with their own kernel arguments, if their Hardware names none.
    pub iso_source: Option<String>,
    /// What installed machines may ask about themselves. `None` serves none.
    pub metadata: Option<Metadata>,
}

/// Readers of metadata, and how a caller shows which machine it is.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// It makes the secrets of machines, and the tokens of `IMDSv2`.
    pub key: metadata::Key,
    /// Networks of proxies whose `X-Forwarded-For` counts.
    pub proxies: Vec<(IpAddr, u8)>,
    pub proof: Proof,
}

/// What a machine shows besides a secret in the path, which always counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Address,
    /// Its address, and a token of `IMDSv2`.
    Token,
    /// Nothing else counts.
    Secret,
}

impl Config {
    /// Defaults around an address: standard ports, one day of lease.
    #[must_use]
    pub fn new(address: Ipv4Addr, files: PathBuf, nbp: PathBuf) -> Self {
        Self {
            address,
            address_by_network: false,
            address6: None,
            reached: None,
            http_port: machine::ports::HTTP,
            https_port: None,
            names_https: false,
            tftp_port: 69,
            interface: None,
            files,
            images: None,
            nbp,
            more_nbp: Vec::new(),
            disk_loaders: Vec::new(),
            kernel: api::names::KERNEL.to_owned(),
            initrd: api::names::RAMDISK.to_owned(),
            arguments: Arguments::default(),
            server_ca: None,
            chainload_own_ipxe: false,
            default_lease_time: 86_400,
            tftp_block: 1468,
            router_advertisements: false,
            discovery: Vec::new(),
            modes: Modes::default(),
            networks6: Networks::default(),
            leases: None,
            iso_source: None,
            metadata: None,
        }
    }

    /// Whether unknown machines at this address boot the ramdisk.
    #[must_use]
    pub fn discovers(&self, address: IpAddr) -> bool {
        self.discovery.iter().any(|(network, length)| ::machine::network::covers(*network, *length, address))
    }

    /// This host in URLs and before ports, as the machine of this request reaches it.
    #[must_use]
    pub fn host(&self) -> String {
        let six = self.reached.or_else(|| self.address6.filter(|_| self.address.is_unspecified()));
        six.map_or_else(|| self.address.to_string(), |address| format!("[{address}]"))
    }

    /// The address for a machine that asked by IPv6: the one of the settings, the one that a relay used, or that of the link.
    #[must_use]
    pub fn own_address6(&self, of_link: Option<Ipv6Addr>, relayed_to: Option<IpAddr>) -> Option<Ipv6Addr> {
        let relayed = match relayed_to {
            Some(IpAddr::V6(address)) => Some(address).filter(|address| dhcp6::links::is_reachable(*address)),
            _ => None,
        };
        self.address6.or(relayed).or(of_link)
    }

    /// The settings as a machine sees them that reaches this host at `address`: its URLs and kernel arguments have this address
    /// in place of the IPv4 address.
    #[must_use]
    pub fn reached_at(&self, address: Ipv6Addr) -> Self {
        let (own, new) = (self.host(), format!("[{address}]"));
        let moved = |text: &String| match text.strip_prefix(&own).filter(|rest| rest.is_empty() || rest.starts_with(':')) {
            Some(rest) => format!("{new}{rest}"),
            None => text.clone(),
        };
        let mut config = Self { reached: Some(address), ..self.clone() };
        let arguments = &mut config.arguments;
        arguments.grpc_authority = arguments.grpc_authority.as_ref().map(moved);
        arguments.servers = arguments.servers.iter().map(moved).collect();
        if arguments.syslog_host.as_deref().is_some_and(|host| host == own.trim_matches(['[', ']'])) {
            arguments.syslog_host = Some(address.to_string());
        }
        // An image may still be named with the other address.
        let registries =
            arguments.insecure_registries.iter().map(moved).filter(|moved| !self.arguments.insecure_registries.contains(moved));
        let new: Vec<String> = registries.collect();
        arguments.insecure_registries.extend(new);
        config
    }

    #[must_use]
    pub fn http_url(&self, path: &str) -> String {
        let (scheme, port) = match self.https_port.filter(|_| self.names_https) {
            Some(port) => ("https", port),
            None => ("http", self.http_port),
        };
        format!("{scheme}://{}:{port}/{}", self.host(), path.trim_start_matches('/'))
    }

    /// The same settings for a machine that finds this host at another address. Kernel arguments that name this host follow.
    #[must_use]
    pub fn at(&self, address: Ipv4Addr) -> Self {
        let (old, new) = (self.address.to_string(), address.to_string());
        let moved = |text: &str| match text.strip_prefix(old.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => format!("{new}{rest}"),
            _ => text.to_owned(),
        };
        // An image may still be named with the other address.
        let mut insecure_registries = self.arguments.insecure_registries.clone();
        for new in self.arguments.insecure_registries.iter().map(|registry| moved(registry)) {
            if !insecure_registries.contains(&new) {
                insecure_registries.push(new);
            }
        }
        let arguments = Arguments {
            grpc_authority: self.arguments.grpc_authority.as_deref().map(moved),
            servers: self.arguments.servers.iter().map(|server| moved(server)).collect(),
            syslog_host: self.arguments.syslog_host.as_deref().map(moved),
            insecure_registries,
            ..self.arguments.clone()
        };
        Self { address, arguments, ..self.clone() }
    }

    /// The same settings for a client that asks by HTTPS: the URLs in its answer name HTTPS, too.
    #[must_use]
    pub fn over_https(&self) -> Self {
        Self { names_https: true, ..self.clone() }
    }

    #[must_use]
    pub fn script_url(&self, mac: Mac) -> String {
        self.http_url(&format!("ipxe/script/{mac}/{}", crate::ipxe::SCRIPT))
    }

    #[must_use]
    pub fn tftp_url(&self, mac: Mac, file: &str) -> String {
        match self.tftp_port {
            69 => format!("tftp://{}/{mac}/{file}", self.host()),
            port => format!("tftp://{}:{port}/{mac}/{file}", self.host()),
        }
    }
}

/// The settings as they are now. Clones follow the same ones.
#[derive(Debug, Clone)]
pub struct Current(watch::Receiver<Arc<Config>>, Arc<Mutex<Views>>);

/// The settings as machines of other networks see them, made from one version of them.
#[derive(Debug, Default)]
struct Views {
    of: Option<Arc<Config>>,
    made: HashMap<Ipv4Addr, Arc<Config>>,
}

/// More addresses than any host has on its networks.
const MOST_VIEWS: usize = 256;

impl Current {
    /// What is sent replaces the settings. Requests that have begun keep those that they began with.
    #[must_use]
    pub fn of(config: Config) -> (watch::Sender<Arc<Config>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(config));
        (sender, Self(receiver, Arc::default()))
    }

    #[must_use]
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// The settings for a machine that finds this host at this address.
    #[must_use]
    pub fn at(&self, address: Ipv4Addr) -> Arc<Config> {
        let now = self.now();
        if now.address == address {
            return now;
        }
        let mut views = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = views.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &now)) || views.made.len() >= MOST_VIEWS;
        if is_old {
            *views = Views { of: Some(Arc::clone(&now)), made: HashMap::new() };
        }
        Arc::clone(views.made.entry(address).or_insert_with(|| Arc::new(now.at(address))))
    }

    /// The settings for a client that has found this host at `local`.
    #[must_use]
    pub fn seen_by(&self, peer: Option<IpAddr>, local: Option<IpAddr>) -> Arc<Config> {
        let now = self.now();
        if let (Some(IpAddr::V6(_)), Some(IpAddr::V6(local))) = (peer.map(|peer| peer.to_canonical()), local)
            && dhcp6::is_reachable(local)
        {
            return Arc::new(now.reached_at(now.address6.unwrap_or(local)));
        }
        self.at(advertised::for_peer(&now, &now.modes, peer, local))
    }
}

/// Settings that stay as they are.
impl From<Arc<Config>> for Current {
    fn from(config: Arc<Config>) -> Self {
        Self(watch::channel(config).1, Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_this_host_follows_its_address_on_another_network() {
        let mut config = Config::new(Ipv4Addr::new(10, 0, 0, 1), "/".into(), "/".into());
        config
            .arguments
            .extend("grpc_authority=10.0.0.1:42113 syslog_host=10.0.0.1 insecure_registries=10.0.0.1:7080,10.0.0.10:1,r:2");
        let seen = config.at(Ipv4Addr::new(10, 7, 0, 1));
        assert_eq!(seen.arguments.grpc_authority.as_deref(), Some("10.7.0.1:42113"));
        assert_eq!(seen.arguments.syslog_host.as_deref(), Some("10.7.0.1"));
        assert_eq!(seen.arguments.insecure_registries, ["10.0.0.1:7080", "10.0.0.10:1", "r:2", "10.7.0.1:7080"]);
        assert_eq!(seen.http_url("files"), "http://10.7.0.1:7080/files");
        config.arguments.grpc_authority = Some("prov.example:42113".to_owned());
        let seen = config.at(Ipv4Addr::new(10, 7, 0, 1));
        assert_eq!(seen.arguments.grpc_authority.as_deref(), Some("prov.example:42113"), "a server elsewhere");
    }

    #[test]
    fn a_client_by_ipv6_is_told_the_address_that_it_has_found() {
        let mut config = Config::new(Ipv4Addr::new(10, 0, 0, 1), "/".into(), "/".into());
        config.arguments.extend("grpc_authority=10.0.0.1:42113");
        let current = Current::from(Arc::new(config));
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let seen = current.seen_by(address("fd00:77::9"), address("fd00:77::1"));
        assert_eq!(seen.http_url("files"), "http://[fd00:77::1]:7080/files");
        assert_eq!(seen.arguments.grpc_authority.as_deref(), Some("[fd00:77::1]:42113"));
        assert_eq!(
            current.seen_by(address("::ffff:10.0.0.9"), address("10.0.0.1")).http_url("files"),
            "http://10.0.0.1:7080/files"
        );
    }

    #[test]
    fn new_settings_are_new_for_every_network() {
        let (sender, current) = Current::of(Config::new(Ipv4Addr::new(10, 0, 0, 1), "/".into(), "/".into()));
        let other = Ipv4Addr::new(10, 7, 0, 1);
        let before = current.at(other);
        assert!(Arc::ptr_eq(&before, &current.at(other)), "it is made once");
        sender.send_modify(|config| Arc::make_mut(config).kernel = "new".to_owned());
        assert_eq!((current.at(other).kernel.as_str(), current.at(other).address), ("new", other));
    }
}
