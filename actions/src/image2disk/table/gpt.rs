//! GPT: a header and an array of entries at the start of the disk, and a copy of both at the end.

pub mod new;

use super::{Adapted, Disk, Grow, Part, TableError, chosen, fits, grown, number, old_copies, put, short};

const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_MIN: usize = 92;
const ENTRY_MIN: usize = 128;
const ENTRIES_MAX: u64 = 4096;
/// Where the header has its values.
const SIZE_AT: usize = 12;
const CRC_AT: usize = 16;
const OWN_AT: usize = 24;
const OTHER_AT: usize = 32;
const FIRST_USABLE_AT: usize = 40;
const LAST_USABLE_AT: usize = 48;
const ENTRIES_AT: usize = 72;
const COUNT_AT: usize = 80;
const ENTRY_SIZE_AT: usize = 84;
const ENTRIES_CRC_AT: usize = 88;
/// And an entry.
const FIRST_AT: usize = 32;
const LAST_AT: usize = 40;

const GROWN_TO: u64 = 1 << 20;

/// In sectors; the lengths are in bytes.
struct Header {
    at: usize,
    length: usize,
    backup: u64,
    last_usable: u64,
    /// Where the entries are in the head.
    entries: std::ops::Range<usize>,
    entry: usize,
    /// Sectors of the entries.
    sectors: u64,
}

pub fn is_at(head: &[u8], sector: u64) -> bool {
    head.get(sector as usize..).is_some_and(|rest| rest.starts_with(SIGNATURE))
}

impl Header {
    /// `None` if the checksums do not match, or the entries are not in the head.
    fn read(head: &[u8], sector: u64) -> Option<Self> {
        let at = sector as usize;
        let block = head.get(at..at + at)?;
        let length = number(block, SIZE_AT, 4) as usize;
        let (count, entry) = (number(block, COUNT_AT, 4), number(block, ENTRY_SIZE_AT, 4) as usize);
        let plausible = (HEADER_MIN..=block.len()).contains(&length)
            && number(block, OWN_AT, 8) == 1
            && (1..=ENTRIES_MAX).contains(&count)
            && (ENTRY_MIN..=ENTRY_MIN * 32).contains(&entry);
        if !plausible {
            return None;
        }
        let start = usize::try_from(number(block, ENTRIES_AT, 8).checked_mul(sector)?).ok()?;
        let entries = start..start.checked_add(count as usize * entry)?;
        let sums = [number(block, CRC_AT, 4), number(block, ENTRIES_CRC_AT, 4)];
        if sums != [header_crc(block.get(..length)?), u64::from(crc32fast::hash(head.get(entries.clone())?))] {
            return None;
        }
        let sectors = (entries.len() as u64).div_ceil(sector);
        let (backup, last_usable) = (number(block, OTHER_AT, 8), number(block, LAST_USABLE_AT, 8));
        Some(Self { at, length, backup, last_usable, entries, entry, sectors })
    }

    fn parts(&self, head: &[u8], sector: u64) -> Vec<Part> {
        let entries = head.get(self.entries.clone()).unwrap_or_default().chunks_exact(self.entry);
        let used = (1..).zip(entries).filter(|(_, entry)| entry.get(..16) != Some(&[0; 16]));
        let at = |entry: &[u8], at| number(entry, at, 8);
        used.map(|(index, entry)| Part {
            number: index,
            start: at(entry, FIRST_AT).saturating_mul(sector),
            end: at(entry, LAST_AT).saturating_add(1).saturating_mul(sector),
        })
        .collect()
    }
}

fn header_crc(header: &[u8]) -> u64 {
    let mut copy = header.to_vec();
    put(&mut copy, CRC_AT, &[0; 4]);
    crc32fast::hash(&copy).into()
}

pub fn adapt(head: &mut [u8], image: Option<u64>, disk: Disk, grow: Option<Grow>) -> Result<Adapted, TableError> {
    let Some(header) = Header::read(head, disk.sector) else {
        let note = "the image's GPT is damaged, and is written as it is".to_owned();
        return if grow.is_some() { Err(TableError::NoTable) } else { Ok(Adapted { notes: vec![note], ..Adapted::default() }) };
    };
    let sectors = disk.size / disk.sector;
    let last = sectors.saturating_sub(1);
    let last_usable = last.saturating_sub(header.sectors + 1);
    let parts = header.parts(head, disk.sector);
    fits(&parts, (last_usable + 1) * disk.sector)?;
    let mut adapted = Adapted { notes: short(&parts, image).into_iter().collect(), ..Adapted::default() };
    let mut changed = false;
    if last < (header.entries.end as u64).div_ceil(disk.sector) + header.sectors {
        adapted.notes.push("the disk is too small for a backup of GPT".to_owned());
        return if grow.is_some() { Err(TableError::NoTable) } else { Ok(adapted) };
    }
    if let Some(grow) = grow {
        let part = chosen(&parts, grow)?;
        let end = (last_usable + 1) * disk.sector;
        // Whole MiB, as partitioning programs leave them.
        let end = end - end % GROWN_TO;
        if end > part.end {
            let at = header.entries.start + (part.number as usize - 1) * header.entry;
            put(head, at + LAST_AT, &(end / disk.sector - 1).to_le_bytes());
            adapted.notes.push(grown(part.number, part.end, end));
            (adapted.grown, adapted.stale) = (Some(part.number), old_copies(&part, end));
            changed = true;
        }
    }
    if header.backup == last && header.last_usable == last_usable && !changed {
        return Ok(adapted);
    }
    // Without a backup the table was converted just now.
    if header.backup != last && header.backup > 0 {
        let (start, length) = (header.backup.saturating_sub(header.sectors), header.sectors + 1);
        let (start, length) = (start.saturating_mul(disk.sector), length * disk.sector);
        let is_free = parts.iter().all(|part| part.end <= start);
        let is_there = image.is_none_or(|size| start < size) && start.saturating_add(length) <= disk.size;
        adapted.stale.extend((is_free && is_there && start > 0).then_some((start, length)));
        adapted.notes.push(format!("the backup of GPT moved from sector {} to {last}", header.backup));
    }
    adapted.backup = Some(seal(head, &header, disk.sector, last, last_usable));
    Ok(adapted)
}

