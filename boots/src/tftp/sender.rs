//! The socket of one transfer. A window leaves in one or two calls: the kernel cuts it into packets (UDP GSO).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsRawFd;

use ::machine::Chain;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, getsockopt, sendmsg, sockopt};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::content::Content;
use super::packet::data_header;
use super::transfer::Transfer;

/// The kernel cuts a message into this many packets at most (`UDP_MAX_SEGMENTS`).
const SEGMENTS: usize = 64;
/// The longest UDP message over IPv4.
const MESSAGE: usize = 65_507;
/// Without windows, blocks are read this far ahead.
const AHEAD: usize = 32 * 1024;
/// The headers of a block: IP, UDP and TFTP.
const HEADERS: [usize; 2] = [20 + 8 + 4, 40 + 8 + 4];
const ETHERNET: usize = 1500;

#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    /// Blocks with their headers, one after the other.
    packets: Vec<u8>,
    /// Which blocks they are.
    blocks: Range<u64>,
    is_segmented: bool,
}

impl Sender {
    /// Sends from the address that the client asked, so that no firewall and no firmware takes it for another host.
    /// An address in a VRF can be had only by one of its interfaces, so that one is tried if there is no such address.
    pub fn open(local: SocketAddr, interface: Option<&str>, (peer, by): (SocketAddr, u32)) -> io::Result<Self> {
        match (Self::opened(local, interface, peer), interface, if_indextoname(by)) {
            (Err(error), None, Ok(name)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                Self::opened(local, name.to_str().ok(), peer)
            }
            (opened, _, _) => opened,
        }
    }

    fn opened(local: SocketAddr, interface: Option<&str>, peer: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(local), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.bind(&local.into())?;
        socket.connect(&peer.into())?; // from here on the kernel drops packets of other hosts
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, packets: Vec::new(), blocks: 0..0, is_segmented: true })
    }

    /// The largest block that leaves in one packet.
    #[must_use]
    pub fn largest_block(&self) -> usize {
        let is_ipv6 = self.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let mtu = if is_ipv6 { None } else { getsockopt(&self.socket, sockopt::IpMtu).ok() };
        let mtu = mtu.and_then(|mtu| usize::try_from(mtu).ok()).unwrap_or(ETHERNET);
        mtu.saturating_sub(HEADERS[usize::from(is_ipv6)])
    }

    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }

    /// A full queue or an unreachable peer counts as a lost packet, which is sent again.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        forgive(self.socket.send(bytes).await.map(drop))
    }

    /// Some network card may drop what the kernel does not cut itself, so the blocks leave one by one from now on.
    pub fn without_segments(&mut self) {
        self.is_segmented = false;
    }

    pub async fn send_blocks(&mut self, content: &Content, transfer: &Transfer, blocks: Range<u64>) -> io::Result<()> {
        let slot = 4 + transfer.block();
        if blocks.start < self.blocks.start || blocks.end > self.blocks.end {
            self.fill(content, transfer, blocks.clone())?;
        }
        let at = |block: u64| usize::try_from(block - self.blocks.start).unwrap_or(0) * slot;
        let bytes = self.packets.get(at(blocks.start)..at(blocks.end).min(self.packets.len())).unwrap_or_default();
        let most = if self.is_segmented { SEGMENTS.min(MESSAGE / slot).max(1) } else { 1 };
        let mut is_refused = false;
        for message in bytes.chunks(most * slot) {
            match self.send_cut(message, slot).await {
                Err(error) if is_unable(&error) => is_refused = true,
                sent => forgive(sent)?,
            }
        }
        if is_refused {
            self.is_segmented = false;
            for packet in bytes.chunks(slot) {
                self.send(packet).await?;
            }
        }
        Ok(())
    }

    async fn send_cut(&self, message: &[u8], slot: usize) -> io::Result<()> {
        if message.len() <= slot {
            return self.socket.send(message).await.map(drop);
        }
        let size = u16::try_from(slot).unwrap_or(u16::MAX);
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let send = || {
            let parts = [IoSlice::new(message)];
            Ok(sendmsg::<SockaddrIn>(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), None).map(drop)?)
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Reads these blocks and some behind them. Reading blocks the task for a short time: boot programs are small and in
    /// the page cache.
    fn fill(&mut self, content: &Content, transfer: &Transfer, wanted: Range<u64>) -> io::Result<()> {
        let slot = 4 + transfer.block();
        let ahead = wanted.start + (AHEAD / slot) as u64;
        let blocks = wanted.start..wanted.end.max(ahead.min(transfer.last() + 1));
        let (start, end) = (transfer.bytes_of(blocks.start).start, transfer.bytes_of(blocks.end - 1).end);
        let (count, length) =
            (usize::try_from(blocks.end - blocks.start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
        self.blocks = 0..0; // nothing, if reading fails
        self.packets.resize(4 * count + length, 0);
        for (block, packet) in blocks.clone().zip(self.packets.chunks_mut(slot)) {
            packet.iter_mut().zip(data_header(block as u16)).for_each(|(byte, of_header)| *byte = of_header); // as: numbers wrap
        }
        let mut parts: Vec<IoSliceMut<'_>> =
            self.packets.chunks_mut(slot).filter_map(|packet| packet.get_mut(4..)).map(IoSliceMut::new).collect();
        if content.single().is_none_or(|file| rustix::io::preadv(file, &mut parts, start) != Ok(length)) {
            for (block, packet) in blocks.clone().zip(self.packets.chunks_mut(slot)) {
                content.read_exact_at(packet.get_mut(4..).unwrap_or_default(), transfer.bytes_of(block).start)?;
            }
        }
        self.blocks = blocks;
        Ok(())
    }
}

/// The kernel or the path of the packets has no UDP GSO.
fn is_unable(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::MSGSIZE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

fn forgive(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
        Err(error) => {
            log::debug!("TFTP: cannot send: {}", Chain(&error));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The address for the socket of a transfer: the one that the client asked, or that of the listening socket.
#[must_use]
pub fn local_address(listening: SocketAddr, asked: Option<IpAddr>) -> SocketAddr {
    SocketAddr::new(asked.unwrap_or(listening.ip()), 0)
}
