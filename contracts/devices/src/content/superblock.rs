//! Superblocks: which file system this is, its UUID and its label, as blkid reads them.

use super::{Source, bytes, field, le16, le32, le64, starts, uuid};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// blkid's word, but `ext` for ext2 to ext4: their difference does not matter for names.
    pub kind: &'static str,
    pub uuid: Option<String>,
    pub label: Option<Vec<u8>>,
}

type Decoder = fn(&Head) -> Option<Volume>;

/// The first 4 KiB, which hold most superblocks.
struct Head([u8; 4096]);

const IN_HEAD: &[Decoder] = &[ext, xfs, swap, luks, ntfs, exfat, f2fs, erofs];

/// What it is. `None` for a part of a RAID or LVM volume, since its content belongs to the volume. `None` also if several
/// signatures contradict each other, as on a disk that was used again without being wiped.
pub fn probe(source: &(impl Source + ?Sized)) -> Option<Volume> {
    let head = Head(bytes(source, 0)?);
    if is_lvm(&head) || is_md(source) {
        return None;
    }
    let mut found = IN_HEAD.iter().filter_map(|decode| decode(&head));
    let more = [fat(&head, source), btrfs(source), iso9660(source)].into_iter().flatten();
    let (first, second) = {
        let mut all = found.by_ref().chain(more);
        (all.next(), all.next())
    };
    if second.is_some() { None } else { first }
}

fn label(field: &[u8]) -> Option<Vec<u8>> {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii_end();
    (!text.is_empty()).then(|| text.to_vec())
}

fn volume(kind: &'static str, uuid: Option<String>, label: Option<Vec<u8>>) -> Option<Volume> {
    Some(Volume { kind, uuid, label })
}

fn ext(Head(head): &Head) -> Option<Volume> {
    let block = head.get(1024..2048)?;
    if le16(block, 0x38)? != 0xef53 {
        return None;
    }
    volume("ext", uuid(field(block, 0x68)?), label(&field::<16>(block, 0x78)?))
}

fn xfs(Head(head): &Head) -> Option<Volume> {
    starts(head, 0, b"XFSB").then_some(())?;
    volume("xfs", uuid(field(head, 32)?), label(&field::<12>(head, 108)?))
}

/// Swap space that was made for pages of 4 KiB, as x86 and most ARM kernels have them.
fn swap(Head(head): &Head) -> Option<Volume> {
    (starts(head, 4086, b"SWAPSPACE2") && le32(head, 1024)? == 1).then_some(())?;
    volume("swap", uuid(field(head, 1036)?), label(&field::<16>(head, 1052)?))
}

fn luks(Head(head): &Head) -> Option<Volume> {
    starts(head, 0, b"LUKS\xba\xbe").then_some(())?;
    let version = field(head, 6).map(u16::from_be_bytes)?;
    let uuid = label(&field::<40>(head, 168)?).and_then(|text| String::from_utf8(text).ok());
    volume("crypto_LUKS", uuid, if version == 2 { label(&field::<48>(head, 24)?) } else { None })
}

fn ntfs(Head(head): &Head) -> Option<Volume> {
    starts(head, 3, b"NTFS    ").then_some(())?;
    volume("ntfs", Some(format!("{:016X}", le64(head, 0x48)?)), None)
}

fn exfat(Head(head): &Head) -> Option<Volume> {
    starts(head, 3, b"EXFAT   ").then_some(())?;
    volume("exfat", Some(serial(le32(head, 100)?)), None)
}

fn f2fs(Head(head): &Head) -> Option<Volume> {
    (le32(head, 1024)? == 0xf2f5_2010).then_some(())?;
    let name = head.get(1024 + 124..1024 + 124 + 1024)?;
    let units: Vec<u16> = name.chunks_exact(2).filter_map(|two| le16(two, 0)).take_while(|unit| *unit != 0).collect();
    let name = String::from_utf16_lossy(&units);
    volume("f2fs", uuid(field(head, 1024 + 108)?), (!name.is_empty()).then(|| name.into_bytes()))
}

fn erofs(Head(head): &Head) -> Option<Volume> {
    (le32(head, 1024)? == 0xe0f5_e1e2).then_some(())?;
    volume("erofs", uuid(field(head, 1024 + 48)?), label(&field::<16>(head, 1024 + 64)?))
}

fn btrfs(source: &(impl Source + ?Sized)) -> Option<Volume> {
    let block: [u8; 1024] = bytes(source, 0x10000)?;
    starts(&block, 0x40, b"_BHRfS_M").then_some(())?;
    volume("btrfs", uuid(field(&block, 0x20)?), label(&field::<256>(&block, 0x12b)?))
}

