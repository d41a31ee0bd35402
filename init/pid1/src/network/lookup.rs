//! The address of a name, asked over one link of that network's own name servers: before a link is chosen there is no
//! resolver, and afterwards the libc's would hold up everything else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::BindToDevice;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, setsockopt, socket};

use super::dns::{self, Family, Question, Rejected};
use super::lease::Lease;
use super::link::Link;
use super::random::{self, Random};
use super::socket::connect_from;

/// For one answer; a name server that has to ask others itself may take longer the first time.
const WAIT: Duration = Duration::from_secs(1);
/// For all of them together.
const LIMIT: Duration = Duration::from_secs(6);
/// Packets get lost: so often is asked at least.
const QUESTIONS: usize = 3;
/// As many as glibc looks at.
const SERVERS: usize = 3;

/// Who is asked, and over which link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    link: String,
    index: u32,
    source: IpAddr,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// Servers of the other family cannot be asked from this address.
    pub fn of(link: &Link, lease: &Lease) -> Self {
        let source = lease.address;
        let servers = lease.dns.iter().copied().filter(|server| server.is_ipv4() == source.is_ipv4()).take(SERVERS).collect();
        Self { link: link.name.clone(), index: link.index, source, servers, search: lease.search.clone() }
    }

    fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Errors: there is nobody to ask, or (`AddrNotAvailable`) the link's address cannot be used yet.
    pub fn look_up(&self, name: &str, now: Instant) -> io::Result<Lookup> {
        if self.servers.is_empty() {
            return Err(io::Error::other(format!("the network has no name server to ask for {name}")));
        }
        let names = candidates(name, &self.search);
        let once = names.iter().flat_map(|name| self.servers.iter().map(|server| (name.clone(), *server)));
        let once: Vec<(String, IpAddr)> = once.collect();
        let left = once.iter().cycle().take(once.len().max(QUESTIONS)).cloned().collect();
        let mut lookup = Lookup { resolver: self.clone(), left, asked: None, end: now + LIMIT, failure: String::new() };
        lookup.ask_next(now)?;
        Ok(lookup)
    }

    fn ask(&self, name: &str, server: IpAddr, now: Instant) -> io::Result<Asked> {
        let question = Question::new(Random::new(random::seed()).next() as u16, name, self.family());
        let question = question.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        let socket = self.socket(server)?; // another port for each question: late answers go nowhere
        socket.send(question.as_bytes())?;
        Ok(Asked { name: name.to_owned(), server, question, socket, until: now + WAIT })
    }

    fn socket(&self, server: IpAddr) -> io::Result<UdpSocket> {
        let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        setsockopt(&socket, BindToDevice, &self.link.as_str().into())?;
        match (self.source, SocketAddr::new(server, dns::PORT)) {
            (IpAddr::V4(source), SocketAddr::V4(server)) => {
                connect_from(&socket, &SockaddrIn::from(std::net::SocketAddrV4::new(source, 0)), &SockaddrIn::from(server))?;
            }
            (IpAddr::V6(source), SocketAddr::V6(server)) => {
                // The link's own address is the right one for a server of that kind.
                let near = server.ip().is_unicast_link_local();
                let source = if near { Ipv6Addr::UNSPECIFIED } else { source };
                let scope = if near { self.index } else { 0 };
                let server = SocketAddrV6::new(*server.ip(), server.port(), 0, scope);
                connect_from(&socket, &SockaddrIn6::from(SocketAddrV6::new(source, 0, 0, 0)), &SockaddrIn6::from(server))?;
            }
            _ => return Err(ErrorKind::AddrNotAvailable.into()),
        }
        Ok(UdpSocket::from(socket))
    }
}

/// A name with a dot is tried as it is first, one without last (resolv.conf(5), `ndots`).
fn candidates(name: &str, search: &[String]) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let mut names: Vec<String> = search.iter().map(|domain| format!("{name}.{domain}")).collect();
    let at = if name.contains('.') { 0 } else { names.len() };
    names.insert(at, name.to_owned());
    names
}

/// A question that waits for its answer.
struct Asked {
    name: String,
    server: IpAddr,
    question: Question,
    socket: UdpSocket,
    until: Instant,
}

pub struct Lookup {
    resolver: Resolver,
    left: VecDeque<(String, IpAddr)>,
    asked: Option<Asked>,
    end: Instant,
    /// Why the last question led to nothing.
    failure: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    NothingYet,
    Address(IpAddr),
    /// Nobody who was asked has it, for this reason at last.
    Nothing(String),
}

impl Lookup {
    /// Reads answers and asks on; never waits.
    pub fn turn(&mut self, now: Instant) -> Found {
        loop {
            let Some(asked) = &self.asked else { return Found::Nothing(std::mem::take(&mut self.failure)) };
            let why = match asked.hear() {
                Heard::Address(address) => return Found::Address(address),
                Heard::NothingYet if now < self.due() => return Found::NothingYet,
                Heard::NothingYet => "does not answer about".to_owned(),
                Heard::Rejected(why) => {
                    if matches!(why, Rejected::NoSuchName | Rejected::NoAddress) {
                        self.left.retain(|(name, _)| *name != asked.name);
                    }
                    why.to_string()
                }
                Heard::Failed(error) => format!("cannot be asked ({error}) about"),
            };
            self.failure = format!("name server {} {why} {}", asked.server, asked.name);
            if now >= self.end {
                self.left.clear();
            }
            if let Err(error) = self.ask_next(now) {
                log::debug!("{}: no question is left: {error}", self.resolver.link);
            }
        }
    }

    /// The next question that can be sent. The error is the last one's.
    fn ask_next(&mut self, now: Instant) -> io::Result<()> {
        self.asked = None;
        let mut failed = io::Error::from(ErrorKind::NotFound);
        while let Some((name, server)) = self.left.pop_front() {
            match self.resolver.ask(&name, server, now) {
                Ok(asked) => {
                    self.asked = Some(asked);
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.asked.as_ref().map(|asked| asked.socket.as_fd())
    }

    pub fn due(&self) -> Instant {
        self.asked.as_ref().map_or(self.end, |asked| asked.until.min(self.end))
    }
}

enum Heard {
    NothingYet,
    Address(IpAddr),
    Rejected(Rejected),
    /// The host says that nobody listens, or the network that there is no way.
    Failed(io::Error),
}

impl Asked {
    fn hear(&self) -> Heard {
        let mut buffer = [0; dns::LONGEST];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => match self.question.read(buffer.get(..length).unwrap_or_default()) {
                    Ok(address) => return Heard::Address(address),
                    Err(Rejected::NotOurs) => {}
                    Err(why) => return Heard::Rejected(why),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::NothingYet,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Heard::Failed(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_tried_as_it_is_and_below_the_networks_domains() {
        let search = ["a.lab".to_owned(), "b.lab".to_owned()];
        for (name, search, expected) in [
            ("tink", &search[..], vec!["tink.a.lab", "tink.b.lab", "tink"]),
            ("tink.corp", &search, vec!["tink.corp", "tink.corp.a.lab", "tink.corp.b.lab"]),
            ("tink.corp.", &search, vec!["tink.corp."]),
            ("tink", &[], vec!["tink"]),
        ] {
            assert_eq!(candidates(name, search), expected, "{name}");
        }
    }
}
