//! The DHCP client's UDP socket: bound to one link, so that it works before that link has an address. And the way out from an
//! address that a link has, for those who try it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use dhcp::v4::{CLIENT_PORT, Packet, SERVER_PORT};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrLike, bind, connect, setsockopt, socket};

/// Larger than any packet we allow a server to send.
const BUFFER: usize = 2048;

pub fn open(link: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, BindToDevice, &link.into())?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))?;
    Ok(UdpSocket::from(socket))
}

pub fn send(socket: &UdpSocket, packet: &Packet, to: Ipv4Addr) -> io::Result<()> {
    socket.send_to(&packet.encode(), SocketAddrV4::new(to, SERVER_PORT)).map(drop)
}

/// The next packet that is one; `None` when nothing is left. What cannot be decoded was not for us.
pub fn receive(socket: &UdpSocket) -> Option<Packet> {
    let mut buffer = [0; BUFFER];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => match Packet::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(packet) => return Some(packet),
                Err(error) => log::debug!("ignored a DHCP packet: {error}"),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None, // nothing there, or an ICMP error that a retransmission answers
        }
    }
}

/// From `source` to `target`; a stream socket that does not wait may still be on its way afterwards.
pub fn connect_from(socket: &OwnedFd, source: &dyn SockaddrLike, target: &dyn SockaddrLike) -> io::Result<()> {
    bind(socket.as_raw_fd(), source)?;
    match connect(socket.as_raw_fd(), target) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
