//! The parts of a disk whose content does not matter: blocks that no file of a clean ext2, ext3 or ext4 file system uses, and
//! swap. Whatever is in doubt counts as used.

mod ext;

use crate::partitions::{self, ReadAt, Table, le};
use crate::wipe::signatures;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Ranges of bytes in order, which do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<Range<u64>>,
}

/// A range costs 16 bytes, so a file system in small pieces must not take the machine's memory.
const RANGES_MAX: usize = 256 << 10;

impl Ranges {
    /// Each must begin at or behind the end of the one before. One that is too much is not free.
    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let has_room = self.ranges.len() < RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            Some(last) if last.end > range.start => {}
            _ if has_room => self.ranges.push(range),
            _ => {}
        }
    }

    /// What is in one of both, or in both.
    pub fn with(&self, other: &Self) -> Self {
        let mut all: Vec<Range<u64>> = self.ranges.iter().chain(&other.ranges).cloned().collect();
        all.sort_by_key(|range| range.start);
        let mut union = Self::default();
        for range in all {
            match union.ranges.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => union.ranges.push(range),
            }
        }
        union
    }

    pub fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether the byte is free, and up to where the next ones are like it.
    pub fn state(&self, at: u64) -> (bool, u64) {
        let next = self.ranges.partition_point(|range| range.end <= at);
        match self.ranges.get(next) {
            Some(range) if range.start <= at => (true, range.end),
            Some(range) => (false, range.start),
            None => (false, u64::MAX),
        }
    }
}

/// The parts of a file that were never written.
pub fn holes(file: &File, size: u64) -> Ranges {
    let mut ranges = Ranges::default();
    let mut at = 0;
    while at < size && ranges.ranges.len() < RANGES_MAX {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size, // there is no data behind the last hole
            Err(_) => return ranges,
        };
        ranges.add(at..data);
        match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > at => at = hole,
            _ => return ranges,
        }
    }
    ranges
}

/// Those of a whole disk, or of one file system.
pub fn of_disk(read: &ReadAt<'_>, size: u64, sector: u64) -> Ranges {
    let mut partitions: Vec<Range<u64>> = match partitions::table(read, size, sector) {
        Table::None => std::iter::once(0..size).collect(),
        Table::Damaged => Vec::new(),
        // Logical partitions are copied as they are.
        Table::Partitions(all) => all
            .iter()
            .filter(|partition| !partition.is_extended())
            .map(|partition| partition.start * sector..(partition.start + partition.sectors) * sector)
            .collect(),
    };
    partitions.sort_by_key(|range| range.start);
    let overlap = partitions.windows(2).any(|pair| matches!(pair, [a, b] if a.end > b.start));
    let mut ranges = Ranges::default();
    for partition in partitions.iter().filter(|range| !overlap && range.end <= size) {
        let inside = |at: u64, buffer: &mut [u8]| match at.checked_add(partition.start) {
            Some(at) if at.saturating_add(buffer.len() as u64) <= partition.end => read(at, buffer),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let length = partition.end - partition.start;
        for range in of_file_system(&inside, length).ranges {
            ranges.add(range.start + partition.start..range.end + partition.start);
        }
    }
    ranges
}

/// A signature of before may be left beside the one that counts. With more than one, or another one, everything counts as used.
fn of_file_system(read: &ReadAt<'_>, size: u64) -> Ranges {
    let length = |most: usize| usize::try_from(size).map_or(most, |size| size.min(most));
    let (mut start, mut end) = (vec![0; length(signatures::START)], vec![0; length(signatures::END)]);
    let at = size - end.len() as u64;
    if read(0, &mut start).and_then(|()| read(at, &mut end)).is_err() {
        return Ranges::default();
    }
    match signatures::names(size, &start, &end).as_slice() {
        ["ext"] => ext::free(read, size).unwrap_or_default(),
        ["swap"] => swap(&start, size).unwrap_or_default(),
        _ => Ranges::default(),
    }
}

const SWAP_PAGE: u64 = 4096;

/// The pages behind the header, if it is of version 1 (include/linux/swap.h). A machine that hibernates has another signature
/// there. Behind the last page is what does not belong to the swap.
fn swap(start: &[u8], size: u64) -> Option<Ranges> {
    const VERSION: usize = 1024;
    const LAST_PAGE: usize = 1028;
    let end = (le(start, LAST_PAGE, 4)? + 1) * SWAP_PAGE;
    if le(start, VERSION, 4)? != 1 || end > size {
        return None;
    }
    let mut ranges = Ranges::default();
    ranges.add(SWAP_PAGE..end);
    Some(ranges)
}
