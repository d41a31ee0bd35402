//! A TFTP client that reads a file: RFC 1350 with the options that boot ROMs ask for (RFC 2348, 2349, 7440). Pure.

use crate::firmware::Firmware;

/// How often a packet is repeated before the firmware gives up. EDK2 does it six times.
const TRIES: u32 = 6;

/// One transfer. The content is counted and dropped.
#[derive(Debug, Clone)]
pub struct Transfer {
    request: Vec<u8>,
    block: usize,
    window: u64,
    /// The next block that is wanted, counted without end.
    next: u64,
    /// The last block that was acknowledged.
    acknowledged: u64,
    /// The block whose loss was reported.
    complained: u64,
    is_answered: bool,
    bytes: u64,
    tries: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    Nothing,
    /// All of it has come. The last packet is for the server.
    Whole {
        bytes: u64,
        last: Vec<u8>,
    },
    Failed(String),
}

impl Transfer {
    /// A PXE ROM asks for blocks of 1456 bytes, and EDK2 for more and for windows of four.
    #[must_use]
    pub fn new(file: &str, firmware: Firmware) -> Self {
        let words: &[&str] = match firmware {
            Firmware::Bios => &[file, "octet", "tsize", "0", "blksize", "1456"],
            _ => &[file, "octet", "tsize", "0", "blksize", "1468", "windowsize", "4"],
        };
        let text: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"]).flatten().copied().collect();
        let request = [&[0, 1][..], &text].concat();
        Self { request, block: 512, window: 1, next: 1, acknowledged: 0, complained: 0, is_answered: false, bytes: 0, tries: 0 }
    }

    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        self.request.clone()
    }

    fn acknowledge(&mut self, block: u64) -> Step {
        self.acknowledged = block;
        Step::Send(ack(block))
    }

    pub fn receive(&mut self, packet: &[u8]) -> Step {
        self.tries = 0;
        match packet {
            [0, 6, options @ ..] if self.next == 1 => {
                self.is_answered = true;
                self.agree(options);
                self.acknowledge(0)
            }
            [0, 5, rest @ ..] => {
                Step::Failed(String::from_utf8_lossy(rest.get(2..).unwrap_or_default()).trim_matches('\0').to_owned())
            }
            [0, 3, high, low, data @ ..] => self.data(u16::from_be_bytes([*high, *low]), data),
            _ => Step::Nothing,
        }
    }

    fn agree(&mut self, options: &[u8]) {
        let mut texts = options.split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).unwrap_or_default());
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            match name.to_ascii_lowercase().as_str() {
                "blksize" => self.block = value.parse().unwrap_or(self.block),
                "windowsize" => self.window = value.parse().unwrap_or(self.window).max(1),
                _ => {}
            }
        }
    }

    /// Acknowledges at the end of a window, and the last good block where one is missing (RFC 7440).
    fn data(&mut self, number: u16, data: &[u8]) -> Step {
        self.is_answered = true;
        let ahead = number.wrapping_sub(self.next as u16); // as: numbers wrap
        match ahead {
            0 => {
                self.bytes += data.len() as u64;
                let block = self.next;
                self.next += 1;
                if data.len() < self.block {
                    return Step::Whole { bytes: self.bytes, last: ack(block) };
                }
                if block >= self.acknowledged + self.window { self.acknowledge(block) } else { Step::Nothing }
            }
            1..32_768 if self.complained != self.next => {
                self.complained = self.next;
                self.acknowledge(self.next - 1)
            }
            _ => Step::Nothing,
        }
    }

    /// Nothing has come for as long as the firmware waits.
    pub fn timeout(&mut self) -> Step {
        self.tries += 1;
        match (self.tries > TRIES, self.is_answered) {
            (true, _) => Step::Failed("no answer".to_owned()),
            (false, false) => Step::Send(self.request()),
            (false, true) => self.acknowledge(self.next - 1),
        }
    }
}

fn ack(block: u64) -> Vec<u8> {
    let [high, low] = (block as u16).to_be_bytes(); // as: numbers wrap
    vec![0, 4, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(block: u16, length: usize) -> Vec<u8> {
        let [high, low] = block.to_be_bytes();
        [&[0, 3, high, low][..], &vec![9; length]].concat()
    }

    fn agreed() -> Transfer {
        let mut transfer = Transfer::new("ipxe.efi", Firmware::Uefi);
        assert!(transfer.request().starts_with(b"\0\x01ipxe.efi\0octet\0"));
        let options = b"\0\x06tsize\x0099\0blksize\x001468\0windowsize\x002\0";
        assert_eq!(transfer.receive(options), Step::Send(ack(0)));
        transfer
    }

    #[test]
    fn a_file_arrives_in_windows() {
        let mut transfer = agreed();
        assert_eq!(transfer.receive(&data(1, 1468)), Step::Nothing);
        assert_eq!(transfer.receive(&data(2, 1468)), Step::Send(ack(2)));
        assert_eq!(transfer.receive(&data(3, 10)), Step::Whole { bytes: 2946, last: ack(3) });
    }

    #[test]
    fn a_lost_block_is_asked_for_once_and_again_after_a_while() {
        let mut transfer = agreed();
        assert_eq!(transfer.receive(&data(2, 1468)), Step::Send(ack(0)));
        assert_eq!(transfer.receive(&data(3, 1468)), Step::Nothing);
        assert_eq!(transfer.timeout(), Step::Send(ack(0)));
        assert_eq!(transfer.receive(&data(1, 1468)), Step::Nothing);
        assert_eq!(transfer.receive(&data(1, 1468)), Step::Nothing, "the same block again");
    }

    #[test]
    fn a_server_without_options_sends_at_once_and_a_silent_one_is_given_up() {
        let mut transfer = Transfer::new("a", Firmware::Bios);
        assert_eq!(transfer.timeout(), Step::Send(transfer.request()));
        assert_eq!(transfer.receive(&data(1, 512)), Step::Send(ack(1)));
        (0..TRIES).for_each(|_| assert_eq!(transfer.timeout(), Step::Send(ack(1))));
        assert_eq!(transfer.timeout(), Step::Failed("no answer".to_owned()));
        assert_eq!(transfer.receive(b"\0\x05\0\0busy\0"), Step::Failed("busy".to_owned()));
    }

    #[test]
    fn block_numbers_wrap() {
        let mut transfer = Transfer { next: 65_536, acknowledged: 65_535, ..agreed() };
        transfer.window = 1;
        assert_eq!(transfer.receive(&data(0, 1468)), Step::Send(ack(65_536)));
    }
}
