//! Leases that all boots of a site share. A lease is written only over the version that this boots has seen, so no two of them
//! give one address to different machines.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::machine::Chain;
use futures_util::future::{BoxFuture, join_all};

use super::leases::{Lease, Leases, State};
use super::now;
use crate::machine::SourceError;

/// How often a lease is written again after another boots changed it, for the same machine.
const TRIES: usize = 3;
/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A lease in the store of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub lease: Lease,
    /// Later versions have higher numbers.
    pub version: u64,
}

/// What has happened to a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Stored),
    /// A person removed it.
    Gone(Stored),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It has this version now.
    Done(u64),
    /// Another writer was faster.
    Conflict,
}

pub type Answer<'a, T> = BoxFuture<'a, Result<T, SourceError>>;

/// The leases after a moment, one after the other.
pub trait Changes: Send {
    /// `None` ends the stream: list again.
    fn next(&mut self) -> Answer<'_, Option<Change>>;
}

/// The store of the site.
pub trait SharedLeases: fmt::Debug + Send + Sync + 'static {
    /// All leases, and the version up to which they are complete.
    fn list(&self) -> Answer<'_, (Vec<Stored>, u64)>;

    fn get(&self, address: Ipv4Addr) -> Answer<'_, Option<Stored>>;

    /// Writes it over the version that was seen. `None`: there was no lease of the address.
    fn put<'a>(&'a self, lease: &'a Lease, seen: Option<u64>) -> Answer<'a, Put>;

    fn watch(&self, after: u64) -> Answer<'_, Box<dyn Changes>>;
}

/// What became of a lease that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Yes,
    /// No server took it.
    No,
    /// Another boots has given the address to another machine.
    Taken,
}

#[derive(Debug)]
pub struct Site {
    shared: Arc<dyn SharedLeases>,
    versions: Mutex<HashMap<Ipv4Addr, u64>>,
    /// Whether the leases have been read once.
    is_read: AtomicBool,
    fails: AtomicBool,
}

impl Site {
    pub fn new(shared: Arc<dyn SharedLeases>) -> Self {
        Self { shared, versions: Mutex::default(), is_read: AtomicBool::new(false), fails: AtomicBool::new(false) }
    }

    /// Without the leases of the others no address can be offered.
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// Writes the leases, each for itself. The last one counts: the others are addresses that the client no longer uses.
    pub async fn write(&self, leases: &Mutex<Leases>, changed: &[Lease]) -> Written {
        let written = join_all(changed.iter().map(|lease| self.put(leases, lease))).await;
        written.last().copied().unwrap_or(Written::Yes)
    }

    async fn put(&self, leases: &Mutex<Leases>, lease: &Lease) -> Written {
        for _ in 0..TRIES {
            let seen = self.versions().get(&lease.address).copied();
            let current = match self.shared.put(lease, seen).await {
                Ok(Put::Done(version)) => {
                    self.works();
                    self.see(lease.address, version);
                    return Written::Yes;
                }
                Ok(Put::Conflict) => self.shared.get(lease.address).await,
                Err(error) => Err(error),
            };
            match current {
                Ok(None) => _ = self.versions().remove(&lease.address),
                Ok(Some(current)) => {
                    self.see(lease.address, current.version);
                    if current.lease.is_active(now()) && !current.lease.is_of_client_of(lease) {
                        held(leases).insert(current.lease);
                        return Written::Taken;
                    }
                }
                Err(error) => {
                    self.failed("write", &error);
                    return Written::No;
                }
            }
        }
        Written::No
    }

    /// Keeps the leases as the others change them. Never ends.
    pub async fn follow(&self, leases: &Mutex<Leases>, is_ours: impl Fn(Ipv4Addr) -> bool) {
        loop {
            if let Err(error) = self.read(leases, &is_ours).await {
                self.failed("read", &error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends with the stream of changes.
    async fn read(&self, leases: &Mutex<Leases>, is_ours: &impl Fn(Ipv4Addr) -> bool) -> Result<(), SourceError> {
        let (found, version) = self.shared.list().await?;
        let known: Vec<Lease> = held(leases).all().cloned().collect();
        for stored in found {
            self.take(leases, Change::Put(stored), is_ours);
        }
        if !self.is_read() {
            // What this boots kept in its file before it had a site.
            let own = known.into_iter().filter(|lease| !self.versions().contains_key(&lease.address));
            for lease in own.filter(|lease| lease.is_active(now())).collect::<Vec<_>>() {
                if self.put(leases, &lease).await == Written::No {
                    return Ok(()); // it was said
                }
            }
            self.is_read.store(true, Ordering::Relaxed);
            log::info!("DHCP: the leases of the pools are shared with the other boots of the site");
        }
        let mut changes = self.shared.watch(version).await?;
        self.works();
        while let Some(change) = changes.next().await? {
            self.take(leases, change, is_ours);
        }
        Ok(())
    }

    fn take(&self, leases: &Mutex<Leases>, change: Change, is_ours: &impl Fn(Ipv4Addr) -> bool) {
        let (Change::Put(stored) | Change::Gone(stored)) = &change;
        if !is_ours(stored.lease.address) || !self.see(stored.lease.address, stored.version) {
            return;
        }
        match change {
            Change::Put(stored) => held(leases).insert(stored.lease),
            Change::Gone(stored) => {
                self.versions().remove(&stored.lease.address);
                held(leases).insert(Lease { state: State::Released, until: now(), ..stored.lease });
            }
        }
    }

    /// Notes a version. False if a later one is known.
    fn see(&self, address: Ipv4Addr, version: u64) -> bool {
        let mut versions = self.versions();
        let known = versions.entry(address).or_default();
        let is_news = version > *known;
        *known = version.max(*known);
        is_news
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, u64>> {
        held(&self.versions)
    }

    fn failed(&self, doing: &str, error: &SourceError) {
        if !self.fails.swap(true, Ordering::Relaxed) {
            log::error!(
                "DHCP: cannot {doing} the leases that the boots of the site share; clients of the pools get no address until a \
                 server answers: {}",
                Chain(error)
            );
        }
    }

    fn works(&self) {
        if self.fails.swap(false, Ordering::Relaxed) {
            log::info!("DHCP: the leases of the site are read and written again");
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
