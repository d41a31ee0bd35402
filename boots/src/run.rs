//! All protocols together: `Sockets` opens, `run` serves. A test can own both.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apart;
use crate::config::Current;
use crate::http::Certificate;
use crate::machine::{Addresses, with_addresses};
use crate::neighbours::Neighbours;
use crate::{Config, Events, MachineSource, dhcp, dhcp6, foreign, interface, ra, syslog, tftp};

/// What to listen on; `None` leaves a protocol out.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    pub dhcp: Option<SocketAddrV4>,
    /// Where machines ask a proxy. It is opened only if a network has one, because another server may need the port.
    pub pxe: Option<SocketAddrV4>,
    pub tftp: Option<SocketAddr>,
    pub syslog: Option<SocketAddr>,
    pub dhcp6: Option<SocketAddrV6>,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let pxe = Some(any(::dhcp::v4::PXE_PORT));
        let dhcp6 = Some(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, ::dhcp::v6::SERVER_PORT, 0, 0));
        Self { dhcp: Some(any(67)), pxe, tftp: Some(any(69).into()), syslog: Some(any(machine::syslog::PORT).into()), dhcp6 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot open the {protocol} socket on {address}{}", hint(.source, *.privileged))]
    Socket {
        protocol: &'static str,
        address: String,
        privileged: bool,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Leases(#[from] dhcp::JournalError),
    #[error(transparent)]
    Duid(#[from] dhcp6::DuidError),
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
    pub pxe: Option<dhcp::Socket>,
    /// The leases of pools. `None` if no network has one.
    pub pools: Option<Arc<dhcp::Pools>>,
    pub tftp: Option<tftp::Socket>,
    pub syslog: Option<UdpSocket>,
    /// The same port by TCP.
    pub syslog_stream: Option<TcpListener>,
    pub router_advertisements: Option<ra::Socket>,
    /// The addresses of another server's clients.
    pub heard: Arc<dhcp::Heard>,
    /// The hosts of the link, for addresses that nothing else explains.
    pub neighbours: Arc<Neighbours>,
    /// DHCPv6 with the identifier of this server.
    pub dhcp6: Option<(dhcp6::Socket, Vec<u8>)>,
    /// The same ports by IPv6.
    pub six: Six,
    /// Networks whose addresses may say which machine has them.
    pub networks6: dhcp6::Networks,
    /// For boots alone; `None` if its router is part of a larger one.
    pub http: Option<TcpListener>,
    /// The same by TLS.
    pub https: Option<(TcpListener, Arc<Certificate>)>,
    /// For metadata alone, beside the port of HTTP.
    pub metadata: Vec<TcpListener>,
    /// Hears other DHCP servers.
    pub foreign: Option<foreign::Socket>,
}

/// TFTP and syslog by IPv6. What is not open is not served: the host may not have IPv6.
#[derive(Debug, Default)]
pub struct Six {
    pub tftp: Option<tftp::Socket>,
    pub syslog: Option<UdpSocket>,
    pub syslog_stream: Option<TcpListener>,
}

impl Six {
    /// For what listens on all IPv4 addresses of this host.
    fn bind(listen: &Listen, interface: Option<&str>) -> Self {
        let same = |address: Option<SocketAddr>| {
            let address = address.filter(|address| address.ip() == Ipv4Addr::UNSPECIFIED && address.port() != 0)?;
            Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())))
        };
        let note = |error: &io::Error| log::info!("TFTP and syslog are not served by IPv6: {}", ::machine::Chain(error));
        let tftp = same(listen.tftp).and_then(|address| tftp::Socket::bind(address, interface).inspect_err(note).ok());
        let syslog = same(listen.syslog).filter(|_| tftp.is_some() || listen.tftp.is_none());
        Self {
            tftp,
            syslog: syslog.and_then(|address| datagram_of_ipv6(address).inspect_err(note).ok()),
            syslog_stream: syslog.and_then(|address| stream_of_ipv6(address).inspect_err(note).ok()),
        }
    }
}

