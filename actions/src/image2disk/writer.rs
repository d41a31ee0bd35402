//! Writes the image in an order that never leaves a half-written disk bootable.

use super::ImageError;
use super::buffer::Buffer;
use super::target::Target;

/// Boot code and partition table: erased first, written last.
pub const HEAD: usize = 1 << 20;
/// Zeros are detected in pieces of this size, a multiple of every block size.
const PIECE: usize = 64 << 10;
const SECTORS: [u64; 2] = [512, 4096];
const GPT: &[u8] = b"EFI PART";

pub struct Writer<'t, T: Target> {
    target: &'t mut T,
    head: Buffer,
    zeros: Buffer,
    offset: u64,
    /// Length of a run of zeros that ends at `offset` and is not on the disk yet.
    pending_zeros: u64,
    can_zero: bool,
}

impl<'t, T: Target> Writer<'t, T> {
    /// Erases what can boot the old system.
    pub fn begin(target: &'t mut T) -> Result<Self, ImageError> {
        let mut zeros = Buffer::new(PIECE);
        zeros.set_len(PIECE);
        let mut writer = Self { target, head: Buffer::new(HEAD), zeros, offset: 0, pending_zeros: 0, can_zero: true };
        let size = writer.target.size();
        writer.write_zeros(0, size.min(HEAD as u64))?;
        writer.erase_backup_gpt(size)?;
        writer.sync()?;
        Ok(writer)
    }

    /// With a backup table in the last sector, firmware would find the old partitions again.
    fn erase_backup_gpt(&mut self, size: u64) -> Result<(), ImageError> {
        for sector in SECTORS {
            let Some(at) = size.checked_sub(sector).filter(|at| *at >= HEAD as u64) else { continue };
            let mut signature = [0; 8];
            let read = self.target.read_at(&mut signature, at);
            read.map_err(|source| self.target.write_failed(at, source))?;
            if signature == GPT {
                self.write_zeros(at, sector)?;
            }
        }
        Ok(())
    }

    /// The next bytes of the image. Each piece but the last keeps the alignment.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), ImageError> {
        let end = self.offset + data.len() as u64;
        if end > self.target.size() {
            return Err(self.target.too_large(end, false));
        }
        let kept = self.head.append(data);
        self.offset += kept as u64;
        data = data.get(kept..).unwrap_or_default();
        while !data.is_empty() {
            let zeros = leading(data, true);
            self.pending_zeros += zeros as u64;
            self.offset += zeros as u64;
            data = data.get(zeros..).unwrap_or_default();
            let (content, rest) = data.split_at(leading(data, false));
            if !content.is_empty() {
                self.flush_zeros()?;
                self.put(content, self.offset)?;
                self.offset += content.len() as u64;
            }
            data = rest;
        }
        Ok(())
    }

    /// Everything but the head is on the disk after this.
    pub fn settle(&mut self) -> Result<(), ImageError> {
        self.flush_zeros()?;
        self.sync()
    }

    /// Makes the disk bootable, and returns the image's size.
    pub fn finish(mut self) -> Result<u64, ImageError> {
        let head = std::mem::replace(&mut self.head, Buffer::new(0));
        self.put(head.data(), 0)?;
        self.sync()?;
        Ok(self.offset)
    }

    fn flush_zeros(&mut self) -> Result<(), ImageError> {
        let length = std::mem::take(&mut self.pending_zeros);
        if length == 0 {
            return Ok(());
        }
        let start = self.offset - length;
        if self.can_zero {
            let zeroed = self.target.zero(start, length);
            self.can_zero = zeroed.map_err(|source| self.target.write_failed(start, source))?;
        }
        if self.can_zero { Ok(()) } else { self.write_zeros(start, length) }
    }

    fn write_zeros(&mut self, start: u64, length: u64) -> Result<(), ImageError> {
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(PIECE as u64);
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
        self.target.sync().map_err(|source| self.target.write_failed(self.offset, source))
    }
}

/// The length of the leading pieces of one kind, zeros or not. A last short piece never counts as zeros.
fn leading(data: &[u8], zeros: bool) -> usize {
    let is_zero = |piece: &[u8]| piece.len() == PIECE && piece.iter().all(|byte| *byte == 0);
    data.chunks(PIECE).take_while(|piece| is_zero(piece) == zeros).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests;
