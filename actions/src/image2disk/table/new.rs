//! A partition table that is made and not copied. GPT: UEFI 2.10, section 5.3.

use super::Disk;

pub use super::gpt::new::{NAME_MAX, last_usable, table as gpt};
pub use super::mbr::new::{COUNT as MBR_COUNT, table as mbr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of GPT, as its bytes are on the disk.
    Guid([u8; 16]),
    Mbr(u8),
}

/// A partition; start and length are in sectors of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPart {
    /// From 1.
    pub number: u32,
    pub start: u64,
    pub length: u64,
    pub kind: Kind,
    /// Only GPT has names.
    pub name: String,
    /// The firmware's mark of an MBR.
    pub active: bool,
}

impl NewPart {
    /// In bytes.
    pub fn range(&self, disk: Disk) -> std::ops::Range<u64> {
        self.start * disk.sector..(self.start + self.length) * disk.sector
    }
}

/// What is written: the start of the disk, and the backup of GPT with its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub head: Vec<u8>,
    pub backup: Option<(u64, Vec<u8>)>,
}

/// A GUID in its usual form as the bytes of GPT, whose first three groups are little-endian.
pub fn guid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(groups.concat(), &mut bytes).ok()?;
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let mut guid = [0; 16];
    guid.iter_mut().zip([d, c, b, a, f, e, h, g].into_iter().chain(rest)).for_each(|(place, byte)| *place = byte);
    Some(guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_three_little_endian_groups() {
        let efi = guid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        assert_eq!(efi, Some([0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]));
        for wrong in ["", "C12A7328F81F11D2BA4B00A0C93EC93B", "C12A7328-F81F-11D2-BA4B-00A0C93EC93x", "é-é-é-é-é"] {
            assert_eq!(guid(wrong), None, "{wrong}");
        }
    }
}
