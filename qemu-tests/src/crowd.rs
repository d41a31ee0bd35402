//! How many virtual machines run at once, and which scenarios run side by side.

use std::sync::{Condvar, Mutex, PoisonError};

/// The most memory that one machine needs: its own, QEMU's, and that of its servers.
const MACHINE_BYTES: u64 = 1 << 30;
/// For a scenario that measures time, so no other one runs beside it.
pub const ALONE: usize = usize::MAX;

pub struct Crowd {
    machines: usize,
}

impl Crowd {
    /// One machine for each core and one more, because machines also wait. Fewer if memory is short.
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
        Self { machines: at_once(cores, available) }
    }

    pub fn machines(&self) -> usize {
        self.machines
    }

    /// Runs all items. `weight` is the number of machines of an item. If an item does not fit now, a smaller one may run
    /// first. Items that must run alone come last.
    pub fn run<T: Sync>(&self, items: &[T], weight: impl Fn(&T) -> usize + Sync, work: impl Fn(&T) + Sync) {
        let (alone, together): (Vec<&T>, Vec<&T>) = items.iter().partition(|item| weight(item) == ALONE);
        let weight = |item: &T| weight(item).min(self.machines);
        let state = Mutex::new((together, 0));
        let changed = Condvar::new();
        let next = || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let (queue, used) = &mut *state;
                if queue.is_empty() {
                    return None;
                }
                if let Some(place) = queue.iter().position(|item| *used + weight(item) <= self.machines) {
                    let item = queue.remove(place);
                    *used += weight(item);
                    return Some(item);
                }
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.machines {
                scope.spawn(|| {
                    while let Some(item) = next() {
                        work(item);
                        state.lock().unwrap_or_else(PoisonError::into_inner).1 -= weight(item);
                        changed.notify_all();
                    }
                });
            }
        });
        alone.into_iter().for_each(work);
    }
}

fn at_once(cores: usize, available: Option<u64>) -> usize {
    let by_memory = available.map_or(1, |bytes| usize::try_from(bytes / MACHINE_BYTES).unwrap_or(usize::MAX));
    (cores + 1).min(by_memory).max(1)
}

/// `MemAvailable` in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn cores_and_memory_limit_the_machines() {
        let gib = |count: u64| Some(count << 30);
        for (cores, memory, expected) in [(2, gib(20), 3), (8, gib(4), 4), (2, Some(1 << 20), 1), (4, None, 1)] {
            assert_eq!(at_once(cores, memory), expected, "{cores} cores, {memory:?}");
        }
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn everything_runs_once_within_the_limit_and_items_that_run_alone_are_last() {
        let (running, largest, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let weights = [ALONE, 1, 3, 2, 1, 9];
        Crowd { machines: 3 }.run(
            &weights,
            |weight| *weight,
            |weight| {
                let used = running.fetch_add((*weight).min(3), Ordering::SeqCst) + (*weight).min(3);
                largest.fetch_max(used, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub((*weight).min(3), Ordering::SeqCst);
                done.lock().unwrap().push(*weight);
            },
        );
        let mut done = done.into_inner().unwrap();
        assert_eq!(done.last(), Some(&ALONE));
        done.sort_unstable();
        assert_eq!(done, [1, 1, 2, 3, 9, ALONE]);
        assert!(largest.into_inner() <= 3);
    }
}
