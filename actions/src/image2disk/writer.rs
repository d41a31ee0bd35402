//! Writes the image in an order that never leaves a half-written disk bootable.

use super::ImageError;
use super::buffer::{ALIGNMENT, Buffer};
use super::table::fat::{self, Verdict};
use super::table::{Adapted, Part};
use super::target::Target;
use crate::say;

/// Boot code and partition table: erased first, written last.
pub const HEAD: usize = 1 << 20;
/// Also erased first. A partition that takes the rest of the disk ends up to one MiB before the disk's end, and its superblocks of
/// md and ZFS lie in the half MiB before that.
pub const TAIL: u64 = 2 << 20;
const BLOCK: u64 = ALIGNMENT as u64;
/// Zeros are detected in pieces of this size, a multiple of every block size.
const PIECE: usize = 64 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

pub struct Writer<'t, T: Target> {
    target: &'t mut T,
    /// Always of full length: zeros where nothing was written.
    head: Buffer,
    zeros: Buffer,
    /// The end of the image so far.
    end: u64,
    /// A range of zeros that is not on the disk yet: start and length.
    pending_zeros: (u64, u64),
    can_zero: bool,
}

impl<'t, T: Target> Writer<'t, T> {
    /// Erases what can boot the old system, or be recognised as a part of it: boot code and partition table, and at the end
    /// the backup of GPT, md superblocks of the versions 0.90 and 1.0, and labels of ZFS. With `discard`, the rest of the disk is
    /// marked as unused. That guarantees nothing of what it reads as, so zeros of the image are still written or punched.
    pub fn begin(target: &'t mut T, discard: bool) -> Result<Self, ImageError> {
        // As large as the head: it is never written to, so it needs no memory, and a disk takes few large writes faster.
        let mut zeros = Buffer::new(HEAD);
        zeros.set_len(HEAD);
        let mut head = Buffer::new(HEAD);
        head.set_len(HEAD);
        let mut writer = Self { target, head, zeros, end: 0, pending_zeros: (0, 0), can_zero: true };
        let size = writer.target.size();
        writer.write_zeros(0, size.min(HEAD as u64))?;
        // Whole blocks, which a short block at the end of a file follows.
        let tail = size.saturating_sub(TAIL).next_multiple_of(PIECE as u64).max(HEAD as u64);
        writer.write_zeros(tail, size.saturating_sub(tail))?;
        writer.sync()?;
        if discard && tail > HEAD as u64 {
            let (at, length) = (HEAD as u64, tail - HEAD as u64);
            let done = writer.target.discard(at, length).map_err(|source| writer.target.write_failed(at, source))?;
            say(if done { "the disk was discarded" } else { "DISCARD: the disk does not support it, so nothing was discarded" });
        }
        Ok(writer)
    }

    /// Data of the image at its place.
    pub fn write(&mut self, at: u64, mut data: &[u8]) -> Result<(), ImageError> {
        self.reach(at.saturating_add(data.len() as u64))?;
        let mut at = at;
        if at < HEAD as u64 {
            let kept = self.head.put(at as usize, data);
            at += kept as u64;
            data = data.get(kept..).unwrap_or_default();
        }
        while !data.is_empty() {
            let zeros = leading(data, true);
            self.zero(at, zeros as u64)?;
            at += zeros as u64;
            data = data.get(zeros..).unwrap_or_default();
            let (content, rest) = data.split_at(leading(data, false));
            if !content.is_empty() {
                self.flush_zeros()?;
                self.put(content, at)?;
                at += content.len() as u64;
            }
            data = rest;
        }
        Ok(())
    }

    /// A range of the image that reads as zeros.
    pub fn zeros(&mut self, at: u64, length: u64) -> Result<(), ImageError> {
        self.reach(at.saturating_add(length))?;
        let behind = at.max(HEAD as u64); // the head has zeros where nothing is written
        self.zero(behind, (at + length).saturating_sub(behind))
    }

    /// The image's first MiB, which is written last.
    pub fn head(&self) -> &[u8] {
        let length = usize::try_from(self.end).unwrap_or(HEAD).min(HEAD);
        self.head.data().get(..length).unwrap_or_default()
    }

    fn reach(&mut self, end: u64) -> Result<(), ImageError> {
        if end > self.target.size() {
            return Err(self.target.too_large(end, false));
        }
        self.end = self.end.max(end);
        Ok(())
    }

    /// Everything but the head is on the disk after this.
    pub fn settle(&mut self) -> Result<(), ImageError> {
        self.flush_zeros()?;
        self.sync()
    }

