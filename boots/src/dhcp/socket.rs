//! UDP port 67. Requests are received in batches. A reply leaves by the interface of its request.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::Interest;

use crate::datagram::{self, Arrival};

/// How many packets one call receives.
pub(super) const BATCH: usize = 32;
/// Longer requests are cut, and then malformed: a client sends 1,500 bytes at most.
const LONGEST: usize = 2048;
/// Room for the packets of a power-on of the whole hall, until boots reads them.
const QUEUE: usize = 1 << 20;

/// A UDP socket that knows the interface of each packet.
#[derive(Debug, Clone)]
pub struct Socket(Arc<tokio::net::UdpSocket>);

/// What one call received.
#[derive(Debug)]
pub(super) struct Inbox {
    buffers: Vec<[u8; LONGEST]>,
    arrived: Vec<(usize, Arrival)>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffers: vec![[0; LONGEST]; BATCH], arrived: Vec::with_capacity(BATCH) }
    }
}

impl Inbox {
    pub fn packets(&self) -> impl Iterator<Item = (&[u8], Arrival)> {
        let both = self.buffers.iter().zip(&self.arrived);
        both.map(|(buffer, (length, arrival))| (buffer.get(..*length).unwrap_or_default(), *arrival))
    }
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub bytes: Vec<u8>,
    pub to: SocketAddrV4,
    /// The address of this host to send from, and the index of the interface to send by.
    pub from: Option<IpAddr>,
    pub interface: u32,
}

impl Socket {
    /// Needs a tokio runtime. Port 67 and an interface need the rights of root.
    pub fn bind(address: SocketAddrV4, interface: Option<&str>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        let _ = socket.set_recv_buffer_size(QUEUE); // the host's limit may be lower
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        datagram::track(&socket, false)?;
        socket.bind(&SockAddr::from(address))?;
        socket.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(UdpSocket::from(socket)).map(|socket| Self(Arc::new(socket)))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The socket itself, to bind it to its interface again.
    pub(crate) fn shared(&self) -> Arc<tokio::net::UdpSocket> {
        Arc::clone(&self.0)
    }

    /// Waits for packets, and takes those that are there.
    pub(super) async fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            let taken = self.0.try_io(Interest::READABLE, || {
                receive(&self.0, inbox)?;
                // Fewer than asked for: the queue is empty, and another call would only find that out.
                if inbox.arrived.len() < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match taken {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ if !inbox.arrived.is_empty() => return Ok(()),
                _ => {}
            }
        }
    }

    pub(super) async fn send(&self, packet: &Outgoing) -> io::Result<()> {
        let Outgoing { bytes, to, from, interface } = packet;
        let send = || datagram::send(&self.0, bytes, (*to).into(), *from, *interface);
        self.0.async_io(Interest::WRITABLE, send).await
    }
}

fn receive(socket: &tokio::net::UdpSocket, inbox: &mut Inbox) -> io::Result<()> {
    let Inbox { buffers, arrived } = inbox;
    arrived.clear();
    let mut parts: Vec<[IoSliceMut<'_>; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, Some(nix::cmsg_space!(nix::libc::in_pktinfo)));
    for message in recvmmsg(socket.as_raw_fd(), &mut headers, parts.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
        let (local, interface) = message.cmsgs()?.find_map(|control| datagram::arrived(&control)).unwrap_or((None, 0));
        let from = message.address.map_or(SocketAddrV4::new([0; 4].into(), 0), SocketAddrV4::from);
        arrived.push((message.bytes, Arrival { peer: from.into(), local, interface }));
    }
    Ok(())
}
