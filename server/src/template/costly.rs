//! Templates that have just used up their budget. Many workflows may wait for one template, and rendering it again for each
//! of them would delay all others.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gotemplate::Fault;

const PAUSE: Duration = Duration::from_secs(30);
const KEPT: usize = 64;

struct Costly {
    source: u64,
    until: Instant,
    fault: Fault,
}

static RECENT: Mutex<VecDeque<Costly>> = Mutex::new(VecDeque::new());

fn digest(source: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn remember(source: &str, fault: &Fault) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.truncate(KEPT - 1);
    recent.push_front(Costly { source: digest(source), until: Instant::now() + PAUSE, fault: fault.clone() });
}

/// The error of an attempt less than half a minute ago.
pub(super) fn recent(source: &str) -> Option<Fault> {
    let (source, now) = (digest(source), Instant::now());
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let found = recent.iter().find(|costly| costly.source == source && costly.until > now)?;
    let mut fault = found.fault.clone();
    fault.message.push_str(&format!("; it is not tried again for {} s", PAUSE.as_secs()));
    Some(fault)
}
