//! The partitions of a disk as its table has them, for actions that only read it.

use std::io;

/// Reads exactly as much as the buffer takes.
pub type ReadAt<'r> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'r;

const MAX_PARTITIONS: u64 = 128;
const GPT_ENTRY: std::ops::RangeInclusive<u64> = 128..=4096;
/// EFI system partition: c12a7328-f81f-11d2-ba4b-00a0c93ec93b, as it is on the disk.
const ESP: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const MBR_ESP: u8 = 0xef;
const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gpt { kind: [u8; 16], id: [u8; 16] },
    Mbr { kind: u8, disk: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    /// In sectors of the disk.
    pub start: u64,
    pub sectors: u64,
    pub kind: Kind,
}

impl Partition {
    pub fn is_esp(&self) -> bool {
        match self.kind {
            Kind::Gpt { kind, .. } => kind == ESP,
            Kind::Mbr { kind, .. } => kind == MBR_ESP,
        }
    }

    /// It holds logical partitions, and is none itself.
    pub fn is_extended(&self) -> bool {
        matches!(self.kind, Kind::Mbr { kind, .. } if EXTENDED.contains(&kind))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Table {
    Partitions(Vec<Partition>),
    None,
    /// A GPT that contradicts itself.
    Damaged,
}

/// The partitions of GPT, or the primary ones of an MBR.
pub fn table(read: &ReadAt<'_>, size: u64, sector: u64) -> Table {
    let mut mbr = [0; 512];
    if read(0, &mut mbr).is_err() || mbr.get(510..) != Some(&[0x55, 0xaa]) {
        return Table::None;
    }
    let disk = le(&mbr, 440, 4).and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
    let entries = (0..4u32).filter_map(|index| {
        let at = 446 + index as usize * 16;
        let entry = mbr.get(at..at + 16)?;
        let (kind, start, sectors) = (*entry.get(4)?, le(entry, 8, 4)?, le(entry, 12, 4)?);
        (kind != 0 && sectors != 0).then_some(Partition { number: index + 1, start, sectors, kind: Kind::Mbr { kind, disk } })
    });
    let entries: Vec<Partition> = entries.collect();
    if entries.iter().any(|entry| matches!(entry.kind, Kind::Mbr { kind: PROTECTIVE, .. })) {
        return gpt(read, sector).map_or(Table::Damaged, Table::Partitions);
    }
    // A FAT file system without a table ends with the same signature.
    let plausible = entries.iter().all(|entry| entry.start > 0 && (entry.start + entry.sectors).saturating_mul(sector) <= size);
    if plausible && !entries.is_empty() { Table::Partitions(entries) } else { Table::None }
}

/// `None` if the table is not as it must be.
fn gpt(read: &ReadAt<'_>, sector: u64) -> Option<Vec<Partition>> {
    let mut header = [0; 92];
    read(sector, &mut header).ok()?;
    if !header.starts_with(b"EFI PART") {
        return None;
    }
    let (at, count, length) = (le(&header, 72, 8)?, le(&header, 80, 4)?, le(&header, 84, 4)?);
    if !GPT_ENTRY.contains(&length) || count > MAX_PARTITIONS {
        return None;
    }
    let mut table = vec![0; usize::try_from(count * length).ok()?];
    read(at.checked_mul(sector)?, &mut table).ok()?;
    let entries = (1u32..).zip(table.chunks(usize::try_from(length).ok()?));
    let used = entries.filter(|(_, entry)| entry.get(..16).is_some_and(|kind| kind.iter().any(|byte| *byte != 0)));
    used.map(|(number, entry)| {
        let (start, last) = (le(entry, 32, 8)?, le(entry, 40, 8)?);
        let kind = Kind::Gpt { kind: entry.get(..16)?.try_into().ok()?, id: entry.get(16..32)?.try_into().ok()? };
        last.checked_add(1)?.checked_mul(sector)?;
        Some(Partition { number, start, sectors: last.checked_sub(start)? + 1, kind })
    })
    .collect()
}

/// A number of `length` bytes, the lowest one first.
pub fn le(data: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
