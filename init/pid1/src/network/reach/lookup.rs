//! The address of a name, asked over one link from the name servers of that network. The C library's resolver would ask
//! over any link, and would block everything else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cmdline::HwAddr;
use nix::sys::socket::SockType;

use super::connect;
use super::dns::{self, Family, Question, Rejected};
use super::stream::Stream;
use crate::network::lease::Lease;
use crate::network::links::Link;
use crate::network::random;

/// The limit for one answer. A name server that must ask others may take longer the first time, and is asked again.
const WAIT: Duration = Duration::from_secs(1);
/// The limit for an answer over TCP, which takes two round trips.
const WAIT_FOR_STREAM: Duration = Duration::from_secs(2);
/// The limit for all questions together.
const LIMIT: Duration = Duration::from_secs(6);
/// At least this many questions are sent, because packets get lost.
const QUESTIONS: usize = 3;
/// As many servers as glibc asks.
const SERVERS: usize = 3;

/// The name servers of a network, and the link to ask them over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    link: String,
    mac: HwAddr,
    index: u32,
    source: IpAddr,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// Servers of the other address family cannot be asked from this address.
    pub fn of(link: &Link, lease: &Lease) -> Self {
        let source = lease.address;
        let servers = lease.dns.iter().copied().filter(|server| server.is_ipv4() == source.is_ipv4()).take(SERVERS).collect();
        Self { link: link.name.clone(), mac: link.mac, index: link.index, source, servers, search: lease.search.clone() }
    }

    pub fn mac(&self) -> HwAddr {
        self.mac
    }

    fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// # Errors
    /// If the network has no name server, or the link's address cannot be used yet (`AddrNotAvailable`).
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
        let question = Question::new(random::number(self.mac) as u16, name, self.family());
        let question = question.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        // Each question has another port, so that late answers are not read.
        let socket = UdpSocket::from(self.socket(server, SockType::Datagram)?);
        socket.send(question.as_bytes())?;
        Ok(Asked { name: name.to_owned(), server, question, over: Over::Packet(socket), until: now + WAIT })
    }

    fn socket(&self, server: IpAddr, kind: SockType) -> io::Result<OwnedFd> {
        let (source, server) = match server {
            // A link-local server is reached from the link-local address.
            IpAddr::V6(server) if server.is_unicast_link_local() => {
                (Ipv6Addr::UNSPECIFIED.into(), SocketAddrV6::new(server, dns::PORT, 0, self.index).into())
            }
            server => (self.source, SocketAddr::new(server, dns::PORT)),
        };
        connect::from(&self.link, source, server, kind)
    }
}

/// A name with a dot is tried unchanged first, and a name without a dot last (resolv.conf(5), `ndots`).
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
    over: Over,
    until: Instant,
}

enum Over {
    Packet(UdpSocket),
    /// `known` is the address that the truncated packet contained.
    Stream {
        stream: Stream,
        known: Option<IpAddr>,
    },
}

pub struct Lookup {
    resolver: Resolver,
    left: VecDeque<(String, IpAddr)>,
    asked: Option<Asked>,
    end: Instant,
    /// Why the last question did not give an address.
    failure: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    NothingYet,
    Address(IpAddr),
    /// No name server has the name. The reason is the last one's.
    Nothing(String),
}

impl Lookup {
    /// Reads answers and asks the next question, without waiting.
    pub fn turn(&mut self, now: Instant) -> Found {
        loop {
            let due = self.due();
            let Some(asked) = &mut self.asked else { return Found::Nothing(std::mem::take(&mut self.failure)) };
            let why = match asked.hear() {
                Heard::Address(address) => return Found::Address(address),
                Heard::CutShort(known) => match self.resolver.socket(asked.server, SockType::Stream) {
                    Ok(socket) => {
                        let stream = Stream::new(TcpStream::from(socket), asked.question.as_bytes());
                        (asked.over, asked.until) = (Over::Stream { stream, known }, now + WAIT_FOR_STREAM);
                        continue;
                    }
                    Err(_) if known.is_some() => return known.map_or(Found::NothingYet, Found::Address),
                    Err(error) => format!("cannot be asked over TCP ({error}) about"),
                },
                Heard::NothingYet if now < due => return Found::NothingYet,
                Heard::NothingYet | Heard::Failed(_) if asked.known().is_some() => {
                    return asked.known().map_or(Found::NothingYet, Found::Address);
                }
                Heard::NothingYet => format!("does not answer{} about", asked.way()),
                Heard::Rejected(why) => {
                    if matches!(why, Rejected::NoSuchName | Rejected::NoAddress) {
                        self.left.retain(|(name, _)| *name != asked.name);
                    }
                    why.to_string()
                }
                Heard::Failed(error) => format!("cannot be asked{} ({error}) about", asked.way()),
            };
            self.failure = format!("name server {} {why} {}", asked.server, asked.name);
            if now >= self.end {
                self.left.clear();
            }
            if let Err(error) = self.ask_next(now) {
                log::debug!("{}: no more questions: {error}", self.resolver.link);
            }
        }
    }

    /// Asks the next question that can be sent. The error is that of the last one.
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
        self.asked.as_ref().map(|asked| match &asked.over {
            Over::Packet(socket) => socket.as_fd(),
            Over::Stream { stream, .. } => stream.as_fd(),
        })
    }

    /// A connection to a name server whose question is not sent yet.
    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        match &self.asked.as_ref()?.over {
            Over::Stream { stream, .. } if stream.wants_to_write() => Some(stream.as_fd()),
            _ => None,
        }
    }

    pub fn due(&self) -> Instant {
        self.asked.as_ref().map_or(self.end, |asked| asked.until.min(self.end))
    }
}

enum Heard {
    NothingYet,
    Address(IpAddr),
    Rejected(Rejected),
    /// The answer continues over TCP. It may contain an address already.
    CutShort(Option<IpAddr>),
    /// The host reports that no program listens, or the network that the host is unreachable.
    Failed(io::Error),
}

impl Asked {
    fn known(&self) -> Option<IpAddr> {
        if let Over::Stream { known, .. } = self.over { known } else { None }
    }

    fn way(&self) -> &'static str {
        if matches!(self.over, Over::Stream { .. }) { " over TCP" } else { "" }
    }

    fn hear(&mut self) -> Heard {
        let socket = match &mut self.over {
            Over::Packet(socket) => socket,
            Over::Stream { stream, .. } => {
                return match stream.turn() {
                    Ok(None) => Heard::NothingYet,
                    Ok(Some(answer)) => self.question.read(answer).map_or_else(Heard::Rejected, Heard::Address),
                    Err(error) => Heard::Failed(error),
                };
            }
        };
        let mut buffer = [0; dns::LONGEST];
        loop {
            let packet = match socket.recv(&mut buffer) {
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::NothingYet,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Heard::Failed(error),
            };
            match self.question.read(packet) {
                Err(Rejected::NotOurs) => {}
                result if self.question.is_cut_short(packet) => return Heard::CutShort(result.ok()),
                result => return result.map_or_else(Heard::Rejected, Heard::Address),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_tried_unchanged_and_below_the_networks_domains() {
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
