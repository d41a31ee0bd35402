//! The raw ICMPv6 socket of one interface.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV6};
use std::time::Duration;

use ::machine::Chain;
use dhcp::router::{ALL_NODES, ALL_ROUTERS, HOPS, is_solicitation, no_router};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(5);
/// Solicitations within this time share one answer.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Socket {
    /// A raw socket. tokio's type for datagrams can drive it.
    socket: UdpSocket,
    index: u32,
    interface: String,
    mac: Option<[u8; 6]>,
}

impl Socket {
    /// On the named interface, else on the one with `address`. Needs the rights of root and a tokio runtime.
    pub fn bind(interface: Option<&str>, address: Ipv4Addr) -> io::Result<Self> {
        let interface = match interface {
            Some(interface) => interface.to_owned(),
            None => interface_with(address)?,
        };
        let index = if_nametoindex(interface.as_str())?;
        let socket = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.set_multicast_if_v6(index)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        socket.set_nonblocking(true)?;
        let mac = mac_of(&interface);
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, index, interface, mac })
    }

    async fn solicited(&self) -> io::Result<bool> {
        let mut buffer = [0; 1500];
        let length = self.socket.recv(&mut buffer).await?;
        Ok(is_solicitation(buffer.get(..length).unwrap_or_default()))
    }

    async fn advertise(&self) -> io::Result<()> {
        let to = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        self.socket.send_to(&no_router(self.mac), to).await.map(|_| ())
    }
}

fn interface_with(address: Ipv4Addr) -> io::Result<String> {
    let has = |found: &nix::ifaddrs::InterfaceAddress| {
        found.address.is_some_and(|a| a.as_sockaddr_in().is_some_and(|a| a.ip() == address))
    };
    let missing =
        || io::Error::new(io::ErrorKind::AddrNotAvailable, format!("no interface has the address {address}; name the interface"));
    getifaddrs()?.find(has).map(|found| found.interface_name).ok_or_else(missing)
}

fn mac_of(interface: &str) -> Option<[u8; 6]> {
    let mut links = getifaddrs().ok()?.filter(|found| found.interface_name == interface);
    links.find_map(|found| found.address?.as_link_addr()?.addr())
}

/// Advertises every few seconds and when asked, until `shutdown`.
pub async fn serve(socket: Socket, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut failing) = (None::<Instant>, false);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            solicited = socket.solicited() => match solicited {
                Ok(true) if last.is_none_or(|last| last.elapsed() >= AT_MOST_EVERY) => {}
                Ok(_) => continue,
                Err(error) => {
                    log::debug!("router advertisements: cannot receive: {}", Chain(&error));
                    tokio::time::sleep(AT_MOST_EVERY).await;
                    continue;
                }
            },
        }
        match socket.advertise().await {
            Ok(()) => (last, failing) = (Some(Instant::now()), false),
            // An interface that is down, or that has no link-local address yet, may recover.
            Err(error) if !failing => {
                log::warn!(
                    "router advertisements: cannot send on {}: {}; trying again every few seconds",
                    socket.interface,
                    Chain(&error)
                );
                failing = true;
            }
            Err(error) => log::debug!("router advertisements: cannot send: {}", Chain(&error)),
        }
    }
}
