//! UDP port 547, with the groups of servers on each interface.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use dhcp::v6::{ALL_SERVERS, ALL_SERVERS_OF_SITE};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;

use super::links::Links;
use crate::datagram::{self, Arrival};

/// A UDP socket that knows the interface of each packet.
#[derive(Debug, Clone)]
pub struct Socket {
    socket: Arc<UdpSocket>,
    /// The only interface. `None` serves all.
    only: Option<String>,
    joined: Arc<Mutex<HashSet<u32>>>,
}

/// One that an executor watches.
#[derive(Clone)]
pub(super) struct Watched(Arc<tokio::net::UdpSocket>);

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
    /// 0 leaves it to the routes.
    pub interface: u32,
}

impl Socket {
    /// Port 547 and an interface need the rights of root.
    pub fn bind(address: SocketAddrV6, interface: Option<&str>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_reuse_address(true)?;
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        datagram::track(&socket, true)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from(socket));
        Ok(Self { socket, only: interface.map(str::to_owned), joined: Arc::default() })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket itself, to bind it to its interface again.
    pub(crate) fn shared(&self) -> Arc<UdpSocket> {
        Arc::clone(&self.socket)
    }

    /// By the executor of this thread.
    pub(super) fn watched(&self) -> io::Result<Watched> {
        tokio::net::UdpSocket::from_std(self.socket.try_clone()?).map(|socket| Watched(Arc::new(socket)))
    }

    /// Joins the groups on interfaces that are new. One that is made again has another index.
    pub(super) fn join(&self, links: &mut Links, now: std::time::Instant) {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let links = links.now(now);
        joined.retain(|index| links.contains_key(index));
        for (index, link) in links {
            if self.only.as_ref().is_some_and(|only| *only != link.name) || joined.contains(index) {
                continue;
            }
            let socket = SockRef::from(&*self.socket);
            let all = [ALL_SERVERS, ALL_SERVERS_OF_SITE].iter().try_for_each(|group| socket.join_multicast_v6(group, *index));
            match all {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    log::debug!("DHCPv6: cannot listen on {}: {error}; trying again", link.name); // IPv6 may be switched off there
                }
                _ => _ = joined.insert(*index),
            }
        }
    }
}

impl Watched {
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
        self.0.async_io(Interest::READABLE, || datagram::receive(&self.0, buffer)).await
    }

    pub(super) async fn send(&self, packet: &Outgoing) -> io::Result<()> {
        let Outgoing { bytes, to, interface } = packet;
        let send = || datagram::send(&self.0, bytes, *to, None, *interface);
        self.0.async_io(Interest::WRITABLE, send).await
    }
}
