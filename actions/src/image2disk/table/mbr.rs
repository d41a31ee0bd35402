//! A partition table of the MBR: four entries with 32-bit sector numbers.

pub mod new;

use super::{Adapted, Disk, Grow, Part, TableError, chosen, fits, grown, number, old_copies, put, short};

const FIRST: usize = 446;
const ENTRY: usize = 16;
const PROTECTIVE: u64 = 0xee;

/// In sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    number: u32,
    kind: u64,
    start: u64,
    length: u64,
}

impl Entry {
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// `None` without a table, as in the boot sector of a file system.
pub fn parts(head: &[u8]) -> Option<Vec<Entry>> {
    if head.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let places = (0..4usize).map(|index| (index as u32 + 1, FIRST + index * ENTRY));
    let used = places.filter(|(_, at)| number(head, at + 4, 1) != 0);
    let entries = used.map(|(index, at)| {
        let plausible = matches!(number(head, at, 1), 0 | 0x80);
        let (start, length) = (number(head, at + 8, 4), number(head, at + 12, 4));
        (plausible && length > 0).then(|| Entry { number: index, kind: number(head, at + 4, 1), start, length })
    });
    entries.collect::<Option<Vec<Entry>>>().filter(|entries| !entries.is_empty())
}

pub fn list(head: &[u8], sector: u64) -> Vec<Part> {
    let entries = parts(head).unwrap_or_default().into_iter().filter(|entry| entry.kind != PROTECTIVE);
    let at = |sectors: u64| sectors.saturating_mul(sector);
    entries.map(|entry| Part { number: entry.number, start: at(entry.start), end: at(entry.start + entry.length) }).collect()
}

pub fn adapt(
    head: &mut [u8],
    entries: &[Entry],
    image: Option<u64>,
    disk: Disk,
    grow: Option<Grow>,
) -> Result<Adapted, TableError> {
    let end = entries.iter().map(|entry| entry.start + entry.length).max().unwrap_or(0);
    let sector = sector(end, image, disk.sector);
    if sector != disk.sector {
        return converted(head, entries, image, disk, grow, sector);
    }
    placed(head, entries, image, disk, grow)
}

fn placed(head: &mut [u8], entries: &[Entry], image: Option<u64>, disk: Disk, grow: Option<Grow>) -> Result<Adapted, TableError> {
    let of = |entry: &Entry| Part {
        number: entry.number,
        start: entry.start * disk.sector,
        end: (entry.start + entry.length) * disk.sector,
    };
    let parts: Vec<Part> = entries.iter().filter(|entry| entry.kind != PROTECTIVE).map(of).collect();
    fits(&parts, disk.size)?;
    let mut adapted = Adapted { notes: short(&parts, image).into_iter().collect(), ..Adapted::default() };
    let Some(grow) = grow else { return Ok(adapted) };
    let part = chosen(&parts, grow)?;
    let Some(entry) = entries.iter().find(|entry| entry.number == part.number) else { return Ok(adapted) };
    if entry.is_extended() {
        return Err(TableError::Extended(entry.number));
    }
    let sectors = (disk.size / disk.sector).min(u64::from(u32::MAX));
    let length = sectors.saturating_sub(entry.start);
    if length > entry.length {
        put(head, FIRST + (part.number as usize - 1) * ENTRY + 12, &(length as u32).to_le_bytes());
        adapted.notes.push(grown(part.number, entry.length * disk.sector, length * disk.sector));
        let end = (entry.start + length) * disk.sector;
        (adapted.grown, adapted.stale) = (Some(part.number), old_copies(&part, end));
    }
    Ok(adapted)
}

/// With numbers that count in the disk's sectors. The partitions stay where they are.
fn converted(
    head: &mut [u8],
    entries: &[Entry],
    image: Option<u64>,
    disk: Disk,
    grow: Option<Grow>,
    from: u64,
) -> Result<Adapted, TableError> {
    let to = disk.sector;
    // The chain of an extended partition has numbers inside of it.
    if entries.iter().any(|entry| entry.is_extended() || entry.kind == PROTECTIVE) {
        return Err(TableError::Sector { image: from, disk: to });
    }
    let mut copy = head.to_vec();
    let (mut own, mut parts) = (Vec::new(), Vec::new());
    for entry in entries {
        let part = Part { number: entry.number, start: entry.start * from, end: (entry.start + entry.length) * from };
        if !part.is_aligned(to, to) {
            return Err(TableError::Unaligned { number: part.number, image: from, disk: to });
        }
        let new = Entry { start: part.start / to, length: (part.end - part.start) / to, ..*entry };
        let at = FIRST + (entry.number as usize - 1) * ENTRY;
        put(&mut copy, at + 8, &(new.start as u32).to_le_bytes());
        put(&mut copy, at + 12, &(new.length as u32).to_le_bytes());
        own.push(new);
        parts.push(part);
    }
    let mut adapted = placed(&mut copy, &own, image, disk, grow)?;
    head.copy_from_slice(&copy);
    adapted.notes.insert(0, format!("the partition table was converted from sectors of {from} bytes to {to}"));
    Ok(Adapted { converted: parts, ..adapted })
}

/// The table does not say how large its sectors are. They have 512 bytes, unless that leaves most of the image unused on a
/// disk with larger ones.
fn sector(end: u64, image: Option<u64>, disk: u64) -> u64 {
    match image {
        Some(size) if disk > 512 && end * disk <= size && end * 512 * 2 < size => disk,
        _ => 512,
    }
}
