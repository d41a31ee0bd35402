//! Which link leads to the server. Each link with an address tries it, and the best one is used.

mod choice;
mod connect;
pub mod dns;
mod lookup;
mod probe;
mod stream;
mod way;

use std::time::{Duration, Instant};

use cmdline::Arguments;

pub use choice::{Candidate, Rank, Reach};
pub use lookup::{Found, Lookup, Resolver};
pub use probe::Target;
pub use way::{Looked, Way};

/// How often a machine without network reports what it waits for, and checks its links without an event.
const STATUS: Duration = Duration::from_secs(5);
/// A network without carrier for longer than this has ended, if another link may have one.
const DARK: Duration = Duration::from_secs(5);

/// The search for the link to use, and its result so far.
pub struct Search {
    /// The servers, any of which is enough.
    targets: Vec<Target>,
    since: Instant,
    next_status: Instant,
    /// When the first link got an address.
    first_lease: Option<Instant>,
    used: Option<u32>,
    /// Whether the search is over: the used link leads to the server, or no server is known.
    settled: bool,
    dark_since: Option<Instant>,
}

/// The interface index of the link to use from now on, and of the one used before.
pub struct Chosen {
    pub index: u32,
    pub before: Option<u32>,
}

impl Search {
    pub fn new(arguments: &Arguments, now: Instant) -> Self {
        Self {
            targets: Target::all(arguments),
            since: now,
            next_status: now + STATUS,
            first_lease: None,
            used: None,
            settled: false,
            dark_since: None,
        }
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub fn used(&self) -> Option<u32> {
        self.used
    }

    pub fn is_settled(&self) -> bool {
        self.settled
    }

    pub fn got_address(&mut self, now: Instant) {
        self.first_lease.get_or_insert(now);
    }

    /// Whether there are links to choose from, and the choice is still open.
    pub fn is_open(&self) -> bool {
        !self.settled && self.first_lease.is_some()
    }

    /// Chooses the best link, as long as the used one does not lead to the server.
    pub fn choose(&mut self, asking: &[(u32, Candidate)], now: Instant) -> Option<Chosen> {
        let first = self.first_lease.filter(|_| !self.settled)?;
        let candidates: Vec<Candidate> = asking.iter().map(|(_, candidate)| *candidate).collect();
        let used = self.used.and_then(|used| asking.iter().position(|(index, _)| *index == used));
        let chosen = match used {
            None => choice::choose(&candidates, now.saturating_duration_since(first)),
            Some(used) => choice::better(&candidates, used),
        };
        let (index, candidate) = chosen.and_then(|at| asking.get(at)).copied()?;
        self.settled = candidate.leads_somewhere() || self.targets.iter().all(|target| !target.is_needed);
        Some(Chosen { index, before: self.used.replace(index) })
    }

    /// The used link is lost. `has_another` says that another link has an address.
    pub fn start_over(&mut self, has_another: bool, now: Instant) {
        (self.used, self.settled, self.dark_since) = (None, false, None);
        self.first_lease = has_another.then_some(now);
        (self.since, self.next_status) = (now, now + STATUS);
    }

    /// Whether the used link has been without carrier for too long. `is_lit` says that it has one now.
    pub fn is_dark(&mut self, is_lit: bool, now: Instant) -> bool {
        self.dark_since = if is_lit { None } else { self.dark_since.or(Some(now)) };
        self.dark_since.is_some_and(|since| now >= since + DARK)
    }

    /// How long the machine has been without network, if that must be reported now.
    pub fn waited(&mut self, now: Instant) -> Option<Duration> {
        if now < self.next_status {
            return None;
        }
        self.next_status = now + STATUS;
        self.used.is_none().then(|| now.saturating_duration_since(self.since))
    }

    pub fn due(&self, now: Instant) -> Option<Instant> {
        let waited = self.first_lease.map(|first| now.saturating_duration_since(first));
        let choice = waited.and_then(choice::next).map(|rest| now + rest);
        let unused = choice.into_iter().chain([self.next_status]).min().filter(|_| self.used.is_none());
        let dark = self.dark_since.map(|since| since + DARK).filter(|due| *due > now);
        unused.into_iter().chain(dark).min()
    }
}
