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

/// Allows so many events a second on average, and as many at once.
#[derive(Debug)]
pub struct Rate {
    each_second: u32,
    left: f64,
    last: Instant,
}

impl Rate {
    pub fn new(each_second: u32, now: Instant) -> Self {
        Self { each_second, left: f64::from(each_second), last: now }
    }

    pub fn allows(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.last).as_secs_f64() * f64::from(self.each_second);
        (self.left, self.last) = ((self.left + passed).min(f64::from(self.each_second)), now);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

/// The same for each key. Of more keys than there is room for, the new ones are allowed nothing.
#[derive(Debug)]
pub struct Rates<K> {
    each_second: u32,
    rates: HashMap<K, Rate>,
}

impl<K: Eq + Hash> Rates<K> {
    pub fn new(each_second: u32) -> Self {
        Self { each_second, rates: HashMap::new() }
    }

    pub fn allows(&mut self, key: K, now: Instant) -> bool {
        if self.rates.len() >= KEYS && !self.rates.contains_key(&key) {
            // After a second a rate is as a new one.
            self.rates.retain(|_, rate| now.duration_since(rate.last) < Duration::from_secs(1));
            if self.rates.len() >= KEYS {
                return false;
            }
        }
        self.rates.entry(key).or_insert_with(|| Rate::new(self.each_second, now)).allows(now)
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

impl<K: Eq + Hash> Quota<K> {
    /// Whether all places are taken, whoever has them.
    pub fn is_full(&self) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).values().sum::<usize>() >= self.all
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
    fn a_rate_allows_a_burst_and_then_so_many_a_second() {
        let (start, mut rate) = (Instant::now(), Rate::new(10, Instant::now()));
        let allowed = |rate: &mut Rate, at: u64| (0..100).filter(|_| rate.allows(start + Duration::from_millis(at))).count();
        assert_eq!([allowed(&mut rate, 1), allowed(&mut rate, 501), allowed(&mut rate, 60_000)], [10, 5, 10]);
    }

    #[test]
    fn each_key_has_its_rate_and_a_flood_of_keys_is_bounded() {
        let (start, mut rates) = (Instant::now(), Rates::new(4));
        assert_eq!((0..100).filter(|_| rates.allows(0, start)).count(), 4);
        assert!(rates.allows(1, start), "another one's rate is its own");
        let allowed = (2..5000).filter(|key| rates.allows(*key, start)).count();
        assert!(allowed < KEYS, "{allowed}");
        assert!(rates.rates.len() <= KEYS, "{}", rates.rates.len());
        assert!(!rates.allows(9999, start) && rates.allows(9999, start + Duration::from_secs(2)));
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
