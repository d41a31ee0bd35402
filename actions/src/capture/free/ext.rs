//! ext2, ext3 and ext4: the block bitmaps (Documentation/filesystems/ext4 of the kernel).

use super::Ranges;
use crate::partitions::{ReadAt, le};

const SUPERBLOCK_AT: u64 = 1024;
const MAGIC: u64 = 0xef53;
const CLEAN: u64 = 1;
const HAS_ERRORS: u64 = 2;
/// The journal has changes that are not in the bitmaps.
const NEEDS_RECOVERY: u64 = 0x4;
const IS_64_BIT: u64 = 0x80;
/// Directories and files may be anything. These features do not change where the bitmaps are: filetype, extents, flex_bg, mmp,
/// inline data, large directories, encryption, casefold, checksum seed, extended attributes in inodes.
const KNOWN: u64 = 0x2 | 0x40 | IS_64_BIT | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
const BIGALLOC: u64 = 0x200;
/// Checksums of groups, which allow for bitmaps that were never written.
const GROUP_CHECKSUMS: u64 = 0x10 | 0x400;
const BLOCK_UNINIT: u64 = 0x2;

struct Superblock {
    blocks: u64,
    block: u64,
    first: u64,
    blocks_per_group: u64,
    inode_table: u64,
    descriptor: u64,
    reserved: u64,
    has_checksums: bool,
}

/// `None` for what is not a clean file system whose features are all known.
pub fn free(read: &ReadAt<'_>, size: u64) -> Option<Ranges> {
    let mut data = [0; 1024];
    read(SUPERBLOCK_AT, &mut data).ok()?;
    let superblock = Superblock::parse(&data)?;
    let Superblock { blocks, block, first, blocks_per_group, .. } = superblock;
    if blocks.checked_mul(block)? > size {
        return None;
    }
    let groups = (blocks - first).div_ceil(blocks_per_group);
    let mut ranges = Ranges::default();
    let mut descriptors = vec![0; usize::try_from(block).ok()?];
    let mut bitmap = vec![0; usize::try_from(blocks_per_group / 8).ok()?];
    let per_block = block / superblock.descriptor;
    for group in 0..groups {
        if group % per_block == 0 {
            read((first + 1 + group / per_block) * block, &mut descriptors).ok()?;
        }
        let at = usize::try_from(group % per_block * superblock.descriptor).ok()?;
        let descriptor = descriptors.get(at..at + usize::try_from(superblock.descriptor).ok()?)?;
        let start = first + group * blocks_per_group;
        let end = (start + blocks_per_group).min(blocks);
        if superblock.has_checksums && le(descriptor, 18, 2)? & BLOCK_UNINIT != 0 {
            superblock.never_used(descriptor, groups.div_ceil(per_block), start, end, &mut ranges)?;
            continue;
        }
        read(superblock.place(descriptor, 0, 32)?.checked_mul(block)?, &mut bitmap).ok()?;
        let is_free = |number: u64| bitmap.get((number / 8) as usize).is_some_and(|byte| byte >> (number % 8) & 1 == 0);
        let mut from = start;
        while from < end {
            let state = is_free(from - start);
            let until = (from..end).find(|number| is_free(number - start) != state).unwrap_or(end);
            if state {
                ranges.add(from * block..until * block);
            }
            from = until;
        }
    }
    Some(ranges)
}

impl Superblock {
    fn parse(data: &[u8]) -> Option<Self> {
        let (state, incompatible, read_only) = (le(data, 58, 2)?, le(data, 96, 4)?, le(data, 100, 4)?);
        let is_known = le(data, 56, 2)? == MAGIC && incompatible & !KNOWN == 0 && read_only & BIGALLOC == 0;
        if !is_known || state & CLEAN == 0 || state & HAS_ERRORS != 0 || incompatible & NEEDS_RECOVERY != 0 {
            return None;
        }
        let is_64_bit = incompatible & IS_64_BIT != 0;
        let block = 1024 << le(data, 24, 4).filter(|log| *log <= 6)?;
        let inode = if le(data, 76, 4)? == 0 { 128 } else { le(data, 88, 2)? };
        let superblock = Self {
            blocks: le(data, 4, 4)? | if is_64_bit { le(data, 336, 4)? << 32 } else { 0 },
            block,
            first: le(data, 20, 4)?,
            blocks_per_group: le(data, 32, 4)?,
            inode_table: (le(data, 40, 4)? * inode).div_ceil(block),
            descriptor: if is_64_bit { le(data, 254, 2)? } else { 32 },
            reserved: le(data, 206, 2)?,
            has_checksums: read_only & GROUP_CHECKSUMS != 0,
        };
        let Self { blocks, first, blocks_per_group, descriptor, .. } = superblock;
        let plausible = blocks_per_group.is_multiple_of(8)
            && (256..=block * 8).contains(&blocks_per_group)
            && descriptor.is_power_of_two()
            && (32..=1024).contains(&descriptor)
            && (!is_64_bit || descriptor >= 64)
            && first <= 1
            && blocks > first;
        plausible.then_some(superblock)
    }

    /// A number of a block, whose upper half is in the longer descriptors.
    fn place(&self, descriptor: &[u8], low: usize, high: usize) -> Option<u64> {
        Some(le(descriptor, low, 4)? | if self.descriptor >= 64 { le(descriptor, high, 4)? << 32 } else { 0 })
    }

    /// A group whose bitmap was never written has nothing but its own tables, and copies of the superblock and of the
    /// descriptors at its start.
    fn never_used(&self, descriptor: &[u8], tables: u64, start: u64, end: u64, free: &mut Ranges) -> Option<()> {
        let bitmap = self.place(descriptor, 0, 32)?;
        let inodes = self.place(descriptor, 4, 36)?;
        let table = self.place(descriptor, 8, 40)?;
        let mut used = [
            start..(start + 1 + tables + self.reserved).min(end),
            bitmap..bitmap.checked_add(1)?,
            inodes..inodes.checked_add(1)?,
            table..table.checked_add(self.inode_table)?,
        ];
        used.sort_by_key(|range| range.start);
        let mut from = start;
        for range in used {
            free.add(from * self.block..range.start.clamp(from, end) * self.block);
            from = from.max(range.end.min(end));
        }
        free.add(from * self.block..end * self.block);
        Some(())
    }
}
