//! The machine's clock from the network: one step before the agent speaks TLS, then a look every now and then.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, UNIX_EPOCH};

use agent::milestones;
use cmdline::Arguments;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::lease::Lease;
use super::sntp;
use crate::clock;

/// How long the agent waits for a time before it starts with the one there is.
pub const LIMIT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(1);
/// RFC 4330, 10: not more often than this once the time is known, and slower when nobody answers.
const LATER: Duration = Duration::from_secs(1024);
const FAILED_LATER: Duration = Duration::from_secs(64);
/// Asked in turn; after so many questions without an answer it becomes slower.
const EAGER: u32 = 8;
/// Of the servers named.
const MOST: usize = 6;
/// Less is the network's noise: a clock that jumps about is worse than one that is a little wrong.
const NOISE: Duration = Duration::from_millis(250);

/// `ntp=` first, then what the network or `ipam=` says. Names are left to the resolver's turn: there is none here.
pub fn servers(arguments: &Arguments, lease: &Lease) -> Vec<IpAddr> {
    let named = arguments.ntp.iter().filter_map(|server| server.parse().ok());
    named.chain(lease.ntp.iter().copied()).take(MOST).collect()
}

#[derive(Default)]
pub struct TimeSync {
    servers: Vec<IpAddr>,
    socket: Option<UdpSocket>,
    cookie: u64,
    asked: u32,
    due: Option<Instant>,
    since: Option<Instant>,
    done: bool,
}

impl TimeSync {
    /// Begins, or goes on with another list of servers.
    pub fn begin(&mut self, servers: Vec<IpAddr>, now: Instant) {
        if servers == self.servers {
            return;
        }
        self.servers = servers;
        (self.asked, self.socket) = (0, None);
        self.due = (!self.servers.is_empty()).then_some(now);
        self.since.get_or_insert(now);
    }

    /// Whether nothing speaks against starting the agent.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.done || self.servers.is_empty() || self.since.is_none_or(|since| now >= since + LIMIT)
    }

    pub fn due(&self) -> Option<Instant> {
        let limit = self.since.map(|since| since + LIMIT).filter(|_| !self.done);
        self.due.into_iter().chain(limit.filter(|limit| *limit > Instant::now())).min()
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub fn turn(&mut self, now: Instant) {
        self.hear(now);
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        self.due = Some(now + if self.asked <= EAGER { AGAIN } else { FAILED_LATER });
        if let Err(error) = self.ask() {
            log::debug!("cannot ask for the time: {error}");
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let index = usize::try_from(self.asked - 1).unwrap_or(0).checked_rem(self.servers.len()).unwrap_or(0);
        let Some(server) = self.servers.get(index).copied() else { return Ok(()) };
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?; // a new port each time: late answers go nowhere
        socket.set_nonblocking(true)?;
        socket.connect(SocketAddr::new(server, sntp::PORT))?;
        let random = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
        self.cookie = random.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ u64::from(self.asked);
        socket.send(&sntp::request(self.cookie))?;
        self.socket = Some(socket);
        Ok(())
    }

    fn hear(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut packet = [0; 128];
        let Ok(length) = socket.recv(&mut packet) else { return };
        let server = socket.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
        match sntp::read(packet.get(..length).unwrap_or_default(), self.cookie, clock::BUILT) {
            Ok(time) => {
                set(time, &server, self.done);
                milestones::reached("clock");
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

/// Half a round trip is left out of account: no certificate is that exact.
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
