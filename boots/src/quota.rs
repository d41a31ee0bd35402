//! Limits on what clients can cause: how often one line is logged, and how much one client runs at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Allows one event for each key and interval.
#[derive(Debug)]
pub struct Seldom<K> {
    every: Duration,
    last: HashMap<K, Instant>,
}

const KEYS: usize = 1024;

impl<K: Eq + Hash> Seldom<K> {
    pub fn new(every: Duration) -> Self {
        Self { every, last: HashMap::new() }
    }

    pub fn allows(&mut self, key: K, now: Instant) -> bool {
        if self.last.get(&key).is_some_and(|&last| now.duration_since(last) < self.every) {
            return false;
        }
        if self.last.len() >= KEYS {
            let every = self.every;
            self.last.retain(|_, last| now.duration_since(*last) < every);
        }
        // If all keys are recent, this is a flood: a new key does not get a line.
        self.last.len() < KEYS && self.last.insert(key, now).is_none_or(|_| true)
    }
}

/// Counts what runs per key; a [`Ticket`] is one of them until it is dropped.
#[derive(Debug)]
pub struct Quota<K: Eq + Hash> {
    each: usize,
    all: usize,
    running: Arc<Mutex<HashMap<K, usize>>>,
}

#[derive(Debug)]
pub struct Ticket<K: Eq + Hash> {
    key: K,
    running: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash + Clone> Quota<K> {
    pub fn new(each: usize, all: usize) -> Self {
        Self { each, all, running: Arc::default() }
    }

    pub fn take(&self, key: K) -> Option<Ticket<K>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.values().sum::<usize>() >= self.all || running.get(&key).is_some_and(|&count| count >= self.each) {
            return None;
        }
        *running.entry(key.clone()).or_default() += 1;
        drop(running);
        Some(Ticket { key, running: Arc::clone(&self.running) })
    }
}

impl<K: Eq + Hash> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_key_and_interval() {
        let (start, mut seldom) = (Instant::now(), Seldom::new(Duration::from_secs(60)));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(seldom.allows("a", at(0)));
        assert!(!seldom.allows("a", at(59)));
        assert!(seldom.allows("b", at(59)));
        assert!(seldom.allows("a", at(60)));
        assert!(!seldom.allows("a", at(61)));
    }

    #[test]
    fn a_flood_of_keys_falls_silent_and_recovers() {
        let (start, mut seldom) = (Instant::now(), Seldom::new(Duration::from_secs(60)));
        assert_eq!((0..5000).filter(|&key| seldom.allows(key, start)).count(), KEYS);
        assert!(seldom.allows(9999, start + Duration::from_secs(61)));
    }

    #[test]
    fn a_client_and_all_clients_have_limits() {
        let quota = Quota::new(2, 3);
        let first = quota.take("a");
        let second = quota.take("a");
        assert!(first.is_some() && second.is_some());
        assert!(quota.take("a").is_none(), "two of one client");
        let other = quota.take("b");
        assert!(other.is_some());
        assert!(quota.take("c").is_none(), "three in all");
        drop(first);
        assert!(quota.take("c").is_some(), "a place was given back");
    }
}