fn iso9660(source: &(impl Source + ?Sized)) -> Option<Volume> {
    let block: [u8; 2048] = bytes(source, 0x8000)?;
    starts(&block, 0, b"\x01CD001").then_some(())?;
    let date = |offset| {
        field::<17>(&block, offset).filter(|date| date.iter().take(16).all(u8::is_ascii_digit) && !starts(date, 0, &[b'0'; 16]))
    };
    let text = date(830).or_else(|| date(813)).and_then(|date| String::from_utf8(date.get(..16)?.to_vec()).ok());
    let part = |text: &str, range| text.get::<std::ops::Range<usize>>(range).unwrap_or_default().to_owned();
    let uuid = text.map(|t| {
        [part(&t, 0..4), part(&t, 4..6), part(&t, 6..8), part(&t, 8..10), part(&t, 10..12), part(&t, 12..14), part(&t, 14..16)]
            .join("-")
    });
    volume("iso9660", uuid, label(&field::<32>(&block, 40)?))
}

fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xffff)
}

const NO_NAME: &[u8] = b"NO NAME    ";

/// FAT has no reliable magic number, so every field of the boot sector has to make sense.
fn fat(Head(head): &Head, source: &(impl Source + ?Sized)) -> Option<Volume> {
    let sector = le16(head, 11)?;
    let cluster = *head.get(13)?;
    let reserved = le16(head, 14)?;
    let tables = *head.get(16)?;
    let media = *head.get(21)?;
    let sane = starts(head, 510, b"\x55\xaa")
        && matches!(sector, 512 | 1024 | 2048 | 4096)
        && cluster.is_power_of_two()
        && reserved > 0
        && matches!(tables, 1 | 2)
        && (media >= 0xf8 || media == 0xf0);
    if !sane {
        return None;
    }
    let per_table = match le16(head, 22)? {
        0 => le32(head, 36)?,
        small => u32::from(small),
    };
    let entries = le16(head, 17)?;
    let is_fat32 = entries == 0;
    let (id, name, kind) = if is_fat32 { (67, 71, 82) } else { (39, 43, 54) };
    if !starts(head, kind, b"FAT") || starts(head, 3, b"NTFS") {
        return None;
    }
    let number = le32(head, id)?;
    let first = u64::from(reserved) + u64::from(tables) * u64::from(per_table);
    let (root, length) = if is_fat32 {
        let number = u64::from(le32(head, 44)?.checked_sub(2)?);
        ((first + number * u64::from(cluster)) * u64::from(sector), u64::from(cluster) * u64::from(sector))
    } else {
        (first * u64::from(sector), u64::from(entries) * 32)
    };
    let in_boot_sector = field::<11>(head, name).filter(|name| name != NO_NAME).and_then(|name| label(&name));
    let name = volume_entry(source, root, length).or(in_boot_sector);
    volume("vfat", (number != 0).then(|| serial(number)), name)
}

/// The root folder's entry that holds the volume's name. It is among the first, if present.
fn volume_entry(source: &(impl Source + ?Sized), root: u64, length: u64) -> Option<Vec<u8>> {
    const VOLUME: u8 = 0x08;
    const LONG_NAME: u8 = 0x0f;
    let mut block = [0; 512];
    for start in (0..length.min(16 << 10)).step_by(block.len()) {
        if !source.read(root.checked_add(start)?, &mut block) {
            return None;
        }
        for entry in block.chunks_exact(32) {
            let (first, attributes) = (*entry.first()?, *entry.get(11)?);
            if first == 0 {
                return None;
            }
            if first != 0xe5 && attributes & LONG_NAME != LONG_NAME && attributes & (VOLUME | 0x10) == VOLUME {
                return label(entry.get(..11)?);
            }
        }
    }
    None
}

fn is_lvm(Head(head): &Head) -> bool {
    (0..4).any(|sector| starts(head, sector * 512, b"LABELONE") && starts(head, sector * 512 + 24, b"LVM2 001"))
}

/// Linux RAID: metadata 0.90 and 1.0 stand at the end, where the file system in front is not the member's own.
fn is_md(source: &(impl Source + ?Sized)) -> bool {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    let size = source.size();
    let v0 = (size & !0xffff).checked_sub(0x10000);
    let v1_0 = (size / 512).checked_sub(16).map(|sector| (sector & !7) * 512);
    let places = [v0, v1_0, Some(0), Some(4096)];
    places.into_iter().flatten().any(|place| bytes::<4>(source, place) == Some(MAGIC))
}

#[cfg(test)]
mod tests;