    /// The end of the image so far.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn head_mut(&mut self) -> &mut [u8] {
        let length = self.head().len();
        self.head.space().get_mut(..length).unwrap_or_default()
    }

    /// Gives the file systems of a table that was converted the disk's sectors, too. Everything is on the disk by now.
    pub fn convert(&mut self, parts: &[Part], sector: u64) -> Result<(), ImageError> {
        let end = self.end;
        for part in parts.iter().filter(|part| part.start < end) {
            let mut start = Buffer::new(fat::START);
            self.read(&mut start, part.start)?;
            let reserved = match fat::look(start.data(), sector) {
                Verdict::Fat { reserved } => usize::try_from(reserved).unwrap_or(usize::MAX).min(fat::RESERVED_MAX),
                Verdict::Fits | Verdict::Unfit { .. } => 0,
            };
            let mut area = Buffer::new(reserved.next_multiple_of(ALIGNMENT).max(fat::START));
            self.read(&mut area, part.start)?;
            if let Some(problem) = fat::problem(area.data(), sector) {
                return Err(self.target.unfit(part.number, problem));
            }
            let Ok(new) = fat::convert(area.data().get(..reserved).unwrap_or_default(), sector) else { continue };
            area.put(0, &new);
            self.replace(area.data(), part.start)?;
            say(&format!("the FAT file system of partition {} was converted to sectors of {sector} bytes", part.number));
        }
        Ok(())
    }

    /// What the image has at a place: the head, which is not on the disk yet, and behind it what is.
    fn read(&mut self, buffer: &mut Buffer, at: u64) -> Result<(), ImageError> {
        buffer.set_len(usize::MAX);
        let head = usize::try_from(at).ok().and_then(|at| self.head.data().get(at..)).unwrap_or_default();
        let length = head.len().min(buffer.data().len());
        let (from_head, from_disk) = buffer.space().split_at_mut(length);
        from_head.copy_from_slice(head.get(..length).unwrap_or_default());
        if from_disk.is_empty() {
            return Ok(());
        }
        let at = at + length as u64;
        self.target.read_at(from_disk, at).map_err(|source| self.target.write_failed(at, source))
    }

    /// The counterpart of [`Self::read`].
    fn replace(&mut self, data: &[u8], at: u64) -> Result<(), ImageError> {
        let kept = usize::try_from(at).map_or(0, |at| self.head.put(at, data));
        let behind = data.get(kept..).unwrap_or_default();
        if behind.is_empty() { Ok(()) } else { self.put(behind, at + kept as u64) }
    }

    /// Makes the disk bootable, and returns the image's size.
    pub fn finish(mut self, adapted: &Adapted) -> Result<u64, ImageError> {
        for (at, length) in &adapted.stale {
            self.write_zeros(*at, *length)?;
        }
        if let Some((at, data)) = &adapted.backup {
            self.put(data, *at)?;
            self.sync()?;
        }
        let mut head = std::mem::replace(&mut self.head, Buffer::new(0));
        head.set_len(usize::try_from(self.end).unwrap_or(HEAD));
        // The first block is what firmware and kernel look for. It comes last, and in one piece.
        let (first, rest) = head.data().split_at(head.data().len().min(ALIGNMENT));
        if !rest.is_empty() {
            self.put(rest, BLOCK)?;
            self.sync()?;
        }
        self.put(first, 0)?;
        self.sync()?;
        Ok(self.end)
    }

    /// A range that joins the waiting one makes it longer.
    fn zero(&mut self, at: u64, length: u64) -> Result<(), ImageError> {
        let (start, waiting) = self.pending_zeros;
        if length == 0 {
            return Ok(());
        }
        if start + waiting != at {
            self.flush_zeros()?;
            self.pending_zeros.0 = at;
        }
        self.pending_zeros.1 += length;
        Ok(())
    }

    fn flush_zeros(&mut self) -> Result<(), ImageError> {
        let (start, length) = std::mem::take(&mut self.pending_zeros);
        if length == 0 {
            return Ok(());
        }
        // Holes are made of whole blocks.
        let end = start + length;
        let (from, to) = (start.next_multiple_of(BLOCK), end - end % BLOCK);
        if to <= from {
            return self.write_zeros(start, length);
        }
        self.write_zeros(start, from - start)?;
        if self.can_zero {
            let zeroed = self.target.zero(from, to - from);
            self.can_zero = zeroed.map_err(|source| self.target.write_failed(from, source))?;
        }
        if !self.can_zero {
            self.write_zeros(from, to - from)?;
        }
        self.write_zeros(to, end - to)
    }

    fn write_zeros(&mut self, start: u64, length: u64) -> Result<(), ImageError> {
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(HEAD as u64);
            let data = self.zeros.data().get(..piece as usize).unwrap_or_default();
            let at = start + done;
            self.target.write_at(data, at).map_err(|source| self.target.write_failed(at, source))?;
            done += piece;
        }
        Ok(())
    }

    fn put(&mut self, data: &[u8], offset: u64) -> Result<(), ImageError> {
        self.target.write_at(data, offset).map_err(|source| self.target.write_failed(offset, source))
    }

    fn sync(&mut self) -> Result<(), ImageError> {
        self.target.sync().map_err(|source| self.target.write_failed(self.end, source))
    }
}

/// The length of the leading pieces of one kind, zeros or not. A last short piece never counts as zeros.
fn leading(data: &[u8], zeros: bool) -> usize {
    // The comparison is the C library's, which looks at many bytes at once.
    let is_zero = |piece: &[u8]| piece == ZEROS;
    data.chunks(PIECE).take_while(|piece| is_zero(piece) == zeros).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests;
