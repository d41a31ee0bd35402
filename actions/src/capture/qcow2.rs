//! A qcow2 image of version 3 (docs/interop/qcow2.txt of QEMU), with its tables before the data that they name. Clusters of
//! zeros are not in it.
//!
//! The tables come first, so the disk is read twice: once to find the clusters with data. Their numbers take one bit each.

use super::{Content, is_zero};
use crate::image2disk::Progress;
use std::io::{self, Read};
use std::time::Instant;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const HEADER_LENGTH: u32 = 104;
/// References are counted in 16 bits.
const REFCOUNT_ORDER: u32 = 4;
const REFCOUNTS_PER_BLOCK: u64 = CLUSTER / 2;
const ENTRIES: u64 = CLUSTER / 8;
/// Bit 63: the reference count is exactly one.
const COPIED: u64 = 1 << 63;

/// Where everything is, in clusters of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Of the disk.
    clusters: u64,
    /// The first one, and how many.
    refcount_table: (u64, u64),
    refcount_blocks: (u64, u64),
    l1: (u64, u64),
    l1_entries: u64,
    /// One for each 512 MiB with data.
    l2: (u64, u64),
    data: u64,
    end: u64,
}

impl Layout {
    fn new(size: u64, map: &Map) -> Self {
        let clusters = size.div_ceil(CLUSTER);
        let l1_entries = clusters.div_ceil(ENTRIES).max(1);
        let l1 = (l1_entries * 8).div_ceil(CLUSTER);
        let l2 = (0..l1_entries).filter(|table| map.count(table * ENTRIES, (table + 1) * ENTRIES) > 0).count() as u64;
        let data = map.count(0, clusters);
        // The blocks count themselves, so their number grows until it is enough.
        let (mut blocks, mut table) = (1, 1);
        loop {
            let end = 1 + table + blocks + l1 + l2 + data;
            let (needed, needed_table) = (end.div_ceil(REFCOUNTS_PER_BLOCK), (blocks * 8).div_ceil(CLUSTER));
            if needed <= blocks && needed_table <= table {
                let at = |before: u64| 1 + before;
                return Self {
                    clusters,
                    refcount_table: (at(0), table),
                    refcount_blocks: (at(table), blocks),
                    l1: (at(table + blocks), l1),
                    l1_entries,
                    l2: (at(table + blocks + l1), l2),
                    data: at(table + blocks + l1 + l2),
                    end,
                };
            }
            (blocks, table) = (blocks.max(needed), table.max(needed_table));
        }
    }

    fn header(&self, size: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(CLUSTER as usize);
        let be32 = |header: &mut Vec<u8>, value: u32| header.extend(value.to_be_bytes());
        let be64 = |header: &mut Vec<u8>, value: u64| header.extend(value.to_be_bytes());
        header.extend(b"QFI\xfb");
        be32(&mut header, 3);
        be64(&mut header, 0); // no backing file
        be32(&mut header, 0);
        be32(&mut header, CLUSTER_BITS);
        be64(&mut header, size);
        be32(&mut header, 0); // not encrypted
        be32(&mut header, u32::try_from(self.l1_entries).unwrap_or(u32::MAX));
        be64(&mut header, self.l1.0 * CLUSTER);
        be64(&mut header, self.refcount_table.0 * CLUSTER);
        be32(&mut header, u32::try_from(self.refcount_table.1).unwrap_or(u32::MAX));
        be32(&mut header, 0); // no snapshots
        be64(&mut header, 0);
        [0, 0, 0].into_iter().for_each(|features| be64(&mut header, features));
        be32(&mut header, REFCOUNT_ORDER);
        be32(&mut header, HEADER_LENGTH);
        header.resize(CLUSTER as usize, 0);
        header
    }

