//! The maps of sparse files, in all forms that GNU tar has used.

use super::BLOCK;
use super::header::number;
use super::pax::decimal;

/// A piece of a sparse file for which the archive has content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub length: u64,
}

/// Whether the parts are in order, separate, inside the file, and have content.
pub(super) fn is_valid(parts: &[Part], size: u64, content: u64) -> bool {
    let (mut before, mut held) = (0u64, 0u64);
    parts.iter().all(|part| {
        let Some(end) = part.offset.checked_add(part.length) else { return false };
        let ordered = part.offset >= before;
        before = end;
        held = held.saturating_add(part.length);
        ordered && end <= size && held <= content
    })
}

/// A map in fields of 12 bytes: offset and length, up to the first empty field.
pub(super) fn from_fields(fields: &[u8], parts: &mut Vec<Part>) -> Option<()> {
    for pair in fields.chunks_exact(24).take_while(|pair| pair.first() != Some(&0)) {
        let (offset, length) = pair.split_at(12);
        parts.push(Part { offset: number(offset)?.try_into().ok()?, length: number(length)?.try_into().ok()? });
    }
    Some(())
}

/// A block that continues the map of a header. Returns whether another block follows.
pub(super) fn from_block(block: &[u8; BLOCK], parts: &mut Vec<Part>) -> Option<bool> {
    from_fields(block.get(..504)?, parts)?;
    Some(block.get(504).is_some_and(|more| *more != 0))
}

pub(super) enum Version {
    /// Forms 0.0 and 0.1: the map is in the extended header.
    InHeaders,
    /// Form 1.0: the map is before the content.
    InContent,
}

/// What extended headers say about a sparse file.
#[derive(Debug, Default)]
pub(super) struct Claims {
    major: Option<u32>,
    minor: Option<u32>,
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
    /// The number of parts.
    count: Option<usize>,
    /// Offsets and lengths, alternating.
    map: Vec<u64>,
}

impl Claims {
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()).filter(|name| !name.is_empty()),
            b"size" => self.size = Some(decimal(value)?),
            b"realsize" => self.size = self.size.or(Some(decimal(value)?)),
            b"numblocks" => self.count = Some(decimal(value)?),
            b"map" if value.is_empty() => {}
            b"map" => self.map = value.split(|byte| *byte == b',').map(decimal).collect::<Option<_>>()?,
            // Form 0.0 repeats these two keys alternately.
            b"offset" if self.map.len().is_multiple_of(2) => self.map.push(decimal(value)?),
            b"numbytes" if !self.map.len().is_multiple_of(2) => self.map.push(decimal(value)?),
            b"offset" | b"numbytes" => return None,
            _ => {}
        }
        Some(())
    }

    pub fn version(&self) -> Option<Version> {
        match (self.major, self.minor) {
            (Some(0), Some(0 | 1)) => Some(Version::InHeaders),
            (Some(1), Some(0)) => Some(Version::InContent),
            (None, None) if !self.map.is_empty() || self.count.is_some() => Some(Version::InHeaders),
            _ => None,
        }
    }

    pub fn parts(&self) -> Option<Vec<Part>> {
        let parts = paired(&self.map)?;
        (self.count.is_none_or(|count| count == parts.len())).then_some(parts)
    }
}

fn paired(numbers: &[u64]) -> Option<Vec<Part>> {
    let pairs = numbers.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    let parts = pairs.filter_map(|pair| Some(Part { offset: *pair.first()?, length: *pair.last()? })).collect();
    whole.then_some(parts)
}

/// The map of form 1.0: the number of parts, then the offset and length of each, one number per line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    count: Option<usize>,
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl Lines {
    /// Adds a block. Returns whether it is part of a map.
    pub fn add(&mut self, block: &[u8; BLOCK]) -> bool {
        for byte in block {
            if self.is_whole() {
                break; // padding up to the end of the block
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let Some(number) = decimal::<u64>(&line) else { return false };
            match self.count {
                None => self.count = number.try_into().ok().filter(|count| *count < usize::MAX / 2),
                Some(_) => self.numbers.push(number),
            }
            if self.count.is_none() {
                return false;
            }
        }
        true
    }

    pub fn is_whole(&self) -> bool {
        self.count.is_some_and(|count| self.numbers.len() == count * 2)
    }

    pub fn parts(&self) -> Option<Vec<Part>> {
        paired(&self.numbers)
    }
}