fn datagram_of_ipv6(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
    socket.set_only_v6(true)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

fn stream_of_ipv6(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

impl Sockets {
    /// Opens all but HTTP and metadata.
    pub async fn bind(config: &Config, listen: Listen) -> Result<Self, BindError> {
        let interface = config.interface.as_deref();
        let on = |address: SocketAddr| interface.map_or_else(|| address.to_string(), |name| format!("{address} ({name})"));
        let failed = |protocol, address: SocketAddr| {
            let text = on(address);
            move |source| BindError::Socket { protocol, address: text, privileged: address.port() < 1024, source }
        };
        let mut sockets = Self { networks6: config.networks6.clone(), ..Self::default() };
        if let Some(address) = listen.dhcp.filter(|_| config.modes.all().any(|mode| *mode != dhcp::Mode::Off)) {
            let socket = dhcp::Socket::bind(address, interface).map_err(failed("DHCP", address.into()))?;
            sockets.dhcp = Some(socket.with_unicast());
        }
        if config.modes.pools().next().is_some() {
            sockets.pools = Some(Arc::new(dhcp::Pools::open(config.leases.as_deref(), &config.modes)?));
        }
        // Tests answer on other ports, where no other server is.
        if listen.dhcp.is_some_and(|address| address.port() == ::dhcp::v4::SERVER_PORT) {
            let opened = foreign::Socket::open();
            let note = |error: &io::Error| {
                log::info!(
                    "the answers of other DHCP servers are not heard, which needs CAP_NET_RAW and, in a unit of systemd, AF_PACKET in \
                     RestrictAddressFamilies: {}",
                    ::machine::Chain(error)
                );
            };
            sockets.foreign = opened.inspect_err(note).ok();
        }
        if let Some(address) = listen.pxe.filter(|_| config.modes.all().any(dhcp::Mode::is_proxy)) {
            sockets.pxe = Some(dhcp::Socket::bind(address, interface).map_err(failed("PXE", address.into()))?);
        }
        if let Some(address) = listen.tftp {
            sockets.tftp = Some(tftp::Socket::bind(address, interface).map_err(failed("TFTP", address))?);
        }
        if let Some(address) = listen.syslog {
            sockets.syslog = Some(UdpSocket::bind(address).await.map_err(failed("syslog", address))?);
            sockets.syslog_stream = stream(address).await;
        }
        if config.router_advertisements || config.networks6.listed.iter().any(|network| network.advertised.is_some()) {
            let address = interface.map_or_else(|| config.address.to_string(), str::to_owned);
            let failed = |source| BindError::Socket { protocol: "router advertisement", address, privileged: true, source };
            sockets.router_advertisements = Some(ra::Socket::bind(config).map_err(failed)?);
        }
        if let Some(address) = listen.dhcp6.filter(|_| !config.networks6.is_off()) {
            let socket = dhcp6::Socket::bind(address, interface).map_err(failed("DHCPv6", address.into()));
            let opened = socket.and_then(|socket| Ok((socket, dhcp6::open_duid(config.leases.as_deref())?)));
            match opened {
                Err(error) if config.networks6.listed.is_empty() => {
                    log::info!("DHCPv6 is not served, and no setting wants it: {}", ::machine::Chain(&error));
                }
                opened => sockets.dhcp6 = Some(opened?),
            }
        }
        sockets.six = Six::bind(&listen, interface);
        Ok(sockets)
    }

    /// The same source, which also finds machines by the addresses that pools or another DHCP server gave them.
    #[must_use]
    pub fn with_leases(&self, source: Arc<dyn MachineSource>) -> Arc<dyn MachineSource> {
        let pools = self.pools.clone().map(|pools| pools as Arc<dyn Addresses>);
        let made: Arc<dyn Addresses> = Arc::new(self.networks6.clone());
        let heard: Arc<dyn Addresses> = Arc::clone(&self.heard) as _;
        let near: Arc<dyn Addresses> = Arc::clone(&self.neighbours) as _;
        with_addresses(source, std::iter::once(made).chain(pools).chain([heard, near]).collect())
    }

    /// Those that are bound to an interface.
    fn bound(&self) -> Vec<interface::Watched> {
        let dhcp = [&self.dhcp, &self.pxe].map(|socket| socket.as_ref().map(dhcp::Socket::shared));
        let tftp = [&self.tftp, &self.six.tftp].map(|socket| socket.as_ref().map(|socket| socket.shared() as interface::Watched));
        let dhcp6 = self.dhcp6.as_ref().map(|(socket, _)| socket.shared() as interface::Watched);
        dhcp.into_iter().chain(tftp).chain([dhcp6]).flatten().collect()
    }
}

/// The port of syslog by TCP. Machines that boot do without it, so another server may have it.
async fn stream(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            log::warn!("syslog by TCP is not served: cannot open {address}: {error}; `ss -ltnp` shows which server has the port");
            None
        }
    }
}

/// Serves until `shutdown`, and returns when every task has ended.
pub fn run(
    sockets: Sockets,
    config: impl Into<Current>,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) -> Running {
    boxed(sockets, config.into(), source, events, shutdown)
}

/// Everything that is served. It is boxed here, so that a program that calls `run` does not compile it again.
pub type Running = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

