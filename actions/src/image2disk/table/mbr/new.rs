//! A new MBR.

use super::super::new::{Kind, NewPart, Table};
use super::{ENTRY, FIRST, put};
use crate::image2disk::table::Disk;

pub const COUNT: u32 = 4;
const SIGNATURE_AT: usize = 440;
/// Cylinder, head and sector of a place beyond 8 GB, which no firmware of today reads.
const FAR: [u8; 3] = [0xfe, 0xff, 0xff];

pub fn table(parts: &[NewPart], disk: Disk, signature: u32) -> Table {
    let mut head = vec![0; disk.sector as usize];
    put(&mut head, SIGNATURE_AT, &signature.to_le_bytes());
    put(&mut head, 510, &[0x55, 0xaa]);
    for part in parts {
        let Kind::Mbr(kind) = part.kind else { continue };
        let at = FIRST + (part.number as usize).saturating_sub(1) * ENTRY;
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes(); // the layout has checked it
        put(&mut head, at, &[if part.active { 0x80 } else { 0 }]);
        put(&mut head, at + 1, &FAR);
        put(&mut head, at + 4, &[kind]);
        put(&mut head, at + 5, &FAR);
        put(&mut head, at + 8, &number(part.start));
        put(&mut head, at + 12, &number(part.length));
    }
    Table { head, backup: None }
}
