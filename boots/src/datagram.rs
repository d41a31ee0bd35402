//! UDP that knows at which address of this host a packet came. An answer leaves from there, because clients drop what
//! comes from another address (RFC 1123 section 4.2.3.1).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt};
use tokio::net::UdpSocket;

/// Where a packet came from, and by which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub peer: SocketAddr,
    /// The address of this host that the client used. `None` if it was a broadcast.
    pub local: Option<IpAddr>,
    /// The index of the interface.
    pub interface: u32,
}

/// From now on the socket says it of each packet.
pub fn track(socket: &socket2::Socket, is_ipv6: bool) -> io::Result<()> {
    let set = if is_ipv6 {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)
    };
    set.map_err(io::Error::from)
}

/// Receives without waiting.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
    let mut control = nix::cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let peer = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::AddrNotAvailable)?;
    let (local, interface) = message.cmsgs()?.find_map(|control| arrived(&control)).unwrap_or((None, 0));
    Ok((message.bytes, Arrival { peer, local, interface }))
}

/// Sends from an address of this host, and by an interface. Without them the kernel chooses.
pub fn send(socket: &impl AsRawFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>, interface: u32) -> io::Result<()> {
    let (v4, v6);
    let control = match to {
        SocketAddr::V4(_) => {
            v4 = packet_info(from, interface);
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        SocketAddr::V6(_) => {
            let address = if let Some(IpAddr::V6(address)) = from { address } else { Ipv6Addr::UNSPECIFIED };
            v6 = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let to = SockaddrStorage::from(to);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &[control], MsgFlags::empty(), Some(&to))?;
    Ok(())
}

/// The wish for a sender's address and an interface, as the kernel takes it.
#[must_use]
pub fn packet_info(from: Option<IpAddr>, interface: u32) -> in_pktinfo {
    let address = if let Some(IpAddr::V4(address)) = from { address } else { Ipv4Addr::UNSPECIFIED };
    let number = |address: Ipv4Addr| in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
    let ipi_ifindex = i32::try_from(interface).unwrap_or(0);
    in_pktinfo { ipi_ifindex, ipi_spec_dst: number(address), ipi_addr: number(Ipv4Addr::UNSPECIFIED) }
}

/// The address of this host and the interface, if the message has them.
#[must_use]
pub fn arrived(control: &ControlMessageOwned) -> Option<(Option<IpAddr>, u32)> {
    match control {
        // For a broadcast the kernel names an address of the interface, which the client did not use.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let is_own = info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr;
            let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
            Some((is_own.then_some(address.into()), u32::try_from(info.ipi_ifindex).unwrap_or(0)))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            Some(((!address.is_multicast()).then_some(address.into()), info.ipi6_ifindex))
        }
        _ => None,
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| std::net::SocketAddrV6::from(*address).into()))
}
