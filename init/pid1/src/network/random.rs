//! SplitMix64. Transactions have to differ between machines, and need not be secret. The kernel's pool may still be empty.

use std::time::{Duration, UNIX_EPOCH};

pub struct Random(u64);

/// The time: another one at each call.
pub fn seed() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    /// A quarter more or less, so that the machines of a rack do not all send at once when it is switched on.
    pub fn about(&mut self, delay: Duration) -> Duration {
        delay * (750 + self.next() % 501) / 1000
    }
}
