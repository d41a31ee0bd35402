//! The machine's clock, set from the network: once before the agent uses TLS, and then checked from time to time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, UNIX_EPOCH};

use cmdline::{Arguments, HwAddr};
use machine::Milestone;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::host::Host;
use super::lease::Lease;
use super::once::Once;
use super::reach::{Found, Lookup, Resolver};
use super::{random, sntp};
use crate::build_date;

/// How long the agent waits for the time. Then it starts with the current clock.
pub const LIMIT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(1);
/// From RFC 4330, 10: the shortest pause once the time is known. The pause after unanswered questions is shorter than this,
/// and longer than [`AGAIN`].
const LATER: Duration = Duration::from_secs(1024);
const FAILED_LATER: Duration = Duration::from_secs(64);
/// After this many unanswered questions the pauses are longer.
const EAGER: u32 = 8;
/// How many of the named servers are asked.
const MOST: usize = 6;
/// Smaller differences are noise of the network. A clock that jumps is worse than one that is slightly wrong.
const NOISE: Duration = Duration::from_millis(250);

/// The servers of `ntp=` first, then those of the network or `ipam=`.
pub fn servers(arguments: &Arguments, lease: &Lease) -> Vec<Host> {
    let named = arguments.ntp.iter().filter_map(|server| {
        let host = Host::parse(server);
        if host.is_none() {
            log::warn!("clock: {server} in ntp= is neither an address nor a name");
        }
        host
    });
    named.chain(lease.ntp.iter().cloned()).take(MOST).collect()
}

#[derive(Default)]
pub struct TimeSync {
    servers: Vec<Host>,
    resolver: Option<Resolver>,
    /// The lookup of the current server's address.
    lookup: Option<Lookup>,
    socket: Option<UdpSocket>,
    cookie: u64,
    asked: u32,
    due: Option<Instant>,
    since: Option<Instant>,
    done: bool,
    once: Once,
}

impl TimeSync {
    /// Starts again if the servers or the network are new.
    pub fn begin(&mut self, servers: Vec<Host>, resolver: Resolver, now: Instant) {
        let is_named = servers.iter().any(|server| server.address().is_none());
        if servers == self.servers && (!is_named || self.resolver.as_ref() == Some(&resolver)) {
            return;
        }
        (self.servers, self.resolver) = (servers, Some(resolver));
        (self.asked, self.lookup, self.socket) = (0, None, None);
        self.due = (!self.servers.is_empty()).then_some(now);
        self.since.get_or_insert(now);
    }

    /// Whether the agent may start.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.done || self.servers.is_empty() || self.since.is_none_or(|since| now >= since + LIMIT)
    }

    pub fn due(&self) -> Option<Instant> {
        let limit = self.since.map(|since| since + LIMIT).filter(|_| !self.done);
        let next = self.lookup.as_ref().map(Lookup::due).or(self.due);
        next.into_iter().chain(limit.filter(|limit| *limit > Instant::now())).min()
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).into_iter().chain(self.lookup.as_ref().and_then(Lookup::fd))
    }

    /// A connection to a name server that waits to be writable.
    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.lookup.as_ref().and_then(Lookup::writable)
    }

    pub fn turn(&mut self, now: Instant) {
        self.hear(now);
        self.find(now);
        if self.lookup.is_some() || self.due.is_none_or(|due| now < due) {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        self.wait_from(now);
        let index = usize::try_from(self.asked - 1).unwrap_or(0).checked_rem(self.servers.len()).unwrap_or(0);
        let result = match (self.servers.get(index), &self.resolver) {
            (Some(Host::Address(address)), _) => self.ask(*address),
            (Some(Host::Name(name)), Some(resolver)) => resolver.look_up(name, now).map(|lookup| self.lookup = Some(lookup)),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.once.warn(format!("clock: cannot ask for the time: {error}"));
        }
    }

    /// Sets how long to wait for the answer before the next server is asked.
    fn wait_from(&mut self, now: Instant) {
        self.due = Some(now + if self.asked <= EAGER { AGAIN } else { FAILED_LATER });
    }

    fn find(&mut self, now: Instant) {
        let Some(lookup) = &mut self.lookup else { return };
        let found = lookup.turn(now);
        if found == Found::NothingYet {
            return;
        }
        self.lookup = None;
        self.wait_from(now);
        let result = match found {
            Found::Address(address) => self.ask(address).map_err(|error| error.to_string()),
            Found::Nothing(why) => Err(why),
            Found::NothingYet => Ok(()),
        };
        if let Err(why) = result {
            self.once.warn(format!("clock: cannot ask for the time: {why}"));
        }
    }

    fn ask(&mut self, server: IpAddr) -> io::Result<()> {
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?; // each question has a new port, so that late answers are not read
        socket.set_nonblocking(true)?;
        socket.connect(SocketAddr::new(server, sntp::PORT))?;
        self.cookie = random::number(self.resolver.as_ref().map_or(HwAddr([0; 6]), Resolver::mac));
        socket.send(&sntp::request(self.cookie))?;
        self.socket = Some(socket);
        Ok(())
    }

    fn hear(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut packet = [0; 128];
        let Ok(length) = socket.recv(&mut packet) else { return };
        let server = socket.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        match sntp::read(packet.get(..length).unwrap_or_default(), self.cookie, build_date::BUILT) {
            Ok(time) => {
                set(time, &server, self.done);
                Milestone::Clock.reached();
                (self.done, self.asked, self.socket) = (true, 0, None);
                self.due = Some(now + LATER);
            }
            Err(sntp::Rejected::NotOurs) => {}
            Err(why) => {
                log::warn!("clock: the answer of ntp {server} is not used: {why}");
                self.socket = None;
                self.due = Some(if self.servers.len() > 1 { now } else { now + FAILED_LATER });
            }
        }
    }
}

/// Half of the round trip is ignored, because certificates are not that exact.
fn set(time: Duration, server: &str, again: bool) {
    let was = UNIX_EPOCH.elapsed().unwrap_or_default();
    let off = time.abs_diff(was);
    if off < NOISE {
        if !again {
            log::info!("clock: agrees with ntp {server}");
        }
        return;
    }
    let value = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) };
    let direction = if time > was { "behind" } else { "ahead" };
    match clock_settime(ClockId::Realtime, value) {
        Ok(()) => log::info!("clock: set from ntp {server} (was {} s {direction})", off.as_secs_f64()),
        Err(error) => {
            log::warn!("clock: cannot be set from ntp {server} (was {} s {direction}): {error}", off.as_secs_f64());
        }
    }
}
