//! How a child service reports to PID 1 that it is ready: a pipe, and a message that fits into one atomic write.

use std::io::{self, PipeReader, PipeWriter, Read, Write};

use rustix::io::ioctl_fionbio;

/// What one read takes: the longest message, or five of the network's. A pipe accepts more than this in one atomic write.
const MESSAGE_MAX: usize = 60;

/// The child's end. A child that drops it without a message never becomes ready.
pub struct Ready(PipeWriter);

impl Ready {
    pub fn say(mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_all(message)
    }

    /// For a child that keeps the pipe itself.
    pub fn into_pipe(self) -> PipeWriter {
        self.0
    }
}

/// PID 1's end, which never blocks.
pub struct Readiness(pub PipeReader);

pub enum Heard {
    NothingYet,
    /// The child is ready, with this message.
    Message([u8; MESSAGE_MAX], usize),
    /// The child has ended, and will be reaped in a moment.
    Closed,
}

pub fn pair() -> io::Result<(Readiness, Ready)> {
    let (reader, writer) = io::pipe()?;
    ioctl_fionbio(&reader, true)?;
    Ok((Readiness(reader), Ready(writer)))
}

impl Readiness {
    pub fn hear(&mut self) -> Heard {
        let mut message = [0; MESSAGE_MAX];
        match self.0.read(&mut message) {
            Ok(0) => Heard::Closed,
            Ok(count) => Heard::Message(message, count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Heard::NothingYet,
            Err(_) => Heard::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_dies_without_a_message_is_not_ready() {
        let (mut readiness, ready) = pair().unwrap();
        assert!(matches!(readiness.hear(), Heard::NothingYet));
        drop(ready);
        assert!(matches!(readiness.hear(), Heard::Closed));
    }

    #[test]
    fn the_message_of_a_child_arrives_in_one_piece() {
        let (mut readiness, ready) = pair().unwrap();
        ready.say(b"eth0").unwrap();
        assert!(matches!(readiness.hear(), Heard::Message(message, 4) if message.starts_with(b"eth0")));
    }
}