pub fn list(head: &[u8], sector: u64) -> Vec<Part> {
    Header::read(head, sector).map(|header| header.parts(head, sector)).unwrap_or_default()
}

pub struct Converted {
    pub parts: Vec<Part>,
    /// The backup that the image has.
    pub stale: Option<(u64, u64)>,
}

/// Rewrites the table of the head for the disk's sectors. The partitions stay where they are, in bytes. [`adapt`] does the rest.
pub fn convert(head: &mut [u8], from: u64, disk: Disk, image: Option<u64>) -> Result<Converted, TableError> {
    let to = disk.sector;
    let refused = TableError::Sector { image: from, disk: to };
    // A hybrid MBR has sectors of its own.
    let Some(header) = Header::read(head, from).filter(|_| is_protective(head)) else { return Err(refused) };
    let (block, length) = (to as usize, header.entries.len());
    let entries_at = 2 * block;
    let parts = header.parts(head, from);
    if let Some(part) = parts.iter().find(|part| !part.is_aligned(to, (entries_at + length).next_multiple_of(block) as u64)) {
        return Err(TableError::Unaligned { number: part.number, image: from, disk: to });
    }
    let mut entries = head.get(header.entries.clone()).unwrap_or_default().to_vec();
    for part in &parts {
        let at = (part.number as usize - 1) * header.entry;
        put(&mut entries, at + FIRST_AT, &(part.start / to).to_le_bytes());
        put(&mut entries, at + LAST_AT, &(part.end / to).saturating_sub(1).to_le_bytes());
    }
    let mut own = head.get(header.at..header.at + header.length).unwrap_or_default().to_vec();
    for range in [header.at..header.at + header.at, header.entries.clone()] {
        head.get_mut(range).unwrap_or_default().fill(0);
    }
    put(&mut own, OTHER_AT, &[0; 8]);
    put(&mut own, FIRST_USABLE_AT, &((entries_at + length).div_ceil(block) as u64).to_le_bytes());
    put(&mut own, ENTRIES_AT, &2u64.to_le_bytes());
    put(&mut own, ENTRIES_CRC_AT, &crc32fast::hash(&entries).to_le_bytes());
    let crc = header_crc(&own) as u32;
    put(&mut own, CRC_AT, &crc.to_le_bytes());
    put(head, block, &own);
    put(head, entries_at, &entries);
    let (start, length) = (header.backup.saturating_sub(header.sectors).saturating_mul(from), (header.sectors + 1) * from);
    let is_there = start > 0 && image.is_none_or(|size| start < size) && start.saturating_add(length) <= disk.size;
    let is_free = parts.iter().all(|part| part.end <= start);
    Ok(Converted { parts, stale: (is_there && is_free).then_some((start, length)) })
}

/// Writes both headers: one into the head, and one behind the copy of the entries that is returned with its place.
fn seal(head: &mut [u8], header: &Header, sector: u64, last: u64, last_usable: u64) -> (u64, Vec<u8>) {
    let entries = head.get(header.entries.clone()).unwrap_or_default().to_vec();
    let block = header.at..header.at + header.at;
    let mut primary = head.get(block.clone()).unwrap_or_default().to_vec();
    put(&mut primary, OTHER_AT, &last.to_le_bytes());
    put(&mut primary, LAST_USABLE_AT, &last_usable.to_le_bytes());
    put(&mut primary, ENTRIES_CRC_AT, &crc32fast::hash(&entries).to_le_bytes());
    let mut backup = primary.clone();
    let entries_at = last.saturating_sub(header.sectors);
    put(&mut backup, OWN_AT, &last.to_le_bytes());
    put(&mut backup, OTHER_AT, &1u64.to_le_bytes());
    put(&mut backup, ENTRIES_AT, &entries_at.to_le_bytes());
    for header_block in [&mut primary, &mut backup] {
        let crc = header_crc(header_block.get(..header.length).unwrap_or_default()) as u32;
        put(header_block, CRC_AT, &crc.to_le_bytes());
    }
    put(head, header.at, &primary);
    protective(head, last);
    let mut tail = entries;
    tail.resize((header.sectors * sector) as usize, 0);
    tail.extend(backup);
    (entries_at * sector, tail)
}

fn is_protective(head: &[u8]) -> bool {
    let kinds: Vec<u64> = (0..4).map(|index| number(head, 446 + 16 * index + 4, 1)).collect();
    kinds == [0xee, 0, 0, 0] && number(head, 454, 4) == 1
}

/// The MBR's only entry covers the disk. A hybrid MBR has more, and is kept.
fn protective(head: &mut [u8], last: u64) {
    if is_protective(head) {
        put(head, 458, &(last.min(u64::from(u32::MAX)) as u32).to_le_bytes());
    }
}
