//! Numbers for transactions and questions, from the kernel's generator. An answer must repeat the number, so a host that
//! cannot see the question must not be able to guess it.

use std::time::{Duration, UNIX_EPOCH};

use cmdline::HwAddr;
use rustix::rand::{GetRandomFlags, getrandom};

pub enum Random {
    /// The kernel's generator. Until it is ready, the numbers at least differ between machines.
    Kernel(HwAddr),
    #[cfg(test)]
    Fixed(u64),
}

impl Random {
    pub fn of(mac: HwAddr) -> Self {
        Self::Kernel(mac)
    }

    pub fn next(&mut self) -> u32 {
        match self {
            Self::Kernel(mac) => (number(*mac) >> 32) as u32,
            #[cfg(test)]
            Self::Fixed(state) => {
                *state = state.wrapping_add(1);
                (mixed(*state) >> 32) as u32
            }
        }
    }

    /// The delay plus or minus a quarter, so that the machines of a rack do not all send at once after power-on.
    pub fn about(&mut self, delay: Duration) -> Duration {
        delay * (750 + self.next() % 501) / 1000
    }
}

/// A number that other hosts cannot guess, once the kernel's generator is ready. This never waits for it.
pub fn number(mac: HwAddr) -> u64 {
    kernel(GetRandomFlags::NONBLOCK).unwrap_or_else(|| stopgap(mac))
}

fn kernel(flags: GetRandomFlags) -> Option<u64> {
    let mut bytes = [0; 8];
    let length = getrandom(&mut bytes, flags).ok()?;
    (length == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

/// The randomness that the kernel has so far (Linux 5.6), the time, and the link's address.
fn stopgap(mac: HwAddr) -> u64 {
    let time = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64;
    kernel(GetRandomFlags::INSECURE).unwrap_or_default() ^ of_machine(time, mac)
}

fn of_machine(time: u64, mac: HwAddr) -> u64 {
    let HwAddr([a, b, c, d, e, f]) = mac;
    mixed(time ^ u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// One step of SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_come_from_the_kernel_and_not_from_the_clock() {
        let mac = HwAddr([2, 0, 0, 0, 0, 1]);
        assert!(kernel(GetRandomFlags::NONBLOCK).is_some(), "the generator of this host is ready");
        let numbers: BTreeSet<u64> = (0..1000).map(|_| number(mac)).collect();
        assert_eq!(numbers.len(), 1000);
    }

    #[test]
    fn machines_have_different_numbers_before_the_generator_is_ready() {
        let numbers: BTreeSet<u64> = (0..=255).map(|last| of_machine(1, HwAddr([2, 0, 0, 0, 0, last]))).collect();
        assert_eq!(numbers.len(), 256);
    }
}
