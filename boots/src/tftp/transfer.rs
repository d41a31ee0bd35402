//! One transfer as a state machine: packets and time in, blocks to send out. Pure: it sees only the file's size.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::request::Agreed;

/// A client that acknowledges nothing new for so long is given up. One that asked for a long timeout gets more.
const SILENCE: Duration = Duration::from_secs(30);
/// The same before its first acknowledgement: many ROMs ask for the size and never come back.
const UNANSWERED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send the option acknowledgement.
    SendOptions,
    /// Send these blocks, counted from 1.
    Send(Range<u64>),
    /// Wait for the next packet.
    Wait,
    Done,
    GiveUp,
}

#[derive(Debug)]
pub struct Transfer {
    block: u64,
    window: u64,
    /// The number of the last block, which is shorter than the others and may be empty.
    last: u64,
    size: u64,
    with_options: bool,
    /// Acknowledged up to this block; `None` until the options are acknowledged.
    acknowledged: Option<u64>,
    sent: u64,
    pace: Pace,
    silence: Duration,
    /// When something was sent last, and whether it was new: only that measures a round trip (RFC 6298 section 3).
    sent_at: Instant,
    was_new: bool,
    /// When the client acknowledged something new.
    progress_at: Instant,
    timeouts: u32,
    resent: bool,
}

impl Transfer {
    #[must_use]
    pub fn new(agreed: &Agreed, size: u64, now: Instant) -> Self {
        let block = u64::from(agreed.block.max(1));
        let with_options = !agreed.acknowledged.is_empty();
        Self {
            block,
            window: u64::from(agreed.window.max(1)),
            last: size / block + 1,
            size,
            with_options,
            acknowledged: (!with_options).then_some(0),
            sent: 0,
            pace: Pace::new(agreed.timeout),
            silence: SILENCE.max(agreed.timeout * 8),
            sent_at: now,
            was_new: true,
            progress_at: now,
            timeouts: 0,
            resent: false,
        }
    }

    pub fn start(&mut self) -> Step {
        if self.with_options { Step::SendOptions } else { self.next_window(0, self.sent_at) }
    }

    /// An acknowledgement names the last block received in order. Numbers wrap at 65536, because a file may have more
    /// blocks.
    pub fn on_ack(&mut self, block: u16, now: Instant) -> Step {
        let Some(base) = self.acknowledged else {
            return if block == 0 { self.next_window(0, now) } else { Step::Wait };
        };
        let ahead = u64::from(block.wrapping_sub(base as u16)); // as: the wire has the low half
        let named = base + ahead;
        if named > self.sent {
            return Step::Wait; // of an earlier window, delayed
        }
        if named == self.last {
            return Step::Done;
        }
        if ahead > 0 {
            return self.next_window(named, now);
        }
        // The same number again says that the window's first block got lost (RFC 7440). Without windows, an answer would
        // double every later packet (the Sorcerer's Apprentice bug), so the timer decides. Some clients complain about
        // each packet behind a gap, so a second answer has to wait for a round trip.
        let is_early = now < self.sent_at + self.pace.round_trip();
        if self.window == 1 || self.resent && is_early {
            return Step::Wait;
        }
        self.resent = true;
        self.again(base, now)
    }

    /// At the `deadline`.
    pub fn on_timeout(&mut self, now: Instant) -> Step {
        let silence = if self.is_answered() { self.silence } else { UNANSWERED };
        if now.saturating_duration_since(self.progress_at) >= silence {
            return Step::GiveUp;
        }
        self.timeouts += 1;
        match self.acknowledged {
            None => {
                (self.sent_at, self.was_new) = (now, false);
                Step::SendOptions
            }
            Some(base) => self.again(base, now),
        }
    }

