//! UDP port 67. Requests are received in batches. A reply leaves by the interface of its request.
//! A client without an address gets an Ethernet frame of its own.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::machine::Chain;
use nix::sys::socket::{LinkAddr, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendto};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::datagram::{self, Arrival};

/// How many packets one call receives. The kernel's headers of one more would need a block of more than a kilobyte, for which
/// the allocator first tidies up all small ones.
pub(super) const BATCH: usize = 16;
/// Longer requests are cut, and then malformed: a client sends 1,500 bytes at most.
const LONGEST: usize = 2048;
/// Room for the packets of a power-on of the whole hall, until boots reads them.
const QUEUE: usize = 1 << 20;

/// A full buffer of a network device is empty again after this time.
const BUSY: Duration = Duration::from_millis(1);
const TRIES: u32 = 100;

/// A UDP socket that knows the interface of each packet, and a packet socket for clients without an address.
///
/// The executor watches it only while nothing comes: to be woken by each packet costs as much as its answer.
#[derive(Debug, Clone)]
pub struct Socket(Arc<UdpSocket>, Option<Arc<Frames>>);

/// Sends Ethernet frames, and receives nothing.
#[derive(Debug)]
struct Frames {
    socket: OwnedFd,
    has_failed: AtomicBool,
}

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
    /// Whether more packets may be there than one call receives.
    pub fn is_full(&self) -> bool {
        self.arrived.len() == BATCH
    }

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
    /// The same for a client without an address, and the interface that sends it.
    pub direct: Option<(Vec<u8>, LinkAddr)>,
}

impl Frames {
    /// Needs CAP_NET_RAW.
    fn open() -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        Ok(Self { socket: socket.into(), has_failed: AtomicBool::new(false) })
    }

    /// Whether the frame has left.
    fn send(&self, frame: &[u8], link: &LinkAddr) -> bool {
        match sendto(self.socket.as_raw_fd(), frame, link, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => true,
            Err(error) => {
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    log::warn!("DHCP: cannot send to a hardware address by {link}: {error}; such replies are broadcasts");
                }
                false
            }
        }
    }
}

impl Socket {
    /// Port 67 and an interface need the rights of root.
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
        Ok(Self(Arc::new(UdpSocket::from(socket)), None))
    }

    /// Clients that allow it get their address by unicast. Without CAP_NET_RAW they get a broadcast, with one line.
    #[must_use]
    pub fn with_unicast(self) -> Self {
        let note = |error: &io::Error| {
            log::info!(
                "DHCP: every client without an address gets a broadcast, because unicast needs CAP_NET_RAW: {}",
                Chain(error)
            );
        };
        Self(self.0, Frames::open().inspect_err(note).ok().map(Arc::new))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The socket itself, to bind it to its interface again.
    pub(crate) fn shared(&self) -> Arc<dyn AsFd + Send + Sync> {
        Arc::clone(&self.0) as Arc<_>
    }

    /// Takes the packets that are there, or waits for some.
    pub(super) async fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        loop {
            match receive(&self.0, inbox) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
            tokio::net::UdpSocket::from_std(self.0.try_clone()?)?.readable().await?;
        }
    }

    pub(super) async fn send(&self, packet: &Outgoing) -> io::Result<()> {
        let Outgoing { bytes, to, from, interface, direct } = packet;
        if let (Some(frames), Some((frame, link))) = (&self.1, direct)
            && frames.send(frame, link)
        {
            return Ok(());
        }
        for _ in 0..TRIES {
            match datagram::send(&*self.0, bytes, (*to).into(), *from, *interface) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(BUSY).await,
                sent => return sent,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn receive(socket: &UdpSocket, inbox: &mut Inbox) -> io::Result<()> {
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
