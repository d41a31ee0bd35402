//! The DHCP client's UDP socket: bound to one link, so that it works before that link has an address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use dhcp::v4::{CLIENT_PORT, Packet, SERVER_PORT};
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};

/// Larger than any packet that the client lets a server send.
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

/// The next packet; `None` when nothing is left. What cannot be decoded is skipped.
pub fn receive(socket: &UdpSocket) -> Option<Packet> {
    let mut buffer = [0; BUFFER];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => match Packet::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(packet) => return Some(packet),
                Err(error) => log::debug!("ignored a DHCP packet: {error}"),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None, // nothing has come, or an ICMP error, which sending again answers
        }
    }
}
