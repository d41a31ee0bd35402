//! Reports to PID 1 that there is a network, and which link's address names the machine.

use std::io::{PipeWriter, Write};

use cmdline::HwAddr;
use machine::Chain;

/// The bytes of the message: the address of the link.
pub const READY_LEN: usize = 6;

pub fn read_ready(message: &[u8]) -> Option<HwAddr> {
    <[u8; READY_LEN]>::try_from(message).ok().map(HwAddr)
}

pub struct Announcement {
    /// The pipe, until the link is final.
    pipe: Option<PipeWriter>,
    called_by: Option<HwAddr>,
}

impl Announcement {
    pub fn new(pipe: PipeWriter) -> Self {
        Self { pipe: Some(pipe), called_by: None }
    }

    /// Sends the address, unless it was the last one sent. The machine may use a link before it reaches its server. If
    /// another link leads there later, that one names the machine.
    pub fn make(&mut self, mac: HwAddr, is_final: bool) {
        let Some(pipe) = &mut self.pipe else { return };
        if self.called_by.replace(mac) != Some(mac)
            && let Err(error) = pipe.write_all(&mac.0)
        {
            log::error!("cannot send PID 1 the address of the network's link: {}", Chain(&error));
        }
        if is_final {
            self.pipe = None;
        }
    }

    pub fn is_over(&self) -> bool {
        self.pipe.is_none()
    }
}
