//! Checks whether a link leads to the server: a TCP connection from the link's address, over that link only.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cmdline::Arguments;
use machine::ports;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{SockType, SockaddrStorage, getpeername, getsockopt};

use super::choice::Reach;
use super::connect;
use crate::network::host::Host;

/// TCP sends a second packet after one second, and a third after three.
const LIMIT: Duration = Duration::from_millis(3500);

pub struct Probe {
    socket: OwnedFd,
    pub until: Instant,
}

/// The server that the machine must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: u16,
    /// The machine has no work until this server answers. Otherwise it is only a host that the right network probably has.
    pub is_needed: bool,
}

impl Target {
    /// The servers, any of which is enough.
    pub fn all(arguments: &Arguments) -> Vec<Self> {
        let server = |authority: &String| {
            let (host, port) = authority.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some(Self { host: Host::parse(host)?, port: port.parse().ok()?, is_needed: true })
        };
        let syslog = || Some(Self { host: Host::parse(arguments.syslog_host.as_ref()?)?, port: ports::HTTP, is_needed: false });
        let servers: Vec<Self> = arguments.grpc_authority.iter().chain(&arguments.servers).filter_map(server).collect();
        if servers.is_empty() { syslog().into_iter().collect() } else { servers }
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
        Ok(Self { socket: connect::from(link, source, target, SockType::Stream)?, until: now + LIMIT })
    }

    pub fn result(&self, now: Instant) -> Reach {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(1..) => match getsockopt(&self.socket, SocketError).map(Errno::from_raw) {
                // The lack of an error proves nothing: it may have been reported already, with the packet that caused it.
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
    fn the_command_line_names_the_server() {
        for (line, expected) in [
            ("grpc_authority=10.0.0.1:42113 syslog_host=10.0.0.2", &[("10.0.0.1", 42113, true)][..]),
            ("grpc_authority=[fd00::1]:42113", &[("fd00::1", 42113, true)]),
            ("grpc_authority=tink.lab:42113 syslog_host=10.0.0.2", &[("tink.lab", 42113, true)]),
            (
                "grpc_authority=10.0.0.1:42113 thimble.servers=10.0.0.2:42113,[fd00::3]:1 syslog_host=10.0.0.9",
                &[("10.0.0.1", 42113, true), ("10.0.0.2", 42113, true), ("fd00::3", 1, true)],
            ),
            ("syslog_host=10.0.0.2", &[("10.0.0.2", 7080, false)]),
            ("syslog_host=log.lab", &[("log.lab", 7080, false)]),
            ("facility=onprem", &[]),
        ] {
            let target = |(host, port, is_needed): &(&str, u16, bool)| Target {
                host: Host::parse(host).unwrap(),
                port: *port,
                is_needed: *is_needed,
            };
            let expected: Vec<Target> = expected.iter().map(target).collect();
            assert_eq!(Target::all(&Arguments::parse(line).arguments), expected, "{line}");
        }
        let written = |line| Target::all(&Arguments::parse(line).arguments)[0].to_string();
        assert_eq!(written("grpc_authority=[fd00::1]:42113"), "[fd00::1]:42113");
        assert_eq!(written("grpc_authority=tink.lab:42113"), "tink.lab:42113");
    }
}
