//! Every processor does the same work again and again. A result that differs is an error of the processor or of its cache.

use super::{Found, pattern};
use crate::json::Object;
use sha2::{Digest, Sha256};
use std::thread;
use std::time::{Duration, Instant};

/// Fits into the caches next to the processor.
const WORDS: u64 = 4096;
const THREADS_MAX: usize = 1024;

pub fn test(duration: Duration) -> Found {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let expected = work();
    let end = Instant::now() + duration;
    let results: Vec<(u64, u64)> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, || repeat(&expected, end)).ok()).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or((0, 1))).collect()
    });
    let rounds: u64 = results.iter().map(|(rounds, _)| rounds).sum();
    let errors: u64 = results.iter().map(|(_, errors)| errors).sum();
    let json = Object::default().plain("threads", results.len()).plain("rounds", rounds).plain("errors", errors).render();
    let failures = if errors > 0 { vec![format!("the processors computed {errors} wrong results")] } else { Vec::new() };
    Found { name: "cpu", json, failures }
}

/// How often it was done, and how often the result was another one.
fn repeat(expected: &[u8], end: Instant) -> (u64, u64) {
    let (mut rounds, mut errors) = (0, 0);
    while Instant::now() < end {
        errors += u64::from(work() != expected);
        rounds += 1;
    }
    (rounds, errors)
}

/// Integers, floating-point numbers and a hash over both.
fn work() -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut sum = 0.0f64;
    for place in 0..std::hint::black_box(WORDS) {
        let word = pattern(1, place);
        sum = (sum + (word >> 11) as f64).sqrt() * 1.5 + sum / 3.0;
        hash.update(word.to_le_bytes());
    }
    hash.update(sum.to_le_bytes());
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_result_is_counted() {
        let end = Instant::now() + Duration::from_millis(50);
        let (rounds, errors) = repeat(&work(), end);
        assert!(rounds > 0 && errors == 0);
        let (rounds, errors) = repeat(b"another", Instant::now() + Duration::from_millis(50));
        assert_eq!(rounds, errors);
    }
}
