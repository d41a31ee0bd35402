//! What a sender may send in a time: bytes that are read at all, and lines that become events. Pure.

use std::time::{Duration, Instant};

/// How often a sender's log says how many of its lines were dropped.
const SAYS: Duration = Duration::from_secs(1);

/// What one sender, or several together, may still send. Datagrams beyond it are dropped unread and counted.
#[derive(Debug)]
pub(super) struct Bytes {
    senders: usize,
    left: usize,
    at: Instant,
    dropped: u64,
    said: Option<Instant>,
}

impl Bytes {
    /// At once, and in a second. The logs keep no more of a machine.
    pub const BURST: usize = 4 << 20;
    pub const PER_SECOND: usize = 1 << 20;

    pub const fn of(senders: usize, now: Instant) -> Self {
        Self { senders, left: Self::BURST * senders, at: now, dropped: 0, said: None }
    }

    /// How long until so many bytes are there.
    pub fn lacks(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let passed = usize::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(usize::MAX);
        let each_second = Self::PER_SECOND * self.senders;
        let earned = passed.saturating_mul(each_second) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(Self::BURST * self.senders);
            self.at = now;
        }
        let missing = u64::try_from(bytes.checked_sub(self.left).filter(|missing| *missing > 0)?).unwrap_or(u64::MAX);
        Some(Duration::from_millis(missing.saturating_mul(1000) / each_second as u64 + 1))
    }

    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// How long until so many bytes can be taken. `None` if they are taken now.
    pub fn wait(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let lacks = self.lacks(bytes, now);
        if lacks.is_none() {
            self.spend(bytes);
        }
        lacks
    }

    pub fn drop_one(&mut self, now: Instant) {
        self.dropped += 1;
        self.said.get_or_insert(now);
    }

    /// `None` for a datagram that is dropped. Else how many were dropped before it, if the log shall say so now.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Option<u64> {
        if self.wait(bytes, now).is_some() {
            self.drop_one(now);
            return None;
        }
        if self.said.is_none_or(|said| now.saturating_duration_since(said) < SAYS) {
            return Some(0);
        }
        self.said = None;
        Some(std::mem::take(&mut self.dropped))
    }

    /// The dropped datagrams that no line has told.
    pub const fn untold(&self) -> u64 {
        self.dropped
    }
}

/// A share of the event stream, so that a flood does not push out the events of others.
#[derive(Debug)]
pub(super) struct Lines {
    most: u32,
    each_second: u32,
    left: u32,
    at: Instant,
    held_back: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The line passes, and this many were held back before it.
    After(u64),
    No,
}

impl Lines {
    /// How many lines of a sender become events: at once, and in a second. All lines go to the sink.
    pub const BURST: u32 = 500;
    pub const PER_SECOND: u32 = 100;

    pub const fn of(senders: u32, now: Instant) -> Self {
        let most = Self::BURST * senders;
        Self { most, each_second: Self::PER_SECOND * senders, left: most, at: now, held_back: 0 }
    }

    pub fn pass(&mut self, now: Instant) -> Pass {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let earned = u32::try_from(passed).unwrap_or(u32::MAX).saturating_mul(self.each_second) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.most);
            self.at = now;
        }
        if self.left == 0 {
            self.held_back += 1;
            return Pass::No;
        }
        self.left -= 1;
        Pass::After(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_a_bounded_part_of_the_event_stream() {
        let start = Instant::now();
        let mut share = Lines::of(1, start);
        let passed = (0..100_000).filter(|_| share.pass(start) == Pass::After(0)).count();
        assert_eq!(passed, Lines::BURST as usize);
        assert_eq!(share.pass(start + Duration::from_secs(1)), Pass::After(100_000 - u64::from(Lines::BURST)));
        let passed = (0..1000).filter(|_| share.pass(start + Duration::from_secs(1)) != Pass::No).count();
        assert_eq!(passed, Lines::PER_SECOND as usize - 1);
    }

    #[test]
    fn a_flood_of_bytes_is_dropped_unread_and_counted_once_a_second() {
        let start = Instant::now();
        let mut bytes = Bytes::of(1, start);
        let (mut taken, mut dropped, mut notes) = (0, 0, Vec::new());
        for millisecond in 0..10_000 {
            let now = start + Duration::from_millis(millisecond);
            for _ in 0..100 {
                match bytes.take(1000, now) {
                    None => dropped += 1,
                    Some(noted) => {
                        taken += 1000;
                        notes.extend((noted > 0).then_some(noted));
                    }
                }
            }
        }
        assert!((10 * Bytes::PER_SECOND..=10 * Bytes::PER_SECOND + Bytes::BURST).contains(&taken), "{taken}");
        assert!((8..=10).contains(&notes.len()), "one line a second: {notes:?}");
        let last = bytes.take(1000, start + Duration::from_secs(20)).unwrap();
        assert_eq!(notes.iter().sum::<u64>() + last, dropped, "each dropped line is counted");
        assert_eq!(bytes.take(1000, start + Duration::from_secs(30)), Some(0));
    }

    #[test]
    fn a_connection_waits_until_its_sender_has_earned_its_bytes() {
        let start = Instant::now();
        let mut bytes = Bytes::of(1, start);
        assert_eq!(bytes.wait(Bytes::BURST, start), None);
        let wait = bytes.wait(Bytes::PER_SECOND / 2, start).unwrap();
        assert!((500..=502).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(bytes.wait(Bytes::PER_SECOND / 2, start + wait), None);
        assert_eq!(bytes.take(Bytes::PER_SECOND, start + wait), None, "datagrams have the same share");
    }
}