    /// One of the clusters before the data.
    fn cluster(&self, number: u64, size: u64, map: &Map, state: &mut Tables) -> Vec<u8> {
        let within = |(start, count): (u64, u64)| number.checked_sub(start).filter(|index| *index < count);
        if number == 0 {
            return self.header(size);
        }
        if let Some(index) = within(self.refcount_table) {
            let blocks = (index * ENTRIES..(index + 1) * ENTRIES).take_while(|block| *block < self.refcount_blocks.1);
            return words(blocks.map(|block| (self.refcount_blocks.0 + block) * CLUSTER));
        }
        if let Some(index) = within(self.refcount_blocks) {
            let first = index * REFCOUNTS_PER_BLOCK;
            let counts = (first..first + REFCOUNTS_PER_BLOCK).flat_map(|cluster| u16::from(cluster < self.end).to_be_bytes());
            return counts.collect();
        }
        if let Some(index) = within(self.l1) {
            let mut entries = Vec::new();
            for table in (index * ENTRIES..(index + 1) * ENTRIES).take_while(|table| *table < self.l1_entries) {
                let is_used = map.count(table * ENTRIES, (table + 1) * ENTRIES) > 0;
                entries.push(if is_used { ((self.l2.0 + state.tables) * CLUSTER) | COPIED } else { 0 });
                state.tables += u64::from(is_used);
            }
            return words(entries.into_iter());
        }
        while map.count(state.table * ENTRIES, (state.table + 1) * ENTRIES) == 0 && state.table < self.l1_entries {
            state.table += 1;
        }
        let first = state.table * ENTRIES;
        state.table += 1;
        let mut entries = Vec::new();
        for cluster in first..first + ENTRIES {
            let is_used = map.has(cluster);
            entries.push(if is_used { ((self.data + state.data) * CLUSTER) | COPIED } else { 0 });
            state.data += u64::from(is_used);
        }
        words(entries.into_iter())
    }
}

/// How many were named so far.
#[derive(Debug, Default)]
struct Tables {
    tables: u64,
    /// Of the next table of the second level: which part of the disk it may be for.
    table: u64,
    data: u64,
}

fn words(words: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut cluster: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
    cluster.resize(CLUSTER as usize, 0);
    cluster
}

/// The clusters of the disk that are not zeros.
#[derive(Debug, Default)]
pub struct Map {
    bits: Vec<u64>,
}

impl Map {
    fn add(&mut self, cluster: u64) {
        let (word, bit) = ((cluster / 64) as usize, cluster % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(word) = self.bits.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    fn has(&self, cluster: u64) -> bool {
        self.bits.get((cluster / 64) as usize).is_some_and(|word| word >> (cluster % 64) & 1 == 1)
    }

    /// Both are multiples of 64, or the end of the disk.
    fn count(&self, from: u64, to: u64) -> u64 {
        let words = (from / 64) as usize..(to.div_ceil(64) as usize).min(self.bits.len());
        self.bits.get(words).unwrap_or_default().iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

pub struct Image<'p> {
    content: Content,
    /// Once the disk was read for the first time.
    found: Option<(Layout, Map)>,
    tables: Tables,
    /// The next cluster of the file, and of the disk.
    next: u64,
    cluster: u64,
    current: Vec<u8>,
    at: usize,
    progress: &'p mut Progress,
}

impl<'p> Image<'p> {
    pub fn new(content: Content, progress: &'p mut Progress) -> Self {
        let current = Vec::new();
        Self { content, found: None, tables: Tables::default(), next: 0, cluster: 0, current, at: 0, progress }
    }

    fn find(&mut self) -> io::Result<(Layout, Map)> {
        crate::say("looking for the parts of the disk that have data");
        let size = self.content.source.size;
        let mut map = Map::default();
        let mut data = vec![0; CLUSTER as usize];
        for cluster in 0..size.div_ceil(CLUSTER) {
            let length = (size - cluster * CLUSTER).min(CLUSTER) as usize;
            let part = data.get_mut(..length).unwrap_or_default();
            if self.content.fill(cluster * CLUSTER, part)? && !is_zero(part) {
                map.add(cluster);
            }
            self.progress.report(cluster * CLUSTER / 2, Some(size), Instant::now());
        }
        Ok((Layout::new(size, &map), map))
    }

    /// `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        if self.found.is_none() {
            self.found = Some(self.find()?);
        }
        let size = self.content.source.size;
        let Some((layout, map)) = &self.found else { return Ok(false) };
        if self.next >= layout.end {
            self.progress.complete(size);
            return Ok(false);
        }
        if self.next < layout.data {
            self.current = layout.cluster(self.next, size, map, &mut self.tables);
        } else {
            while !map.has(self.cluster) && self.cluster < layout.clusters {
                self.cluster += 1;
            }
            let at = self.cluster * CLUSTER;
            self.current.resize(CLUSTER as usize, 0);
            let length = size.saturating_sub(at).min(CLUSTER) as usize;
            let (data, rest) = self.current.split_at_mut(length);
            rest.fill(0);
            self.content.fill(at, data)?;
            self.cluster += 1;
            self.progress.report((size + at) / 2, Some(size), Instant::now());
        }
        self.next += 1;
        self.at = 0;
        Ok(true)
    }
}

impl Read for Image<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.current.len() && !self.advance()? {
            return Ok(0);
        }
        let rest = self.current.get(self.at..).unwrap_or_default();
        let got = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..got), rest.get(..got)) {
            to.copy_from_slice(from);
        }
        self.at += got;
        Ok(got)
    }
}
