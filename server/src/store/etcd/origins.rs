//! Where the first writes of keys stood in their transactions, as far as this process knows. It is a cache: what is missing is
//! read from etcd.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::written::Origin;

/// A cache with more keys than this is emptied.
const MOST: usize = 1 << 17;

#[derive(Debug, Default)]
pub struct Origins(Mutex<HashMap<String, (u64, Origin)>>);

impl Origins {
    /// The key has this origin at a revision.
    pub fn note(&self, key: &str, modified: u64, origin: Origin) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(key) {
            Some(known) if known.0 <= modified => *known = (modified, origin),
            Some(_) => {} // a watch is behind a read
            None => {
                if known.len() >= MOST {
                    known.clear();
                }
                known.insert(key.to_owned(), (modified, origin));
            }
        }
    }

    pub fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The origin, if the key is known to have this revision.
    pub fn at(&self, key: &str, modified: u64) -> Option<Origin> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|known| known.0 == modified).map(|known| known.1)
    }
}
