//! Whether this process does its work: `/healthz` and `/readyz`. A probe that fails says why, one line for each reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::serve::Quiet;
use log::warn;
use machine::Chain;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::service::Server;
use crate::store::StoreError;

/// For the store to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// A write to the disk is not made for each probe.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Health {
    /// How often each listener is served; 0 is one that should be.
    listeners: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// When the store was last written for a probe, and why that failed.
    written: AsyncMutex<Option<(Instant, Option<String>)>>,
    /// Anyone can ask, and each answer has a line in the log.
    quiet: Quiet<&'static str>,
}

/// A listener that is served, until this is dropped.
pub struct Serving {
    listeners: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    name: &'static str,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = listeners.get_mut(self.name) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Server {
    /// The server is not ready before each of these is served.
    pub fn expect(&self, listeners: &[&'static str]) {
        let mut known = self.0.health.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for name in listeners {
            known.entry(*name).or_default();
        }
    }

    /// This listener is bound and served from now on.
    #[must_use]
    pub fn serving(&self, name: &'static str) -> Serving {
        let listeners = Arc::clone(&self.0.health.listeners);
        *listeners.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Serving { listeners, name }
    }

    /// Why the process should be started again; empty if it is well. A store of several servers is elsewhere.
    pub async fn ill(&self) -> Vec<String> {
        if self.0.store.is_shared() { Vec::new() } else { self.unreadable().await }
    }

    async fn unreadable(&self) -> Vec<String> {
        let read = timeout(LIMIT, self.0.store.get("/health")).await;
        self.read_problem(read.map(|found| found.map(drop))).into_iter().collect()
    }

    /// Why the server cannot do its work now; empty if it can.
    pub async fn unready(&self) -> Vec<String> {
        let mut reasons = self.unreadable().await;
        if reasons.is_empty() && self.0.store.is_shared() && !matches!(timeout(LIMIT, self.caught_up()).await, Ok(Ok(()))) {
            reasons.push("the view is behind the store".to_owned());
        }
        if *self.stopping().borrow() {
            reasons.push("the server is stopping".to_owned());
        }
        let listeners = self.0.health.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let missing = listeners.into_iter().filter(|(_, count)| *count == 0);
        reasons.extend(missing.map(|(name, _)| format!("{name} is not served")));
        if reasons.is_empty() {
            reasons.extend(self.unwritable().await);
        }
        reasons
    }

    async fn unwritable(&self) -> Option<String> {
        let mut written = self.0.health.written.lock().await;
        if let Some((at, reason)) = &*written
            && at.elapsed() < FRESH
        {
            return reason.clone();
        }
        let reason = match timeout(LIMIT, self.0.store.probe()).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(self.logged("the store cannot be written", &reason)),
            Err(_) => Some(format!("the store has not written within {} s", LIMIT.as_secs())),
        };
        *written = Some((Instant::now(), reason.clone()));
        reason
    }

    fn read_problem(&self, read: Result<Result<(), StoreError>, Elapsed>) -> Option<String> {
        match read {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(self.logged("the store cannot be read", &reason)),
            Err(_) => Some(format!("the store has not answered within {} s", LIMIT.as_secs())),
        }
    }

    fn logged(&self, what: &'static str, reason: &StoreError) -> String {
        if self.0.health.quiet.is_news(what, std::time::Instant::now()) {
            warn!("{what}: {}", Chain(reason));
        }
        format!("{what}; the server's log says why")
    }
}

#[cfg(test)]
mod tests;
