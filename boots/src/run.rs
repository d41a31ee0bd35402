//! All protocols together: `Sockets` opens, `run` serves. A test can own both.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Config, Events, MachineSource, dhcp, interface, ra, syslog, tftp};

/// What to listen on; `None` leaves a protocol out.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    pub dhcp: Option<SocketAddrV4>,
    pub tftp: Option<SocketAddr>,
    pub syslog: Option<SocketAddr>,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        Self { dhcp: Some(any(67)), tftp: Some(any(69).into()), syslog: Some(any(machine::syslog::PORT).into()) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot open the {protocol} socket on {address}{}", hint(.source, *.privileged))]
pub struct BindError {
    protocol: &'static str,
    address: String,
    privileged: bool,
    #[source]
    source: io::Error,
}

fn hint(error: &io::Error, privileged: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another server uses the port (another thimble, dnsmasq, tftpd?). `ss -ulnp` shows which one; stop it"
        }
        io::ErrorKind::PermissionDenied if privileged => "; run as root, or with CAP_NET_BIND_SERVICE and CAP_NET_RAW",
        io::ErrorKind::AddrNotAvailable => "; this host does not have that address",
        _ if error.raw_os_error() == Some(nix::libc::ENODEV) => {
            "; this host does not have that network interface: `ip link` lists them"
        }
        _ => "",
    }
}

/// The open sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    pub dhcp: Option<dhcp::Socket>,
    pub tftp: Option<tftp::Socket>,
    pub syslog: Option<UdpSocket>,
    pub router_advertisements: Option<ra::Socket>,
    /// For boots alone; `None` if its router is part of a larger one.
    pub http: Option<TcpListener>,
}

impl Sockets {
    /// Opens all but HTTP.
    pub async fn bind(config: &Config, listen: Listen) -> Result<Self, BindError> {
        let interface = config.interface.as_deref();
        let on = |address: SocketAddr| interface.map_or_else(|| address.to_string(), |name| format!("{address} ({name})"));
        let failed = |protocol, address: SocketAddr| {
            let text = on(address);
            move |source| BindError { protocol, address: text, privileged: address.port() < 1024, source }
        };
        let mut sockets = Self::default();
        if let Some(address) = listen.dhcp {
            sockets.dhcp = Some(dhcp::Socket::bind(address, interface).map_err(failed("DHCP", address.into()))?);
        }
        if let Some(address) = listen.tftp {
            sockets.tftp = Some(tftp::Socket::bind(address, interface).map_err(failed("TFTP", address))?);
        }
        if let Some(address) = listen.syslog {
            sockets.syslog = Some(UdpSocket::bind(address).await.map_err(failed("syslog", address))?);
        }
        if config.router_advertisements {
            let address = interface.map_or_else(|| config.address.to_string(), str::to_owned);
            let failed = |source| BindError { protocol: "router advertisement", address, privileged: true, source };
            sockets.router_advertisements = Some(ra::Socket::bind(interface, config.address).map_err(failed)?);
        }
        Ok(sockets)
    }
}

/// Serves until `shutdown`, and returns when every task has ended.
pub async fn run(
    sockets: Sockets,
    config: Arc<Config>,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    let Sockets { dhcp, tftp, syslog, router_advertisements, http } = sockets;
    if let Some(name) = config.interface.clone() {
        let bound = [dhcp.as_ref().map(dhcp::Socket::shared), tftp.as_ref().map(tftp::Socket::shared)];
        let (followed, stop) = (interface::follow(name, bound.into_iter().flatten().collect()), shutdown.clone());
        tasks.spawn(async move { stop.run_until_cancelled(followed).await.unwrap_or(()) });
    }
    if let Some(socket) = dhcp {
        tasks.spawn(dhcp::serve(socket, Arc::clone(&config), Arc::clone(&source), events.clone(), shutdown.clone()));
    }
    if let Some(socket) = tftp {
        let limits = tftp::Limits::default();
        tasks.spawn(tftp::serve(socket, Arc::clone(&config), Arc::clone(&source), events.clone(), limits, shutdown.clone()));
    }
    if let Some(socket) = syslog {
        tasks.spawn(syslog::serve(socket, Arc::clone(&source), events.clone(), shutdown.clone()));
    }
    if let Some(socket) = router_advertisements {
        tasks.spawn(ra::serve(socket, shutdown.clone()));
    }
    let router = http.is_some().then(|| crate::http::alone(config, source, events));
    match http.zip(router) {
        Some((listener, router)) => crate::http::serve(shutdown.cancelled_owned(), listener, router).await?,
        None => shutdown.cancelled().await,
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}
