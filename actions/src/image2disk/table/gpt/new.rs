//! A new GPT.

use super::super::new::{Kind, NewPart, Table};
use super::{
    COUNT_AT, CRC_AT, ENTRIES_AT, ENTRY_MIN, ENTRY_SIZE_AT, FIRST_USABLE_AT, HEADER_MIN, Header, LAST_AT, OTHER_AT, OWN_AT,
    SIGNATURE, SIZE_AT, put, seal,
};
use crate::image2disk::table::Disk;

/// What all partitioning programs leave room for.
const COUNT: usize = 128;
const REVISION: u32 = 0x0001_0000;
const REVISION_AT: usize = 8;
const GUID_AT: usize = 56;
const NAME_AT: usize = 56;
/// UTF-16 units of a name.
pub const NAME_MAX: usize = 36;

/// Sectors of the entries.
fn sectors(sector: u64) -> u64 {
    ((COUNT * ENTRY_MIN) as u64).div_ceil(sector)
}

/// The last sector that a partition may have. 0 for a disk that is too small for a GPT.
pub fn last_usable(disk: Disk) -> u64 {
    (disk.size / disk.sector).saturating_sub(sectors(disk.sector) + 2)
}

/// `id` gives a new GUID each time.
pub fn table(parts: &[NewPart], disk: Disk, mut id: impl FnMut() -> [u8; 16]) -> Table {
    let (sector, own) = (disk.sector as usize, sectors(disk.sector));
    let last = (disk.size / disk.sector).saturating_sub(1);
    let entries = 2 * sector..2 * sector + COUNT * ENTRY_MIN;
    let mut head = vec![0; (2 + own as usize) * sector];
    // The protective MBR: one entry over the whole disk.
    put(&mut head, 446, &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    put(&mut head, 458, &(last.min(u64::from(u32::MAX)) as u32).to_le_bytes());
    put(&mut head, 510, &[0x55, 0xaa]);
    put(&mut head, sector, SIGNATURE);
    for (at, value) in [(REVISION_AT, REVISION), (SIZE_AT, HEADER_MIN as u32), (CRC_AT, 0)] {
        put(&mut head, sector + at, &value.to_le_bytes());
    }
    for (at, value) in [(OWN_AT, 1), (OTHER_AT, last), (FIRST_USABLE_AT, 2 + own), (ENTRIES_AT, 2)] {
        put(&mut head, sector + at, &value.to_le_bytes());
    }
    put(&mut head, sector + GUID_AT, &id());
    put(&mut head, sector + COUNT_AT, &(COUNT as u32).to_le_bytes());
    put(&mut head, sector + ENTRY_SIZE_AT, &(ENTRY_MIN as u32).to_le_bytes());
    for part in parts {
        let Kind::Guid(kind) = part.kind else { continue };
        let at = entries.start + (part.number as usize).saturating_sub(1) * ENTRY_MIN;
        put(&mut head, at, &kind);
        put(&mut head, at + 16, &id());
        put(&mut head, at + 32, &part.start.to_le_bytes());
        put(&mut head, at + LAST_AT, &(part.start + part.length).saturating_sub(1).to_le_bytes());
        for (index, unit) in part.name.encode_utf16().take(NAME_MAX).enumerate() {
            put(&mut head, at + NAME_AT + 2 * index, &unit.to_le_bytes());
        }
    }
    let header = Header { at: sector, length: HEADER_MIN, backup: last, last_usable: 0, entries, entry: ENTRY_MIN, sectors: own };
    let backup = seal(&mut head, &header, disk.sector, last, last_usable(disk));
    Table { head, backup: Some(backup) }
}
