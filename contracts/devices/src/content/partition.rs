//! A partition's identity in the partition table of its disk.

use super::{Source, bytes, field, le32, le64, starts, uuid};

const LARGEST_ENTRY: u32 = 4096;

/// Which partition, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub number: u32,
    /// Where it begins, in bytes from the disk's beginning.
    pub start: u64,
    /// The size of the disk's logical block, in bytes.
    pub block: u64,
}

/// Its UUID and, in a GPT, its label.
pub fn in_table(disk: &(impl Source + ?Sized), place: Place) -> Option<(String, Option<String>)> {
    gpt(disk, place).or_else(|| mbr(disk, place))
}

fn gpt(disk: &(impl Source + ?Sized), place: Place) -> Option<(String, Option<String>)> {
    let last = (disk.size() / place.block.max(1)).checked_sub(1)?;
    // The table at the end serves when the first one is damaged; the kernel does the same.
    [1, last].into_iter().find_map(|block| gpt_at(disk, place, block))
}

fn gpt_at(disk: &(impl Source + ?Sized), place: Place, block: u64) -> Option<(String, Option<String>)> {
    let header: [u8; 92] = bytes(disk, block.checked_mul(place.block)?)?;
    let (entries, size) = (le32(&header, 80)?, le32(&header, 84)?);
    let index = place.number.checked_sub(1)?;
    if !starts(&header, 0, b"EFI PART") || index >= entries || !(128..=LARGEST_ENTRY).contains(&size) {
        return None;
    }
    let table = le64(&header, 72)?.checked_mul(place.block)?;
    let entry: [u8; 128] = bytes(disk, table.checked_add(u64::from(index) * u64::from(size))?)?;
    if le64(&entry, 32)?.checked_mul(place.block)? != place.start {
        return None; // the kernel's table is an older one
    }
    let units = entry.get(56..)?.chunks_exact(2).filter_map(|two| field(two, 0).map(u16::from_le_bytes));
    let label = String::from_utf16_lossy(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>());
    Some((uuid(guid(field(&entry, 16)?))?, (!label.is_empty()).then_some(label)))
}

/// The first three fields are little-endian numbers, and written as numbers.
fn guid(mut bytes: [u8; 16]) -> [u8; 16] {
    for range in [0..4, 4..6, 6..8] {
        if let Some(number) = bytes.get_mut(range) {
            number.reverse();
        }
    }
    bytes
}

fn mbr(disk: &(impl Source + ?Sized), place: Place) -> Option<(String, Option<String>)> {
    let sector: [u8; 512] = bytes(disk, 0)?;
    let id = le32(&sector, 440)?;
    let is_gpt = sector.get(446..510)?.chunks_exact(16).any(|entry| entry.get(4) == Some(&0xee));
    (starts(&sector, 510, b"\x55\xaa") && id != 0 && !is_gpt).then(|| (format!("{id:08x}-{:02x}", place.number), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpt_disk(block: usize, header_at: usize) -> Vec<u8> {
        let mut disk = vec![0; 64 * block];
        let header = header_at * block;
        disk[header..header + 8].copy_from_slice(b"EFI PART");
        disk[header + 72..header + 80].copy_from_slice(&40u64.to_le_bytes());
        disk[header + 80..header + 84].copy_from_slice(&4u32.to_le_bytes());
        disk[header + 84..header + 88].copy_from_slice(&128u32.to_le_bytes());
        let entry = 40 * block + 128; // the second
        disk[entry + 16..entry + 32].copy_from_slice(&[0, 0, 0, 0x10, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 2]);
        disk[entry + 32..entry + 40].copy_from_slice(&8u64.to_le_bytes());
        let name: Vec<u8> = "Größe".encode_utf16().flat_map(u16::to_le_bytes).collect();
        disk[entry + 56..entry + 56 + name.len()].copy_from_slice(&name);
        disk
    }

    #[test]
    fn a_partition_is_found_in_its_table() {
        let expected = Some(("10000000-0000-4000-8000-000000000002".to_owned(), Some("Größe".to_owned())));
        for (case, block, header_at, number, start, expected) in [
            ("the second partition", 512, 1, 2, 8 * 512, expected.clone()),
            ("with blocks of 4 KiB", 4096, 1, 2, 8 * 4096, expected.clone()),
            ("from the table at the end", 512, 63, 2, 8 * 512, expected),
            ("not where the kernel has it", 512, 1, 2, 9 * 512, None),
            ("an entry that is empty", 512, 1, 1, 0, None),
            ("beyond the table", 512, 1, 5, 0, None),
        ] {
            let disk = gpt_disk(block, header_at);
            assert_eq!(in_table(disk.as_slice(), Place { number, start, block: block as u64 }), expected, "{case}");
        }
    }

    #[test]
    fn an_mbr_has_one_number_for_all() {
        let mut disk = vec![0; 4096];
        disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        disk[510..512].copy_from_slice(b"\x55\xaa");
        let place = Place { number: 17, start: 512, block: 512 };
        assert_eq!(in_table(disk.as_slice(), place), Some(("deadbeef-11".to_owned(), None)));
        disk[450] = 0xee;
        assert_eq!(in_table(disk.as_slice(), place), None, "a protective MBR says nothing");
    }
}