fn boxed(
    sockets: Sockets,
    config: Current,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) -> Running {
    Box::pin(serve(sockets, config, source, events, shutdown))
}

async fn serve(
    sockets: Sockets,
    config: Current,
    source: Arc<dyn MachineSource>,
    events: Events,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    let source = sockets.with_leases(source);
    let bound = sockets.bound();
    let Sockets { dhcp, pxe, pools, tftp, syslog, syslog_stream, router_advertisements, dhcp6, six, .. } = sockets;
    let (http, https, metadata, foreign) = (sockets.http, sockets.https, sockets.metadata, sockets.foreign);
    if let Some(name) = config.now().interface.clone() {
        let (followed, stop) = (interface::follow(name, bound), shutdown.clone());
        tasks.spawn(async move { stop.run_until_cancelled(followed).await.unwrap_or(()) });
    }
    if let Some(pools) = pools.clone() {
        let stop = shutdown.clone();
        let config = config.clone();
        let is_ours = move |address| config.now().modes.pools().any(|pool| pool.contains(address));
        tasks.spawn(async move { stop.run_until_cancelled(pools.listen(is_ours)).await.unwrap_or(()) });
    }
    let server = dhcp::Server::new(config.clone(), pools, Arc::clone(&source), events.clone());
    for (socket, port) in [(dhcp, dhcp::Port::Dhcp), (pxe, dhcp::Port::Pxe)] {
        if let Some(socket) = socket {
            let (server, stop) = (server.clone(), shutdown.clone());
            let serve = move || async move {
                server.serve(socket, port, stop).await;
                Ok(())
            };
            tasks.spawn(on_its_thread("dhcp", shutdown.clone(), serve));
        }
    }
    if let Some((socket, duid)) = dhcp6 {
        let server = dhcp6::Server::new(config.clone(), duid, Arc::clone(&source), events.clone());
        let stop = shutdown.clone();
        tasks.spawn(on_its_thread("dhcp6", shutdown.clone(), move || server.serve(socket, stop)));
    }
    for socket in [tftp, six.tftp].into_iter().flatten() {
        let limits = tftp::Limits::default();
        let (stop, config, source, events) = (shutdown.clone(), config.clone(), Arc::clone(&source), events.clone());
        let serve = move || tftp::serve(socket, config, source, events, limits, stop);
        tasks.spawn(on_its_thread("tftp", shutdown.clone(), serve));
    }
    let intake = Arc::new(syslog::Intake::new(Arc::clone(&source), events.clone()));
    for socket in [syslog, six.syslog].into_iter().flatten() {
        tasks.spawn(syslog::serve(socket, Arc::clone(&intake), shutdown.clone()));
    }
    for listener in [syslog_stream, six.syslog_stream].into_iter().flatten() {
        tasks.spawn(syslog::serve_stream(listener, Arc::clone(&intake), shutdown.clone()));
    }
    if let Some(socket) = foreign {
        tasks.spawn(foreign::watch(socket, config.clone(), Arc::clone(&source), events.clone(), shutdown.clone()));
    }
    if let Some(socket) = router_advertisements {
        tasks.spawn(ra::serve(socket, config.clone(), shutdown.clone()));
    }
    for listener in metadata {
        let (router, stop) = (crate::http::metadata(&config, &source), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = crate::http::serve(stop.cancelled_owned(), listener, router).await {
                log::error!("metadata: {}", ::machine::Chain(&error));
            }
        });
    }
    let router = http.is_some().then(|| crate::http::alone(config, source, events));
    if let Some(((listener, certificate), router)) = https.zip(router.clone()) {
        tasks.spawn(https_until(shutdown.clone(), listener, certificate, router));
    }
    match http.zip(router) {
        Some((listener, router)) => crate::http::serve(shutdown.cancelled_owned(), listener, router).await?,
        None => shutdown.cancelled().await,
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Firmware gives up after seconds. On the executor's threads its packets would wait behind agents and ramdisks.
async fn on_its_thread<F: Future<Output = io::Result<()>>>(
    protocol: &'static str,
    stop: CancellationToken,
    serve: impl FnOnce() -> F + Send + 'static,
) {
    if let Err(error) = apart::serve(protocol, stop.cancelled_owned(), move |_| serve()).await {
        log::error!("{protocol} is not served: {}", ::machine::Chain(&error));
    }
}

async fn https_until(stop: CancellationToken, listener: TcpListener, certificate: Arc<Certificate>, router: axum::Router) {
    let serve = crate::http::serve_tls(stop.cancelled_owned(), listener, certificate, router);
    if let Err(error) = serve.await {
        log::error!("HTTPS: {}", ::machine::Chain(&error));
    }
}