    /// When the wait for an acknowledgement ends. Each wait in vain is followed by a longer one.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.sent_at + self.pace.wait(self.timeouts)
    }

    /// Whether the client has acknowledged anything, so its address is not invented.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.acknowledged.is_some_and(|block| block > 0 || self.with_options)
    }

    /// Whether the client has taken the options and none of the file.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.acknowledged == Some(0)
    }

    /// The bytes of a block.
    #[must_use]
    pub fn block(&self) -> usize {
        usize::try_from(self.block).unwrap_or(0)
    }

    /// The number of the last block.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Where a block is in the file.
    #[must_use]
    pub fn bytes_of(&self, block: u64) -> Range<u64> {
        let start = block.saturating_sub(1).saturating_mul(self.block).min(self.size);
        start..start.saturating_add(self.block).min(self.size)
    }

    fn next_window(&mut self, acknowledged: u64, now: Instant) -> Step {
        let is_answer = self.acknowledged.is_none() || acknowledged > 0;
        if is_answer && self.was_new && acknowledged == self.sent {
            self.pace.measured(now.saturating_duration_since(self.sent_at));
        }
        let sent = (acknowledged + self.window).min(self.last);
        self.acknowledged = Some(acknowledged);
        (self.was_new, self.sent) = (sent > self.sent, sent);
        (self.sent_at, self.progress_at) = (now, now);
        (self.timeouts, self.resent) = (0, false);
        Step::Send(acknowledged + 1..sent + 1)
    }

    fn again(&mut self, base: u64, now: Instant) -> Step {
        (self.sent_at, self.was_new) = (now, false);
        Step::Send(base + 1..self.sent + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::agree;
    use super::*;

    fn transfer(options: &[(&str, &str)], size: u64) -> (Transfer, Instant) {
        let now = Instant::now();
        (Transfer::new(&agree(options, size, 1468), size, now), now)
    }

    #[test]
    fn a_plain_transfer_goes_block_by_block() {
        let (mut transfer, now) = transfer(&[], 1000);
        assert_eq!(transfer.start(), Step::Send(1..2));
        assert!(!transfer.is_answered());
        assert_eq!(transfer.on_ack(1, now), Step::Send(2..3));
        assert_eq!((transfer.bytes_of(1), transfer.bytes_of(2)), (0..512, 512..1000));
        assert!(transfer.is_answered());
        assert_eq!(transfer.on_ack(2, now), Step::Done);
    }

    #[test]
    fn a_file_of_whole_blocks_ends_with_an_empty_one() {
        let (mut transfer, now) = transfer(&[], 512);
        transfer.start();
        assert_eq!(transfer.on_ack(1, now), Step::Send(2..3));
        assert!(transfer.bytes_of(2).is_empty());
        assert_eq!(transfer.on_ack(2, now), Step::Done);
        let (mut empty, now) = self::transfer(&[], 0);
        assert_eq!((empty.start(), empty.bytes_of(1)), (Step::Send(1..2), 0..0));
        assert_eq!(empty.on_ack(1, now), Step::Done);
    }

    #[test]
    fn options_are_acknowledged_first() {
        let (mut transfer, now) = transfer(&[("blksize", "1000")], 1500);
        assert_eq!(transfer.start(), Step::SendOptions);
        assert_eq!(transfer.on_ack(7, now), Step::Wait);
        assert_eq!(transfer.on_timeout(now), Step::SendOptions);
        assert_eq!(transfer.on_ack(0, now), Step::Send(1..2));
        assert_eq!(transfer.on_ack(0, now), Step::Wait, "a duplicate does not send twice");
    }

    #[test]
    fn a_window_continues_where_the_client_is() {
        let (mut transfer, start) = transfer(&[("windowsize", "4"), ("blksize", "512")], 512 * 9);
        let at = |ms| start + Duration::from_millis(ms);
        transfer.start();
        assert_eq!(transfer.on_ack(0, at(2)), Step::Send(1..5));
        assert_eq!(transfer.on_ack(2, at(4)), Step::Send(3..7), "block 3 got lost");
        assert_eq!(transfer.on_ack(2, at(4)), Step::Send(3..7), "block 3 got lost again");
        assert_eq!(transfer.on_ack(2, at(5)), Step::Wait, "a complaint about the same");
        assert_eq!(transfer.on_ack(2, at(7)), Step::Send(3..7), "a round trip later it is a new one");
        assert_eq!(transfer.on_timeout(at(40)), Step::Send(3..7));
        assert_eq!(transfer.on_ack(1, at(40)), Step::Wait, "a delayed one");
        assert_eq!(transfer.on_ack(6, at(41)), Step::Send(7..11));
        assert_eq!(transfer.on_ack(10, at(42)), Step::Done);
    }

    #[test]
    fn a_lost_packet_costs_milliseconds() {
        let (mut transfer, start) = transfer(&[("windowsize", "64")], 1 << 20);
        let at = |ms| start + Duration::from_millis(ms);
        transfer.start();
        assert_eq!(transfer.deadline(), at(250), "nothing is known of the client");
        transfer.on_ack(0, at(1));
        assert_eq!(transfer.deadline(), at(21));
        transfer.on_timeout(at(21));
        assert_eq!(transfer.deadline(), at(61), "the next wait is longer");
        transfer.on_ack(64, at(62));
        assert_eq!(transfer.deadline(), at(82), "an acknowledgement of what was sent twice measures nothing");
    }

    #[test]
    fn block_numbers_wrap() {
        let (mut transfer, now) = transfer(&[("blksize", "8")], 8 * 200_000);
        transfer.start();
        let mut step = transfer.on_ack(0, now);
        for block in 1..=200_000_u64 {
            assert_eq!(step, Step::Send(block..block + 1));
            step = transfer.on_ack(block as u16, now);
        }
        assert_eq!(step, Step::Send(200_001..200_002));
        assert_eq!(transfer.on_ack(200_001_u64 as u16, now), Step::Done);
    }

    #[test]
    fn a_silent_client_is_given_up() {
        for (case, options, acks, seconds) in [
            ("one that never answers", &[][..], 0, 10..16),
            ("one that answered", &[], 1, 30..36),
            ("one that asked for time", &[("timeout", "10")], 0, 10..16),
            ("one that asked for time and answered", &[("timeout", "10")], 1, 80..91),
        ] {
            let (mut transfer, start) = transfer(options, 1000);
            transfer.start();
            if acks > 0 {
                transfer.on_ack(if options.is_empty() { 1 } else { 0 }, start);
            }
            let mut tries = 0;
            while transfer.on_timeout(transfer.deadline()) != Step::GiveUp {
                tries += 1;
            }
            let took = (transfer.deadline() - start).as_secs();
            assert!(seconds.contains(&took) && tries < 20, "{case}: {took} s, {tries} tries");
        }
    }
}
