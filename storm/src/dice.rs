//! Repeatable random choices (splitmix64).

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The dice of one machine. Machines of one run differ, and so do runs with other seeds.
    #[must_use]
    pub fn of_machine(seed: u64, number: u32) -> Self {
        let mut dice = Self(seed ^ (u64::from(number) << 32 | u64::from(number)));
        dice.roll();
        dice
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A transaction number.
    pub fn xid(&mut self) -> u32 {
        (self.roll() >> 32) as u32
    }

    /// The time with a tenth more or less, so that machines do not stay in step.
    pub fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.9 + 0.2 * self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_choices_and_machines_differ() {
        let rolls = |seed, number| {
            let mut dice = Dice::of_machine(seed, number);
            [dice.roll(), dice.roll()]
        };
        assert_eq!(rolls(7, 1), rolls(7, 1));
        assert!(rolls(7, 1) != rolls(7, 2) && rolls(7, 1) != rolls(8, 1));
        let mut dice = Dice::new(1);
        assert!((0..1000).map(|_| dice.share()).all(|share| (0.0..1.0).contains(&share)));
        let time = dice.about(Duration::from_secs(10));
        assert!((9.0..=11.0).contains(&time.as_secs_f64()));
    }
}
