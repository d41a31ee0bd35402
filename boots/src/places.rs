//! Places for requests of DHCP that wait for a lookup. Anybody can invent machines, so those that are not known have places of their own:
//! a flood of them takes none of the known machines' places.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use model::Mac;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many lookups of known machines wait at once. Further requests are dropped, and their clients ask again.
const KNOWN: usize = 128;
/// The same for machines that are not known, or not yet.
const STRANGERS: usize = 64;
/// How many machines with Hardware are remembered. More than this are known by and by.
const REMEMBERED: usize = 65_536;

#[derive(Debug)]
pub struct Places {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    seen: Mutex<HashSet<Mac>>,
}

/// No place is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    pub of_strangers: bool,
}

impl Busy {
    pub fn line(self, protocol: &str) -> String {
        let (count, who) = if self.of_strangers { (STRANGERS, " of unknown machines") } else { (KNOWN, "") };
        format!("{protocol}: more than {count} requests{who} wait for a lookup; dropping others")
    }
}

impl Default for Places {
    fn default() -> Self {
        let [known, strangers] = [KNOWN, STRANGERS].map(|count| Arc::new(Semaphore::new(count)));
        Self { known, strangers, seen: Mutex::default() }
    }
}

impl Places {
    /// A place of known machines or of others, until the permit is dropped.
    pub fn take(&self, is_known: bool) -> Result<OwnedSemaphorePermit, Busy> {
        let places = if is_known { &self.known } else { &self.strangers };
        Arc::clone(places).try_acquire_owned().map_err(|_| Busy { of_strangers: !is_known })
    }

    /// Whether the last lookup that had to wait has found Hardware.
    pub fn was_known(&self, mac: Mac) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&mac)
    }

    /// What a lookup that had to wait has found.
    pub fn remember(&self, mac: Mac, is_known: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_known {
            seen.remove(&mac);
        } else if seen.len() < REMEMBERED {
            seen.insert(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invented(number: usize) -> Mac {
        Mac::new([2, 1, 0, 0, (number >> 8) as u8, number as u8])
    }

    #[test]
    fn a_flood_of_invented_machines_leaves_the_places_of_known_ones() {
        let (places, known) = (Places::default(), Mac::new([2, 0, 0, 0, 0, 1]));
        places.remember(known, true);
        let flood: Vec<_> = (0..500).map(|number| places.take(places.was_known(invented(number)))).collect();
        assert_eq!(flood.iter().filter(|place| place.is_ok()).count(), STRANGERS);
        assert_eq!(flood.last().unwrap().as_ref().unwrap_err(), &Busy { of_strangers: true });
        assert!(places.take(places.was_known(known)).is_ok());
        places.remember(known, false);
        assert!(places.take(places.was_known(known)).is_err(), "its Hardware was deleted");
        drop(flood);
        assert!(places.take(false).is_ok(), "places come back");
    }

    #[test]
    fn only_so_many_machines_are_remembered() {
        let places = Places::default();
        for number in 0..REMEMBERED + 10 {
            places.remember(Mac::new([2, 0, 0, (number >> 16) as u8, (number >> 8) as u8, number as u8]), true);
        }
        assert_eq!(places.seen.lock().unwrap().len(), REMEMBERED);
    }
}
