//! A disk that is compared with what would be written to it. Nothing is written.

use super::table::Disk;
use super::target::Target;
use super::{ImageError, Settings};
use crate::device::{self, Source};
use std::io;
use std::os::unix::fs::FileExt;

const PIECE: usize = 64 << 10;
const SECTOR: usize = 512;
/// More than the writer overwrites: what differs is not the backup of a partition table.
const DOUBTS_MAX: u64 = 1 << 20;

pub struct Comparer {
    source: Source,
    /// The writer erases the ends of a disk first, and says so by its first sync. From then on what it writes stays.
    begun: bool,
    buffer: Vec<u8>,
    /// How many bytes were compared.
    pub compared: u64,
    /// What was found to be different. The writer puts the backup of GPT over the image's last sectors, and zeros over an old
    /// one, so what it writes last counts.
    doubts: Vec<Doubt>,
}

/// Sectors that are not as they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Doubt {
    start: u64,
    end: u64,
    /// The first byte that differs.
    first: u64,
}

impl Comparer {
    pub fn open(settings: &Settings) -> Result<Self, ImageError> {
        let source = device::open_to_read(&settings.disk)?;
        Ok(Self { source, begun: false, buffer: vec![0; PIECE], compared: 0, doubts: Vec::new() })
    }

    /// The next attempt begins.
    pub fn again(&mut self) {
        (self.begun, self.compared) = (false, 0);
        self.doubts.clear();
    }

    /// # Errors
    /// The first byte that is another one than the last write would leave.
    pub fn result(&self) -> Result<(), ImageError> {
        match self.doubts.iter().map(|doubt| doubt.first).min() {
            Some(at) => Err(ImageError::Different { disk: self.source.path.clone(), at }),
            None => Ok(()),
        }
    }

    /// `None` stands for zeros.
    fn compare(&mut self, expected: Option<&[u8]>, offset: u64, length: u64) -> io::Result<()> {
        if !self.begun {
            return Ok(());
        }
        self.doubts =
            std::mem::take(&mut self.doubts).into_iter().flat_map(|doubt| doubt.without(offset, offset + length)).collect();
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(PIECE as u64) as usize;
            let at = offset + done;
            let found = self.buffer.get_mut(..piece).unwrap_or_default();
            self.source.file.read_exact_at(found, at)?;
            device::forget(&self.source.file, at, piece as u64);
            match expected.map(|data| data.get(done as usize..done as usize + piece).unwrap_or_default()) {
                Some(wanted) if wanted == found => {}
                Some(wanted) => differing(found, at, |index| wanted.get(index).copied().unwrap_or(0), &mut self.doubts),
                None if found.iter().all(|byte| *byte == 0) => {}
                None => differing(found, at, |_| 0, &mut self.doubts),
            }
            if self.doubts.iter().map(|doubt| doubt.end - doubt.start).sum::<u64>() > DOUBTS_MAX {
                return Err(io::Error::other("the disk has other data"));
            }
            done += piece as u64;
        }
        self.compared += length;
        Ok(())
    }
}

impl Doubt {
    /// What is left of it in front of the range and behind it.
    fn without(self, from: u64, to: u64) -> impl Iterator<Item = Self> {
        let Self { start, end, first } = self;
        let front = Self { start, end: end.min(from), first };
        let back = Self { start: start.max(to), end, first: first.max(to) };
        let untouched = end <= from || start >= to;
        let parts = if untouched { [Self { start, end, first }, Self { start: 0, end: 0, first: 0 }] } else { [front, back] };
        parts.into_iter().filter(|part| part.start < part.end)
    }
}

fn differing(found: &[u8], at: u64, wanted: impl Fn(usize) -> u8, doubts: &mut Vec<Doubt>) {
    for (number, sector) in found.chunks(SECTOR).enumerate() {
        let begin = number * SECTOR;
        let Some(index) = (0..sector.len()).find(|index| sector.get(*index).copied() != Some(wanted(begin + index))) else {
            continue;
        };
        let (start, end) = (at + begin as u64, at + (begin + sector.len()) as u64);
        match doubts.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => doubts.push(Doubt { start, end, first: start + index as u64 }),
        }
    }
}

impl Target for Comparer {
    fn disk(&self) -> Disk {
        Disk { size: self.source.size, sector: self.source.sector }
    }

    fn write_at(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.compare(Some(data), offset, data.len() as u64)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        self.compare(None, offset, length).map(|()| true)
    }

    fn discard(&mut self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.file.read_exact_at(buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.begun = true;
        Ok(())
    }

    fn unfit(&self, number: u32, problem: String) -> ImageError {
        let Source { path, sector, .. } = &self.source;
        ImageError::Unfit { number, problem, disk: path.clone(), sector: *sector, erased: false }
    }

    fn too_large(&self, image: u64, exact: bool) -> ImageError {
        ImageError::TooLarge { image, exact, disk: self.source.path.clone(), size: self.source.size }
    }

    fn write_failed(&self, offset: u64, source: io::Error) -> ImageError {
        match self.result() {
            Err(different) => different,
            Ok(()) => ImageError::Read { disk: self.source.path.clone(), offset, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_later_counts() {
        let doubt = |start, end, first| Doubt { start, end, first };
        for (case, from, to, expected) in [
            ("before it", 0, 100, vec![doubt(100, 300, 150)]),
            ("behind it", 300, 400, vec![doubt(100, 300, 150)]),
            ("all of it", 100, 300, vec![]),
            ("its start", 0, 200, vec![doubt(200, 300, 200)]),
            ("its end", 200, 400, vec![doubt(100, 200, 150)]),
            ("its middle", 160, 200, vec![doubt(100, 160, 150), doubt(200, 300, 200)]),
        ] {
            assert_eq!(doubt(100, 300, 150).without(from, to).collect::<Vec<_>>(), expected, "{case}");
        }
    }

    #[test]
    fn sectors_that_differ_are_joined_and_the_first_byte_is_named() {
        let mut found = vec![0; 2000];
        found[600] = 1;
        found[1025] = 1;
        let mut doubts = Vec::new();
        differing(&found, 1 << 20, |_| 0, &mut doubts);
        assert_eq!(doubts, [Doubt { start: (1 << 20) + 512, end: (1 << 20) + 1536, first: (1 << 20) + 600 }]);
    }
}
