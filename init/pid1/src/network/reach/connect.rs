//! Connections from an address of a link, over that link only.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::BindToDevice;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket};

/// A socket connected from `source` to `target`. It does not wait, so a stream may still be connecting.
pub fn from(link: &str, source: IpAddr, target: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    if source.is_ipv4() != target.is_ipv4() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, BindToDevice, &link.into())?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
