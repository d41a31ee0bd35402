//! Where partitions begin and end. Pure.

use super::storage::Partition;
use crate::image2disk::table::Disk;
use crate::image2disk::table::new::{Kind, MBR_COUNT, NAME_MAX, NewPart, guid, last_usable};

/// Partitions begin at whole MiB: disks and flash read and write in such units.
const ALIGNMENT: u64 = 1 << 20;
/// Tinkerbell counts in sectors of this size, whatever the disk has.
const SECTOR: u64 = 512;
const GPT_COUNT: usize = 128;

const LINUX: [u8; 16] = [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];
const SWAP: [u8; 16] = [0x6d, 0xfd, 0x57, 0x06, 0xab, 0xa4, 0xc4, 0x43, 0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f];
const BIOS: [u8; 16] = *b"Hah!IdontNeedEFI";
const EFI: [u8; 16] = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("it has no partitions")]
    Empty,
    #[error("it has {count} partitions, and {table} can have {most}{}", if *.most < 5 { ": use GPT, without MBR" } else { "" })]
    Many { count: usize, table: &'static str, most: usize },
    #[error("the partition after {before} has number {number}: they are numbered from 1, in order")]
    Order { number: u64, before: u64 },
    #[error("partition {number} has size 0, the rest of the disk, and is not the last one")]
    Rest { number: u64 },
    #[error("partition {number} begins at sector {start}, and sectors up to {free} are taken")]
    Overlap { number: u64, start: u64, free: u64 },
    #[error("partition {number} begins at sector {start}, or has {size} sectors: the disk has sectors of {sector} bytes")]
    Sector { number: u64, start: u64, size: u64, sector: u64 },
    #[error("partition {number} ends at byte {end}, and the disk has room up to byte {room}")]
    TooLarge { number: u64, end: u64, room: u64 },
    #[error("partition {number} has no room: the disk is full before it")]
    Full { number: u64 },
    #[error("the label of partition {number} is longer than {NAME_MAX} characters")]
    Label { number: u64 },
    #[error("the type_guid {text:?} of partition {number} is not a GUID")]
    Guid { number: u64, text: String },
}

/// # Errors
/// What does not fit the disk, or contradicts itself.
pub fn plan(partitions: &[Partition], disk: Disk, mbr: bool) -> Result<Vec<NewPart>, LayoutError> {
    let (table, most) = if mbr { ("an MBR", MBR_COUNT as usize) } else { ("a GPT", GPT_COUNT) };
    match partitions.len() {
        0 => return Err(LayoutError::Empty),
        count if count > most => return Err(LayoutError::Many { count, table, most }),
        _ => {}
    }
    let room = if mbr {
        disk.size.min((u64::from(u32::MAX) + 1) * disk.sector)
    } else {
        last_usable(disk).saturating_add(1) * disk.sector
    };
    let mut free = ALIGNMENT;
    let mut parts = Vec::new();
    for (index, partition) in (1u64..).zip(partitions) {
        let number = partition.number;
        if number != index {
            return Err(LayoutError::Order { number, before: index - 1 });
        }
        let (start, end) = place(partition, free, room, disk.sector)?;
        if partition.size == 0 && partitions.len() as u64 != index {
            return Err(LayoutError::Rest { number });
        }
        if end > room {
            return Err(LayoutError::TooLarge { number, end, room });
        }
        if end <= start {
            return Err(LayoutError::Full { number });
        }
        free = end;
        let (kind, active) = kind(partition, mbr)?;
        if partition.label.encode_utf16().count() > NAME_MAX {
            return Err(LayoutError::Label { number });
        }
        let (name, number) = (partition.label.clone(), index as u32);
        parts.push(NewPart { number, start: start / disk.sector, length: (end - start) / disk.sector, kind, name, active });
    }
    Ok(parts)
}

/// Its first byte, and the first one after it.
fn place(partition: &Partition, free: u64, room: u64, sector: u64) -> Result<(u64, u64), LayoutError> {
    let Partition { number, size, .. } = *partition;
    let start = match partition.start {
        Some(start) if start.saturating_mul(SECTOR) < free => {
            return Err(LayoutError::Overlap { number, start, free: free / SECTOR });
        }
        Some(start) => start.saturating_mul(SECTOR),
        None => free.next_multiple_of(ALIGNMENT),
    };
    let end = match size {
        // A disk with a few sectors more would otherwise get another last partition.
        0 => room - room % ALIGNMENT,
        size => start.saturating_add(size.saturating_mul(SECTOR)),
    };
    if start.is_multiple_of(sector) && end.is_multiple_of(sector) {
        return Ok((start, end));
    }
    if end == u64::MAX {
        return Err(LayoutError::TooLarge { number, end, room });
    }
    Err(LayoutError::Sector { number, start: start / SECTOR, size, sector })
}

/// The labels that choose a type are upstream's.
fn kind(partition: &Partition, mbr: bool) -> Result<(Kind, bool), LayoutError> {
    let label = partition.label.as_str();
    if mbr {
        let kind = match label {
            "SWAP" => 0x82,
            "FAT32" | "FAT32_ACTIVE" => 0x0c,
            "EFI" => 0xef,
            _ => 0x83,
        };
        return Ok((Kind::Mbr(kind), matches!(label, "LINUX_ACTIVE" | "FAT32_ACTIVE")));
    }
    let kind = match (&partition.type_guid, label) {
        (Some(text), _) => {
            guid(text).ok_or_else(|| LayoutError::Guid { number: partition.number, text: text.chars().take(60).collect() })?
        }
        (None, "SWAP") => SWAP,
        (None, "BIOS") => BIOS,
        (None, "EFI") => EFI,
        (None, _) => LINUX,
    };
    Ok((Kind::Guid(kind), false))
}

#[cfg(test)]
mod tests;
