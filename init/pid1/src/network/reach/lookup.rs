//! The address of a name, asked over one link from the name servers of that network. The libc's resolver would ask over any
//! link, and would block everything else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::SockType;

use super::connect;
use super::dns::{self, Family, Question, Rejected};
use crate::network::lease::Lease;
use crate::network::links::Link;
use crate::network::random::{self, Random};

/// For one answer. A name server that has to ask others may take longer the first time, and is asked again.
const WAIT: Duration = Duration::from_secs(1);
/// For all of them together.
const LIMIT: Duration = Duration::from_secs(6);
/// At least so many questions are sent, since packets get lost.
const QUESTIONS: usize = 3;
/// As many as glibc asks.
const SERVERS: usize = 3;

/// The name servers of a network, and the link over which they are asked.
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

    /// # Errors
    /// The network has no name server, or (`AddrNotAvailable`) the link's address cannot be used yet.
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
        let socket = self.socket(server)?; // another port for each question, so that late answers are not read
        socket.send(question.as_bytes())?;
        Ok(Asked { name: name.to_owned(), server, question, socket, until: now + WAIT })
    }

    fn socket(&self, server: IpAddr) -> io::Result<UdpSocket> {
        let (source, server) = match server {
            // A server of that kind is reached from the link's own address.
            IpAddr::V6(server) if server.is_unicast_link_local() => {
                (Ipv6Addr::UNSPECIFIED.into(), SocketAddrV6::new(server, dns::PORT, 0, self.index).into())
            }
            server => (self.source, SocketAddr::new(server, dns::PORT)),
        };
        connect::from(&self.link, source, server, SockType::Datagram).map(UdpSocket::from)
    }
}

/// A name with a dot is tried first as it is, a name without a dot last (resolv.conf(5), `ndots`).
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
    /// Why the last question has found no address.
    failure: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    NothingYet,
    Address(IpAddr),
    /// No name server has it; the reason is the last one's.
    Nothing(String),
}

impl Lookup {
    /// Reads answers and asks the next question, without waiting.
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
    /// The host reports that no program listens, or the network that the host is unreachable.
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
