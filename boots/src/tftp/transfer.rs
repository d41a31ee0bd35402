//! One transfer as a state machine: packets and timeouts in, blocks to send out. Pure: it sees only the file's size.

use std::ops::Range;

use super::request::Agreed;

/// Retransmissions of one window before the transfer ends.
const PATIENCE: u32 = 7;

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
    timeouts: u32,
    resent: bool,
}

impl Transfer {
    #[must_use]
    pub fn new(agreed: &Agreed, size: u64) -> Self {
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
            timeouts: 0,
            resent: false,
        }
    }

    pub fn start(&mut self) -> Step {
        if self.with_options { Step::SendOptions } else { self.next_window(0) }
    }

    /// An acknowledgement names the last block received in order. Numbers wrap at 65536, because a file may have more
    /// blocks.
    pub fn on_ack(&mut self, block: u16) -> Step {
        let Some(base) = self.acknowledged else {
            return if block == 0 { self.next_window(0) } else { Step::Wait };
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
            return self.next_window(named);
        }
        // The same number again says that the window's first block got lost (RFC 7440). Without windows, an answer would
        // double every later packet (the Sorcerer's Apprentice bug), so the timer decides.
        if self.window == 1 || self.resent {
            return Step::Wait;
        }
        self.resent = true;
        Step::Send(base + 1..self.sent + 1)
    }

    pub fn on_timeout(&mut self) -> Step {
        self.timeouts += 1;
        if self.timeouts > PATIENCE {
            return Step::GiveUp;
        }
        match self.acknowledged {
            None => Step::SendOptions,
            Some(base) => Step::Send(base + 1..self.sent + 1),
        }
    }

    /// Timeouts in a row. Each is longer than the one before.
    #[must_use]
    pub fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// Where a block is in the file.
    #[must_use]
    pub fn bytes_of(&self, block: u64) -> Range<u64> {
        let start = block.saturating_sub(1).saturating_mul(self.block).min(self.size);
        start..start.saturating_add(self.block).min(self.size)
    }

    fn next_window(&mut self, acknowledged: u64) -> Step {
        self.acknowledged = Some(acknowledged);
        self.sent = (acknowledged + self.window).min(self.last);
        (self.timeouts, self.resent) = (0, false);
        Step::Send(acknowledged + 1..self.sent + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::agree;
    use super::*;

    fn transfer(options: &[(&str, &str)], size: u64) -> Transfer {
        Transfer::new(&agree(options, size), size)
    }

    #[test]
    fn a_plain_transfer_goes_block_by_block() {
        let mut transfer = transfer(&[], 1000);
        assert_eq!(transfer.start(), Step::Send(1..2));
        assert_eq!(transfer.on_ack(1), Step::Send(2..3));
        assert_eq!((transfer.bytes_of(1), transfer.bytes_of(2)), (0..512, 512..1000));
        assert_eq!(transfer.on_ack(2), Step::Done);
    }

    #[test]
    fn a_file_of_whole_blocks_ends_with_an_empty_one() {
        let mut transfer = transfer(&[], 512);
        transfer.start();
        assert_eq!(transfer.on_ack(1), Step::Send(2..3));
        assert!(transfer.bytes_of(2).is_empty());
        assert_eq!(transfer.on_ack(2), Step::Done);
        let mut empty = self::transfer(&[], 0);
        assert_eq!((empty.start(), empty.bytes_of(1)), (Step::Send(1..2), 0..0));
        assert_eq!(empty.on_ack(1), Step::Done);
    }

    #[test]
    fn options_are_acknowledged_first() {
        let mut transfer = transfer(&[("blksize", "1000")], 1500);
        assert_eq!(transfer.start(), Step::SendOptions);
        assert_eq!(transfer.on_ack(7), Step::Wait);
        assert_eq!(transfer.on_timeout(), Step::SendOptions);
        assert_eq!(transfer.on_ack(0), Step::Send(1..2));
        assert_eq!(transfer.on_ack(0), Step::Wait, "a duplicate does not send twice");
    }

    #[test]
    fn a_window_continues_where_the_client_is() {
        let mut transfer = transfer(&[("windowsize", "4"), ("blksize", "512")], 512 * 9);
        transfer.start();
        assert_eq!(transfer.on_ack(0), Step::Send(1..5));
        assert_eq!(transfer.on_ack(2), Step::Send(3..7), "block 3 got lost");
        assert_eq!(transfer.on_ack(2), Step::Send(3..7), "block 3 got lost again");
        assert_eq!(transfer.on_ack(2), Step::Wait, "now the timer decides");
        assert_eq!(transfer.on_timeout(), Step::Send(3..7));
        assert_eq!(transfer.on_ack(1), Step::Wait, "a delayed one");
        assert_eq!(transfer.on_ack(6), Step::Send(7..11));
        assert_eq!(transfer.on_ack(10), Step::Done);
    }

    #[test]
    fn block_numbers_wrap() {
        let mut transfer = transfer(&[("blksize", "8")], 8 * 200_000);
        transfer.start();
        let mut step = transfer.on_ack(0);
        for block in 1..=200_000_u64 {
            assert_eq!(step, Step::Send(block..block + 1));
            step = transfer.on_ack(block as u16);
        }
        assert_eq!(step, Step::Send(200_001..200_002));
        assert_eq!(transfer.on_ack(200_001_u64 as u16), Step::Done);
    }

    #[test]
    fn a_silent_client_is_given_up() {
        let mut transfer = transfer(&[], 10);
        transfer.start();
        for _ in 0..PATIENCE {
            assert_eq!(transfer.on_timeout(), Step::Send(1..2));
        }
        assert_eq!(transfer.on_timeout(), Step::GiveUp);
    }
}
