//! How registries were found that may be spoken to with or without TLS.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A registry that has answered once over TLS is not asked in plain for so long, and one that did not is not asked for TLS.
const SETTLED_FOR: Duration = Duration::from_secs(300);
/// Registries remembered.
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

    /// Returns whether the registry was not known to be spoken to in this way.
    pub fn settle(&self, registry: &str, way: Way, now: Instant) -> bool {
        let Ok(mut known) = self.0.lock() else { return false };
        if known.len() >= MOST && !known.contains_key(registry) {
            known.clear();
        }
        known.insert(registry.to_owned(), (way, Some(now))).is_none_or(|(before, _)| before != way)
    }

    /// The next request finds out anew.
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
    fn a_way_is_remembered_for_a_while_and_reported_when_it_changes() {
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
