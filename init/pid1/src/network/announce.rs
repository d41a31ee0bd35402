//! Reports to PID 1 that there is a network, and which link's address names the machine.

use std::io::{PipeWriter, Write};

use cmdline::HwAddr;
use machine::Chain;

/// The bytes of each message: the address of the link, and the one that found the machine in the table of its site, or zeros.
pub const READY_LEN: usize = 12;
const NONE: [u8; 6] = [0; 6];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkReady {
    /// Of the link.
    pub mac: HwAddr,
    /// The address that found the machine in the table of its site.
    pub placed_by: Option<HwAddr>,
}

/// Of several messages that were read at once the last one counts.
pub fn read_ready(messages: &[u8]) -> Option<NetworkReady> {
    let (messages, _) = messages.as_chunks::<READY_LEN>();
    let (mac, placed_by) = messages.last()?.split_first_chunk()?;
    let placed_by = <[u8; 6]>::try_from(placed_by).ok().filter(|address| *address != NONE);
    Some(NetworkReady { mac: HwAddr(*mac), placed_by: placed_by.map(HwAddr) })
}

pub struct Announcement {
    /// The pipe, until the link is final.
    pipe: Option<PipeWriter>,
    called_by: Option<HwAddr>,
    /// The address that found the machine in the table of its site.
    pub placed_by: Option<HwAddr>,
}

impl Announcement {
    pub fn new(pipe: PipeWriter) -> Self {
        Self { pipe: Some(pipe), called_by: None, placed_by: None }
    }

    /// Sends the address, unless it was the last one sent. The machine may use a link before it reaches its server. If
    /// another link leads there later, that one names the machine.
    pub fn make(&mut self, mac: HwAddr, is_final: bool) {
        let Some(pipe) = &mut self.pipe else { return };
        if self.called_by.replace(mac) != Some(mac)
            && let Err(error) = pipe.write_all(&[mac.0, self.placed_by.map_or(NONE, |by| by.0)].concat())
        {
            log::error!("cannot send PID 1 the address of the network's link: {}", Chain(&error));
        }
        if is_final {
            self.pipe = None;
        }
    }

    /// Whether PID 1 knows a link, and so may have started the agent.
    pub fn has_begun(&self) -> bool {
        self.called_by.is_some()
    }

    pub fn is_over(&self) -> bool {
        self.pipe.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_last_of_several_announcements_counts() {
        let [first, second, row] = [1, 2, 3].map(|last| HwAddr([2, 0, 0, 0, 0, last]));
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut announcement = Announcement::new(writer);
        announcement.make(first, false);
        announcement.make(first, false);
        let mut bytes = [0; 64];
        let count = reader.read(&mut bytes).unwrap();
        assert_eq!(read_ready(&bytes[..count]), Some(NetworkReady { mac: first, placed_by: None }));
        announcement.make(second, false);
        announcement.placed_by = Some(row);
        announcement.make(first, true);
        let count = reader.read(&mut bytes).unwrap();
        assert_eq!(count, 2 * READY_LEN);
        assert_eq!(read_ready(&bytes[..count]), Some(NetworkReady { mac: first, placed_by: Some(row) }));
        assert_eq!(read_ready(&bytes[..5]), None);
    }
}
