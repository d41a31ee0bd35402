//! A part of the free memory is filled with patterns, and read again. This is the one action that uses much memory, because that
//! is its purpose.

use super::{Found, megabytes_per_second, pattern, too_slow};
use crate::json::Object;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

const WORD: u64 = 8;
/// A thread looks at the time after so many words.
const BLOCK: usize = 128 << 10;
const THREADS_MAX: usize = 64;

type Pattern = fn(u64, u64) -> u64;
const PATTERNS: [Pattern; 4] = [
    |_, place| place,
    |_, place| !place,
    |seed, place| if (place ^ seed) & 1 == 0 { 0x5555_5555_5555_5555 } else { 0xaaaa_aaaa_aaaa_aaaa },
    pattern,
];

pub fn test(duration: Duration, percent: u32, limit: Option<u64>) -> Found {
    let bytes = available() / 100 * u64::from(percent);
    let mut memory: Vec<u64> = Vec::new();
    let words = usize::try_from(bytes / WORD).unwrap_or(usize::MAX);
    if words == 0 || memory.try_reserve_exact(words).is_err() {
        let failure = format!("{bytes} bytes of memory, {percent} % of what is free, could not be taken");
        return Found { name: "memory", json: "{}".to_owned(), failures: vec![failure] };
    }
    memory.resize(words, 0);
    let (passes, moved, wrong, took) = fill(&mut memory, duration);
    let speed = megabytes_per_second(moved, took);
    let json = Object::default()
        .plain("bytes", bytes)
        .plain("passes", passes)
        .plain("errors", wrong)
        .plain("megabytes_per_second", speed)
        .render();
    let mut failures: Vec<String> = too_slow("memory", speed, limit).into_iter().collect();
    if wrong > 0 {
        failures.push(format!("{wrong} words of memory read as something else than was written"));
    }
    Found { name: "memory", json, failures }
}

/// Passes, bytes that were written or read, and words that were wrong. At least one pass begins, and the time ends it.
fn fill(memory: &mut [u64], duration: Duration) -> (u64, u64, u64, Duration) {
    let start = Instant::now();
    let end = start + duration;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let share = memory.len().div_ceil(threads).max(1);
    let (mut passes, mut moved, mut wrong) = (0, 0, 0);
    while Instant::now() < end {
        let kind = PATTERNS.get(passes as usize % PATTERNS.len()).copied().unwrap_or(pattern);
        let results: Vec<(u64, u64)> = thread::scope(|scope| {
            let parts = memory.chunks_mut(share).enumerate();
            let workers: Vec<_> =
                parts.map(|(number, part)| scope.spawn(move || pass(part, (number * share) as u64, kind, passes, end))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or((0, 1))).collect()
        });
        for (bytes, errors) in results {
            moved += bytes;
            wrong += errors;
        }
        passes += 1;
    }
    (passes, moved, wrong, start.elapsed())
}

fn pass(part: &mut [u64], first: u64, kind: Pattern, seed: u64, end: Instant) -> (u64, u64) {
    let mut written = 0;
    for block in part.chunks_mut(BLOCK) {
        if written > 0 && Instant::now() >= end {
            break;
        }
        for word in block.iter_mut() {
            *word = kind(seed, first + written as u64);
            written += 1;
        }
    }
    let part = black_box(part);
    let (mut wrong, mut place) = (0, first);
    for word in part.iter().take(written) {
        wrong += u64::from(*word != kind(seed, place));
        place += 1;
    }
    (written as u64 * WORD * 2, wrong)
}

fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_filled_and_read_again() {
        let mut memory = vec![0; 300_000];
        let (passes, moved, wrong, _) = fill(&mut memory, Duration::from_millis(100));
        assert!(passes > 0 && moved > 0 && wrong == 0);
        assert!(memory.iter().any(|word| *word != 0));
    }
}
