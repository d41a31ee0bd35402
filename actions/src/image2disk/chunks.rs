//! The content of a qcow2 image on its way to the writer: neighbouring clusters in one buffer, and the first ones looked at.

use super::buffer::Buffer;
use super::qcow2::walk::Sink;
use super::reader::{Event, Opened, Reader, SECTOR, Stop, judge};
use super::sniff;

/// Ranges of zeros that wait until the image's start was seen.
const HELD_MAX: usize = 16 << 10;

pub struct Chunks<'r> {
    reader: &'r Reader,
    /// Taken when the image has begun.
    opened: Option<Opened>,
    held: Vec<(u64, u64)>,
    buffer: Option<Buffer>,
    /// The place of the buffer's start, and its length.
    at: u64,
    filled: usize,
}

impl<'r> Chunks<'r> {
    pub fn new(reader: &'r Reader, opened: Opened) -> Self {
        Self { reader, opened: Some(opened), held: Vec::new(), buffer: None, at: 0, filled: 0 }
    }

    pub fn finish(&mut self) -> Result<(), Stop> {
        self.flush()?;
        if let Some(opened) = &self.opened {
            // Without any data, the disk is all zeros.
            judge(&self.reader.settings, opened.format, &[0; SECTOR as usize])?;
        }
        self.open(&[])
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        buffer.set_len(std::mem::take(&mut self.filled));
        let at = self.at;
        self.open(if at == 0 { buffer.data() } else { &[] })?;
        self.reader.send(Event::Data { at, buffer })
    }

    /// Nothing is erased before this. `start` is what is known of the image's start. If that is too little, the writer looks
    /// at it in the end.
    fn open(&mut self, start: &[u8]) -> Result<(), Stop> {
        let Some(mut opened) = self.opened.take() else { return Ok(()) };
        opened.start = known(start, &self.held);
        let judged = judge(&self.reader.settings, opened.format, &opened.start);
        let whole = opened.start.len() as u64 >= opened.size.unwrap_or(0).min(sniff::START as u64);
        opened.content = if whole { Some(judged?) } else { judged.ok() };
        self.reader.send(Event::Opened(opened))?;
        for (at, length) in std::mem::take(&mut self.held) {
            self.reader.send(Event::Zeros { at, length })?;
        }
        Ok(())
    }
}

/// The start of the disk, with the zeros that follow it or come before it.
fn known(start: &[u8], zeros: &[(u64, u64)]) -> Vec<u8> {
    let mut known = start.get(..sniff::START).unwrap_or(start).to_vec();
    while known.len() < sniff::START {
        let end = known.len() as u64;
        let next = zeros.iter().find(|(at, length)| *at <= end && at.saturating_add(*length) > end);
        let Some((at, length)) = next else { break };
        known.resize(at.saturating_add(*length).min(sniff::START as u64) as usize, 0);
    }
    known
}

impl Sink<Stop> for Chunks<'_> {
    fn space(&mut self, at: u64) -> Result<&mut [u8], Stop> {
        let follows = at == self.at + self.filled as u64;
        let is_full = self.buffer.as_mut().is_some_and(|buffer| buffer.space().len() == self.filled);
        if !follows || is_full {
            self.flush()?;
        }
        let mut buffer = match self.buffer.take() {
            Some(buffer) => buffer,
            None => {
                (self.at, self.filled) = (at, 0);
                self.reader.empty_buffer()?
            }
        };
        buffer.set_len(0);
        Ok(self.buffer.insert(buffer).space().get_mut(self.filled..).unwrap_or_default())
    }

    fn filled(&mut self, length: usize) -> Result<(), Stop> {
        self.filled += length;
        Ok(())
    }

    fn zeros(&mut self, at: u64, length: u64) -> Result<(), Stop> {
        if self.opened.is_some() && self.held.len() < HELD_MAX {
            self.held.push((at, length));
            return Ok(());
        }
        self.open(&[])?;
        self.reader.send(Event::Zeros { at, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_join_the_start_are_known() {
        let all = vec![0; sniff::START];
        for (case, start, zeros, expected) in [
            ("nothing", &[][..], &[][..], vec![]),
            ("zeros elsewhere", &[7; 512], &[(1024, 512)], vec![7; 512]),
            ("zeros behind", &[7; 512], &[(1024, 512), (512, 512)], [vec![7; 512], vec![0; 1024]].concat()),
            ("a range without end", &[], &[(0, u64::MAX)], all.clone()),
            ("more than is looked at", &[0; sniff::START + 512], &[], all),
        ] {
            assert!(known(start, zeros) == expected, "{case}");
        }
    }
}
