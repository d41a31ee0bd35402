//! How many connections each client may have. A client that opens thousands stops no other one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

/// Of one client. A site behind NAT is one, and so are agents on this host.
pub const PER_CLIENT: usize = 16_384;
/// The most files of the process that are not connections of clients: the store, logs, downloads.
const RESERVED: usize = 1024;
/// A client that is refused gets one line in this time.
const QUIET: Duration = Duration::from_secs(60);
/// Clients that are remembered for that.
const REMEMBERED: usize = 1024;

/// The owner of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// An address, or an IPv6 network of 64 bits, because one host can have all its addresses.
    Address(IpAddr),
    /// A user of this host, by a Unix socket.
    User(u32),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(network)) => write!(out, "address={network}/64"),
            Self::Address(address) => write!(out, "address={address}"),
            Self::User(uid) => write!(out, "uid={uid}"),
        }
    }
}

/// Counts connections. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Places>);

#[derive(Debug)]
struct Places {
    open: Mutex<Open>,
    /// The most connections of one client.
    each: usize,
    /// The most of all clients together.
    all: usize,
    refused: [AtomicU64; 3],
}

#[derive(Debug, Default)]
struct Open {
    clients: HashMap<Client, usize>,
    total: usize,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Gate,
    client: Client,
}

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client has its share.
    Share,
    /// No place is left.
    Full,
    /// The process cannot open another file.
    Files,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::Share, Self::Full, Self::Files];

    /// The word of the metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Full => "full",
            Self::Files => "files",
        }
    }
}

/// A refused connection, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub client: Client,
    pub reason: Reason,
    own: usize,
    total: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, own, total, .. } = self;
        match self.reason {
            Reason::Share => write!(out, "{client} has {own} of {total} open connections; its further ones are closed"),
            Reason::Full | Reason::Files => {
                write!(out, "{client} is closed, because {total} connections are open; LimitNOFILE= of the service allows more")
            }
        }
    }
}

/// How many connections one client may have while this many places are free. It is at most half of what is free, so a new
/// client finds a place.
fn share(each: usize, free: usize) -> usize {
    each.min(free / 2)
}

/// The connections of a process that may open this many files.
fn places(files: usize) -> usize {
    files.saturating_sub((files / 8).min(RESERVED)).max(1)
}

/// The gate of this process: all its listeners share the limit of open files. The limit is read at the first use.
impl Default for Gate {
    fn default() -> Self {
        static OF_PROCESS: OnceLock<Gate> = OnceLock::new();
        let limit = || getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        OF_PROCESS.get_or_init(|| Self::with(PER_CLIENT, places(limit()))).clone()
    }
}

impl Gate {
    /// With this many places for each client.
    #[must_use]
    pub fn of(most: usize) -> Self {
        Self::with(most, usize::MAX)
    }

    fn with(each: usize, all: usize) -> Self {
        Self(Arc::new(Places { open: Mutex::default(), each, all, refused: Default::default() }))
    }

    /// A place, if the client has one left.
    ///
    /// # Errors
    /// If not. The refusal is counted.
    pub fn enter(&self, client: impl Into<Client>) -> Result<Pass, Refused> {
        let client = client.into();
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.clients.get(&client).copied().unwrap_or(0);
        if own >= share(self.0.each, self.0.all.saturating_sub(open.total)) {
            let reason = if own == 0 { Reason::Full } else { Reason::Share };
            self.count(reason);
            return Err(Refused { client, reason, own, total: open.total });
        }
        open.clients.insert(client, own + 1);
        open.total += 1;
        Ok(Pass { gate: self.clone(), client })
    }

    /// Counts a refusal.
    pub(super) fn count(&self, reason: Reason) {
        let [share, full, files] = &self.0.refused;
        let counter = match reason {
            Reason::Share => share,
            Reason::Full => full,
            Reason::Files => files,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections were refused, by reason.
    #[must_use]
    pub fn refused(&self) -> [(Reason, u64); 3] {
        let [share, full, files] = self.0.refused.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        [(Reason::Share, share), (Reason::Full, full), (Reason::Files, files)]
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.gate.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Entry::Occupied(mut own) = open.clients.entry(self.client) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Lets a line about each thing pass once a minute.
#[derive(Debug)]
pub struct Quiet<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Quiet<K> {
    /// Whether the line is due. Of a flood of things the first are shown.
    pub fn is_news(&self, about: K, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&about).is_some_and(|at| now.duration_since(*at) < QUIET) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.duration_since(*at) < QUIET);
        }
        said.len() < REMEMBERED && said.insert(about, now).is_none_or(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_places() {
        let gate = Gate::of(2);
        let first = gate.enter(ip("10.0.0.1"));
        let second = gate.enter(ip("::ffff:10.0.0.1"));
        assert!(first.is_ok() && second.is_ok());
        let refused = gate.enter(ip("10.0.0.1")).unwrap_err();
        assert_eq!(refused.to_string(), "address=10.0.0.1 has 2 of 2 open connections; its further ones are closed");
        assert!(gate.enter(ip("10.0.0.2")).is_ok(), "another client");
        drop(first);
        assert!(gate.enter(ip("10.0.0.1")).is_ok(), "a place is free again");
        drop(second);
        assert_eq!(gate.open(), 0);
        assert!(gate.0.open.lock().unwrap().clients.is_empty(), "nothing is kept of clients that have gone");
        assert_eq!(gate.refused(), [(Reason::Share, 1), (Reason::Full, 0), (Reason::Files, 0)]);
    }

    #[test]
    fn the_addresses_of_an_ipv6_host_are_one_client_and_so_are_the_processes_of_a_user() {
        let gate = Gate::of(1);
        let one = gate.enter(ip("2001:db8::1"));
        assert!(one.is_ok() && gate.enter(ip("2001:db8::2")).is_err() && gate.enter(ip("2001:db8:0:1::1")).is_ok());
        let user = gate.enter(Client::User(1000));
        assert!(user.is_ok() && gate.enter(Client::User(1000)).is_err() && gate.enter(Client::User(0)).is_ok());
    }

    #[test]
    fn however_many_connections_some_clients_open_a_new_client_finds_a_place() {
        for (files, clients) in [(1024, 1), (1024, 5), (20_000, 1), (20_000, 12), (1 << 20, 60)] {
            let gate = Gate::with(PER_CLIENT, places(files));
            let mut passes = Vec::new();
            for client in 0..clients {
                let flood = IpAddr::from([10, 0, 1, client]);
                while let Ok(pass) = gate.enter(flood) {
                    passes.push(pass);
                }
            }
            let few: Vec<_> = (0..5).map(|client| gate.enter(IpAddr::from([10, 0, 2, client]))).collect();
            assert!(few.iter().all(Result::is_ok), "{files} files, {clients} clients, {} connections", gate.open());
            assert!(gate.open() < files, "{files} files: {} connections", gate.open());
        }
        let full = Gate::with(PER_CLIENT, 1);
        let refused = full.enter(ip("10.0.0.1")).unwrap_err();
        assert!(refused.reason == Reason::Full && refused.to_string().contains("LimitNOFILE="), "{refused}");
    }

    #[test]
    fn each_thing_is_said_once_a_minute() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        assert!(quiet.is_news(1, now) && !quiet.is_news(1, now + QUIET / 2) && quiet.is_news(2, now));
        assert!(quiet.is_news(1, now + QUIET));
        assert!((10..9000).filter(|n| quiet.is_news(*n, now + QUIET)).count() <= REMEMBERED);
        assert!(quiet.is_news(3, now + 2 * QUIET), "a flood is forgotten");
    }
}
