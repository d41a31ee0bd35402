//! What a disk or a partition is recognised by, and where that lies: at both ends, and at the copies of btrfs. Pure.
//!
//! Sources: md (drivers/md/md_p.h of Linux), LVM2 (lib/format_text/layout.h), ZFS on-disk format (chapter 1), and the magic numbers
//! of libblkid.

use std::ops::Range;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Erased at both ends. LVM keeps its label and its metadata in the first MiB, and a second copy in the last one if asked to. The
/// labels of ZFS are the first and the last half MiB, in steps of 256 KiB. md 0.90 begins up to 128 KiB before the end.
pub const EDGE: u64 = MIB;
/// Copies of the superblock of btrfs, from the start.
const BTRFS_COPIES: [u64; 2] = [64 * MIB, 256 << 30];
const COPY: u64 = 4 * KIB;
/// How much of each end is looked at.
pub const START: usize = 260 << 10;
pub const END: usize = 512 << 10;

const ZFS_LABEL: u64 = 256 * KIB;
const UBERBLOCKS: usize = 128 << 10;
const UBERBLOCK: usize = 1 << 10;

const STARTS: &[(usize, &[u8], &str)] = &[
    (512, b"EFI PART", "GPT"),
    (4096, b"EFI PART", "GPT"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (54, b"FAT1", "FAT"),
    (82, b"FAT32", "FAT"),
    (1080, &[0x53, 0xef], "ext"),
    (0, b"XFSB", "XFS"),
    (65600, b"_BHRfS_M", "btrfs"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "F2FS"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache or bcachefs"),
    (0, b"hsqs", "squashfs"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"LABELONE", "an LVM physical volume"),
    (4086, b"SWAPSPACE2", "swap"),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member (1.1)"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member (1.2)"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (510, &[0x55, 0xaa], "a boot sector or an MBR"),
];

/// Where something may be recognised in a disk or partition of this size, as ranges to overwrite.
pub fn places(range: &Range<u64>) -> Vec<Range<u64>> {
    let size = range.end.saturating_sub(range.start);
    let edge = size.min(EDGE);
    let mut places = vec![range.start..range.start + edge, range.end - edge..range.end];
    let copies = BTRFS_COPIES.into_iter().filter(|at| at + COPY <= size);
    places.extend(copies.map(|at| range.start + at..range.start + at + COPY));
    places
}

/// What is there, by the first [`START`] and the last [`END`] bytes of it.
pub fn names(size: u64, start: &[u8], end: &[u8]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    let mut add = |name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    let is_at = |data: &[u8], at: usize, magic: &[u8]| data.get(at..).is_some_and(|rest| rest.starts_with(magic));
    for (at, magic, name) in STARTS {
        if is_at(start, *at, magic) {
            add(*name);
        }
    }
    let from_end = |place: u64| (end.len() as u64).checked_sub(size.checked_sub(place)?).and_then(|at| usize::try_from(at).ok());
    let ends = [
        // drivers/md/md.c: at least 8 KiB before the end, in steps of 4 KiB; and in steps of 64 KiB, at least 64 KiB before it
        (md_1_0(size), &[0xfc, 0x4e, 0x2b, 0xa9][..], "an md member (1.0)"),
        (md_0_90(size), &[0xfc, 0x4e, 0x2b, 0xa9], "an md member (0.90)"),
        (size.checked_sub(512), b"EFI PART", "the backup of GPT"),
        (size.checked_sub(4096), b"EFI PART", "the backup of GPT"),
    ];
    for (place, magic, name) in ends {
        if place.and_then(from_end).is_some_and(|at| is_at(end, at, magic)) {
            add(name);
        }
    }
    let labels =
        [start.get(..ZFS_LABEL as usize).map(|label| (label, true)), last_labels(size, end).map(|labels| (labels, false))];
    if labels.into_iter().flatten().any(|(data, _)| has_uberblock(data)) {
        add("a ZFS member");
    }
    names
}

fn md_1_0(size: u64) -> Option<u64> {
    Some(size.checked_sub(8 * KIB)? & !(4 * KIB - 1))
}

fn md_0_90(size: u64) -> Option<u64> {
    (size & !(64 * KIB - 1)).checked_sub(64 * KIB)
}

/// The last two labels of ZFS, which end at a multiple of 256 KiB.
fn last_labels(size: u64, end: &[u8]) -> Option<&[u8]> {
    let over = usize::try_from(size % ZFS_LABEL).ok()?;
    end.get(..end.len().checked_sub(over)?)
}

/// In an array behind the first 128 KiB of a label. The writer's byte order is either one.
fn has_uberblock(labels: &[u8]) -> bool {
    let magic = |block: &[u8]| {
        block.starts_with(&[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]) || block.starts_with(&[0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c])
    };
    labels
        .rchunks(ZFS_LABEL as usize)
        .any(|label| label.get(UBERBLOCKS..).is_some_and(|blocks| blocks.chunks(UBERBLOCK).any(magic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4 << 20;

    fn of(marks: &[(usize, &[u8])]) -> Vec<&'static str> {
        let mut data = vec![0; SIZE];
        for (at, mark) in marks {
            data[*at..at + mark.len()].copy_from_slice(mark);
        }
        names(SIZE as u64, &data[..START], &data[SIZE - END..])
    }

    #[test]
    fn what_lies_at_both_ends_is_named() {
        const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
        const ZFS: &[u8] = &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0];
        type Case<'c> = (&'c [(usize, &'c [u8])], &'c [&'c str]);
        let cases: [Case<'_>; 11] = [
            (&[], &[]),
            (
                &[(512, b"EFI PART"), (510, &[0x55, 0xaa]), (SIZE - 512, b"EFI PART")],
                &["GPT", "a boot sector or an MBR", "the backup of GPT"],
            ),
            (&[(SIZE - 8192, MD)], &["an md member (1.0)"]),
            (&[(SIZE - 65536, MD)], &["an md member (0.90)"]),
            (&[(4096, MD)], &["an md member (1.2)"]),
            (&[(0, MD)], &["an md member (1.1)"]),
            (&[(512, b"LABELONE")], &["an LVM physical volume"]),
            (&[(128 << 10, ZFS)], &["a ZFS member"]),
            (&[(SIZE - (128 << 10) + 3072, ZFS)], &["a ZFS member"]),
            (&[(SIZE - (384 << 10) + 1024, &[0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c])], &["a ZFS member"]),
            (&[(65600, b"_BHRfS_M"), (1080, &[0x53, 0xef])], &["ext", "btrfs"]),
        ];
        for (marks, expected) in cases {
            assert_eq!(of(marks), expected, "{marks:?}");
        }
    }

    #[test]
    fn the_places_are_inside_of_the_range() {
        for size in [0, 512, 4096, MIB, 3 * MIB, 65 * MIB, 257 << 30] {
            let range = 7 * MIB..7 * MIB + size;
            let places = places(&range);
            assert!(places.iter().all(|place| place.start >= range.start && place.end <= range.end), "{size}: {places:?}");
            assert_eq!(
                places.len(),
                if size > 256 << 30 {
                    4
                } else if size > 64 * MIB {
                    3
                } else {
                    2
                },
                "{size}"
            );
        }
        assert!(names(3, &[1, 2, 3], &[1, 2, 3]).is_empty());
    }
}
