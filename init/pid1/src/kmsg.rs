//! Reads the kernel log: first the records in its ring, then new ones as they come.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use machine::kernel_log::MARK;
use rustix::fs::OFlags;

const PATH: &str = "/dev/kmsg";
/// The kernel puts less than this into one record.
const RECORD_MAX: usize = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub facility: u8,
    /// The severity: 0 is an emergency, 7 is debug.
    pub severity: u8,
    /// Increases by one. A gap means that lines were overwritten.
    pub sequence: u64,
    /// The time since the machine started.
    pub at: Duration,
    pub text: &'a str,
}

impl<'a> Record<'a> {
    /// Parses `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT`, followed by lines of key and value.
    pub fn parse(record: &'a str) -> Option<Self> {
        let (head, text) = record.split_once(';')?;
        let mut fields = head.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let sequence = fields.next()?.parse().ok()?;
        let at = Duration::from_micros(fields.next()?.parse().ok()?);
        let text = text.split('\n').next().unwrap_or(text);
        Some(Self { facility: u8::try_from(priority >> 3).ok()?, severity: (priority & 7) as u8, sequence, at, text })
    }

    /// The line without its prefix, if PID 1, a service or the agent wrote it.
    pub fn ours(&self) -> Option<&'a str> {
        self.text.strip_prefix(MARK)
    }
}

pub struct Reader {
    file: File,
    buffer: Vec<u8>,
}

pub enum Next<'a> {
    Record(Record<'a>),
    /// Records were overwritten before they were read. The next call continues after the gap.
    Overrun,
    /// The record does not have the known form.
    Strange,
    Nothing,
}

impl Reader {
    pub fn open() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(PATH)?;
        Ok(Self { file, buffer: vec![0; RECORD_MAX] })
    }

    /// Returns the next record. Never waits.
    pub fn read(&mut self) -> io::Result<Next<'_>> {
        let count = match self.file.read(&mut self.buffer) {
            Ok(0) => return Ok(Next::Nothing),
            Ok(count) => count,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Next::Nothing),
                    io::ErrorKind::BrokenPipe => Ok(Next::Overrun),
                    io::ErrorKind::InvalidInput => Ok(Next::Strange), // it is too long, and the kernel skips it
                    _ => Err(error),
                };
            }
        };
        let record = self.buffer.get(..count).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(Record::parse);
        Ok(record.map_or(Next::Strange, Next::Record))
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_kernel_is_parsed() {
        let record = Record::parse("13,416,3540328,-;thimble: A| hello\n SUBSYSTEM=x\n");
        let expected =
            Record { facility: 1, severity: 5, sequence: 416, at: Duration::from_micros(3_540_328), text: "thimble: A| hello" };
        assert_eq!(record, Some(expected));
        assert_eq!(record.and_then(|record| record.ours()), Some("A| hello"));
        assert_eq!(Record::parse("6,1,0,-,caller=T1;Linux version 6.1").and_then(|record| record.ours()), None);
    }

    #[test]
    fn a_text_that_is_not_a_record_is_recognised() {
        for text in ["", ";", "a,b,c;d", "1,2;x", "99999999999,1,1,-;x", "4096,1,1,-;x"] {
            assert_eq!(Record::parse(text), None, "{text:?}");
        }
    }
}
