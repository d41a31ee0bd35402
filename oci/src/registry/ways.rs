//! Remembers which registries use TLS, among those that may be used without it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// For this long a registry that answered over TLS is not tried in plain text, and the reverse.
const SETTLED_FOR: Duration = Duration::from_secs(300);
/// How many registries are remembered.
const MOST: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tls,
    Plain,
}

#[derive(Debug, Default)]
pub struct Ways(Mutex<HashMap<String, (Way, Option<Instant>)>>);

impl Ways {
    pub fn settled(&self, registry: &str, now: Instant) -> Option<Way> {
        let known = self.0.lock().ok()?.get(registry).copied()?;
        let (way, since) = (known.0, known.1?);
        (now.saturating_duration_since(since) < SETTLED_FOR).then_some(way)
    }

    /// Records the way. Returns whether it is new for the registry.
    pub fn settle(&self, registry: &str, way: Way, now: Instant) -> bool {
        let Ok(mut known) = self.0.lock() else { return false };
        if known.len() >= MOST && !known.contains_key(registry) {
            known.clear();
        }
        known.insert(registry.to_owned(), (way, Some(now))).is_none_or(|(before, _)| before != way)
    }

    /// Forgets the way, so that the next request finds it again.
    pub fn unsettle(&self, registry: &str) {
        if let Ok(mut known) = self.0.lock()
            && let Some((_, since)) = known.get_mut(registry)
        {
            *since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_remembered_for_a_while_and_a_change_is_reported() {
        let (ways, now) = (Ways::default(), Instant::now());
        assert_eq!(ways.settled("r", now), None);
        assert!(ways.settle("r", Way::Tls, now));
        assert!(!ways.settle("r", Way::Tls, now));
        assert_eq!(ways.settled("r", now + Duration::from_secs(299)), Some(Way::Tls));
        assert_eq!(ways.settled("r", now + SETTLED_FOR), None);
        ways.unsettle("r");
        assert_eq!(ways.settled("r", now), None);
        assert!(!ways.settle("r", Way::Tls, now), "the same way is not reported again");
        assert!(ways.settle("r", Way::Plain, now));
        for other in 0..MOST * 3 {
            ways.settle(&other.to_string(), Way::Plain, now);
        }
        assert!(ways.0.lock().unwrap().len() <= MOST);
    }
}
