//! Whether a link leads to the server: a TCP connection from its address, over it and no other.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cmdline::Arguments;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{BindToDevice, SocketError};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, getpeername, getsockopt, setsockopt, socket,
};

use super::choice::Reach;
use super::host::Host;
use super::socket::connect_from;

/// A second packet is sent after one second, a third after three.
const LIMIT: Duration = Duration::from_millis(3500);
/// Any port tells whether a host answers; this one is boots'.
const BOOTS: u16 = 7080;

pub struct Probe {
    socket: OwnedFd,
    pub until: Instant,
}

/// Where the machine has to get to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: u16,
    /// The machine has no work where this does not answer. Without it, its host merely is a likely neighbour.
    pub is_needed: bool,
}

impl Target {
    pub fn of(arguments: &Arguments) -> Option<Self> {
        let server = arguments.grpc_authority.as_ref().and_then(|authority| {
            let (host, port) = authority.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some(Self { host: Host::parse(host)?, port: port.parse().ok()?, is_needed: true })
        });
        let syslog = || Some(Self { host: Host::parse(arguments.syslog_host.as_ref()?)?, port: BOOTS, is_needed: false });
        server.or_else(syslog)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => write!(f, "{}", SocketAddr::new(*address, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Probe {
    pub fn start(link: &str, source: IpAddr, target: SocketAddr, now: Instant) -> io::Result<Self> {
        let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        setsockopt(&socket, BindToDevice, &link.into())?;
        match (source, target) {
            (IpAddr::V4(source), SocketAddr::V4(target)) => {
                connect_from(&socket, &SockaddrIn::from(SocketAddrV4::new(source, 0)), &SockaddrIn::from(target))?;
            }
            (IpAddr::V6(source), SocketAddr::V6(target)) => {
                connect_from(&socket, &SockaddrIn6::from(SocketAddrV6::new(source, 0, 0, 0)), &SockaddrIn6::from(target))?;
            }
            _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
        }
        Ok(Self { socket, until: now + LIMIT })
    }

    pub fn result(&self, now: Instant) -> Reach {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(1..) => match getsockopt(&self.socket, SocketError).map(Errno::from_raw) {
                // No error is no proof: it may have been told with the packet that caused it.
                Ok(Errno::UnknownErrno) if is_connected(&self.socket) => Reach::Open,
                Ok(Errno::ECONNREFUSED) => Reach::Refused,
                _ => Reach::Silent,
            },
            _ if now >= self.until => Reach::Silent,
            _ => Reach::Trying,
        }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_connected(socket: &OwnedFd) -> bool {
    getpeername::<SockaddrStorage>(socket.as_raw_fd()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_who_the_command_line_names() {
        for (line, expected) in [
            ("grpc_authority=10.0.0.1:42113 syslog_host=10.0.0.2", Some(("10.0.0.1", 42113, true))),
            ("grpc_authority=[fd00::1]:42113", Some(("fd00::1", 42113, true))),
            ("grpc_authority=tink.lab:42113 syslog_host=10.0.0.2", Some(("tink.lab", 42113, true))),
            ("syslog_host=10.0.0.2", Some(("10.0.0.2", 7080, false))),
            ("syslog_host=log.lab", Some(("log.lab", 7080, false))),
            ("facility=onprem", None),
        ] {
            let expected = expected.map(|(host, port, is_needed)| Target { host: Host::parse(host).unwrap(), port, is_needed });
            assert_eq!(Target::of(&Arguments::parse(line).arguments), expected, "{line}");
        }
        let written = |line| Target::of(&Arguments::parse(line).arguments).unwrap().to_string();
        assert_eq!(written("grpc_authority=[fd00::1]:42113"), "[fd00::1]:42113");
        assert_eq!(written("grpc_authority=tink.lab:42113"), "tink.lab:42113");
    }
}
