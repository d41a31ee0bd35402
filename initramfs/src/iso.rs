//! A bootable ISO 9660 image: El Torito entries for BIOS (isolinux) and UEFI (a FAT image), and an MBR, so that the
//! same bytes also boot from a USB stick.

use std::collections::BTreeMap;

/// The sector of a CD, in bytes.
pub const SECTOR: usize = 2048;
const DESCRIPTORS: usize = 16;
const CATALOG: usize = DESCRIPTORS + 3;
const PATH_TABLES: usize = CATALOG + 1;
const ROOT: usize = PATH_TABLES + 2;
const FILES: usize = ROOT + 1;
/// isolinux keeps this where an MBR finds it.
const HYBRID_MAGIC: [u8; 4] = [0xfb, 0xc0, 0x78, 0x70];

/// A name in the root folder (`KERNEL.IMG`) and its contents.
pub type File = (&'static str, Vec<u8>);

pub struct Boot<'a> {
    /// The boot sector program for BIOS. It is also a file of the image.
    pub isolinux: Option<&'a [u8]>,
    /// The program for the MBR of a USB stick.
    pub mbr: Option<&'a [u8]>,
    pub efi: Option<&'a [u8]>,
    /// Parts of the EFI image that are files of the image, too: name, offset and length. An offset is a multiple of a sector.
    pub shared: &'a [(&'static str, usize, usize)],
}

const ISOLINUX: &str = "ISOLINUX.BIN";
const EFI_IMAGE: &str = "EFI.IMG";

/// The image. `seconds` since 1970 are its date.
pub fn image(boot: &Boot<'_>, files: Vec<File>, seconds: u32) -> Vec<u8> {
    let mut files: BTreeMap<&str, Vec<u8>> = files.into_iter().collect();
    files.extend(boot.isolinux.map(|program| (ISOLINUX, program.to_vec())));
    files.extend(boot.efi.map(|program| (EFI_IMAGE, program.to_vec())));
    let mut next = FILES;
    let places: BTreeMap<&str, usize> = files
        .iter()
        .map(|(name, data)| {
            let at = next;
            next += data.len().div_ceil(SECTOR).max(1);
            (*name, at)
        })
        .collect();
    if let (Some(program), Some(at)) = (files.get_mut(ISOLINUX), places.get(ISOLINUX)) {
        add_boot_info(program, *at);
    }
    let at = |name: &str| places.get(name).copied();
    let efi_sectors = boot.efi.map_or(0, |image| image.len() / 512);
    let date = Date::of(seconds);

    let mut out = vec![0; DESCRIPTORS * SECTOR];
    let head = mbr(boot, at(ISOLINUX), at(EFI_IMAGE).map(|at| (at, efi_sectors)), next);
    out.splice(..head.len(), head);
    out.extend(primary_descriptor(next, &date));
    out.extend(boot_descriptor());
    out.extend(sector(b"\xffCD001\x01"));
    out.extend(catalog(at(ISOLINUX), at(EFI_IMAGE).map(|at| (at, efi_sectors))));
    out.extend(sector(&[&[1, 0], &(ROOT as u32).to_le_bytes()[..], &[1, 0, 0, 0]].concat()));
    out.extend(sector(&[&[1, 0], &(ROOT as u32).to_be_bytes()[..], &[0, 1, 0, 0]].concat()));
    let mut root = record(b"\0", ROOT, SECTOR, true, &date);
    root.extend(record(b"\x01", ROOT, SECTOR, true, &date));
    for (name, (at, length)) in records(&files, &places, boot.shared) {
        root.extend(record(format!("{name};1").as_bytes(), at, length, false, &date));
    }
    out.extend(sector(&root));
    for data in files.values() {
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(SECTOR).max(SECTOR), 0);
    }
    out.resize(next * SECTOR, 0);
    out
}

/// Every file of the root folder by name, with its first sector and its length.
fn records<'a>(
    files: &BTreeMap<&'a str, Vec<u8>>,
    places: &BTreeMap<&'a str, usize>,
    shared: &[(&'static str, usize, usize)],
) -> BTreeMap<&'a str, (usize, usize)> {
    let place = |name: &str| places.get(name).copied().unwrap_or(FILES);
    let mut records: BTreeMap<&str, (usize, usize)> =
        files.iter().map(|(name, data)| (*name, (place(name), data.len()))).collect();
    records.extend(shared.iter().map(|(name, at, length)| (*name, (place(EFI_IMAGE) + at / SECTOR, *length))));
    records
}

/// isolinux learns from this table where it lies.
fn add_boot_info(program: &mut [u8], at: usize) {
    let words = program.get(64..).unwrap_or_default().chunks(4);
    let sum = words.fold(0u32, |sum, word| {
        let word = word.iter().rev().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        sum.wrapping_add(word)
    });
    let table = [DESCRIPTORS as u32, at as u32, program.len() as u32, sum];
    let bytes = table.into_iter().flat_map(u32::to_le_bytes);
    program.iter_mut().skip(8).zip(bytes.chain([0; 40])).for_each(|(to, from)| *to = from);
}

fn mbr(boot: &Boot<'_>, isolinux: Option<usize>, efi: Option<(usize, usize)>, sectors: usize) -> Vec<u8> {
    let mut out = vec![0; 432];
    let hybrid = boot.isolinux.is_some_and(|program| program.get(64..68) == Some(&HYBRID_MAGIC));
    if let (Some(code), Some(at), true) = (boot.mbr, isolinux, hybrid) {
        out.iter_mut().zip(code).for_each(|(to, from)| *to = *from);
        out.extend((at as u64 * 4).to_le_bytes());
    } else {
        out.extend([0; 8]);
    }
    out.extend(*b"THIM"); // the disk's id: any number, but always the same
    out.extend([0; 2]);
    let partition = |active: u8, kind: u8, start: usize, length: usize| {
        let mut entry = vec![active, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff];
        entry.extend((start as u32).to_le_bytes());
        entry.extend((length as u32).to_le_bytes());
        entry
    };
    out.extend(partition(0x80, 0x17, 0, sectors * 4));
    out.extend(efi.map_or(vec![0; 16], |(at, length)| partition(0, 0xef, at * 4, length)));
    out.extend([0; 32]);
    out.extend([0x55, 0xaa]);
    out
}

fn sector(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(SECTOR, 0);
    out
}

/// ISO 9660 writes numbers in both byte orders.
fn both32(number: usize) -> [u8; 8] {
    let (little, big) = ((number as u32).to_le_bytes(), (number as u32).to_be_bytes());
    std::array::from_fn(|index| *little.iter().chain(&big).nth(index).unwrap_or(&0))
}

fn both16(number: u16) -> [u8; 4] {
    let [low, high] = number.to_le_bytes();
    [low, high, high, low]
}

fn record(name: &[u8], at: usize, size: usize, folder: bool, date: &Date) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(both32(at));
    out.extend(both32(size));
    out.extend(date.short());
    out.extend([if folder { 2 } else { 0 }, 0, 0]);
    out.extend(both16(1));
    out.push(name.len() as u8);
    out.extend(name);
    out.resize(out.len().next_multiple_of(2), 0);
    let length = out.len() as u8;
    if let Some(first) = out.first_mut() {
        *first = length;
    }
    out
}

fn primary_descriptor(sectors: usize, date: &Date) -> Vec<u8> {
    let text = |text: &str, length: usize| format!("{text:<length$}").into_bytes();
    let mut out = b"\x01CD001\x01\0".to_vec();
    out.extend(text("", 32));
    out.extend(text("THIMBLE", 32));
    out.extend([0; 8]);
    out.extend(both32(sectors));
    out.extend([0; 32]);
    out.extend(both16(1));
    out.extend(both16(1));
    out.extend(both16(SECTOR as u16));
    out.extend(both32(10)); // the path table's size: the root alone
    out.extend((PATH_TABLES as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend((PATH_TABLES as u32 + 1).to_be_bytes());
    out.extend([0; 4]);
    out.extend(record(b"\0", ROOT, SECTOR, true, date));
    out.extend(text("", 128 * 4 + 37 * 3));
    out.extend(date.long());
    out.extend(date.long());
    out.extend(Date::NEVER);
    out.extend(date.long());
    out.push(1);
    sector(&out)
}

fn boot_descriptor() -> Vec<u8> {
    let mut out = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    out.resize(71, 0);
    out.extend((CATALOG as u32).to_le_bytes());
    sector(&out)
}

/// The validation entry, then BIOS as the default entry and UEFI as a section of its own.
fn catalog(bios: Option<usize>, efi: Option<(usize, usize)>) -> Vec<u8> {
    const BOOTABLE: u8 = 0x88;
    const UEFI: u8 = 0xef;
    let entry = |at: usize, sectors: usize| {
        let mut entry = vec![BOOTABLE, 0, 0, 0, 0, 0]; // no emulation, the usual segment
        entry.extend(u16::try_from(sectors).unwrap_or(0).to_le_bytes()); // 0 or 1: firmware takes the whole
        entry.extend((at as u32).to_le_bytes());
        entry.resize(32, 0);
        entry
    };
    let platform = if bios.is_some() { 0 } else { UEFI };
    let mut out = vec![1, platform];
    out.resize(28, 0);
    let checksum = 0u16.wrapping_sub(u16::from_le_bytes([1, platform])).wrapping_sub(0xaa55);
    out.extend(checksum.to_le_bytes());
    out.extend([0x55, 0xaa]);
    match (bios, efi) {
        (Some(bios), efi) => {
            out.extend(entry(bios, 4)); // isolinux loads the rest of itself
            if let Some((at, sectors)) = efi {
                out.extend([0x91, UEFI, 1, 0]);
                out.resize(96, 0);
                out.extend(entry(at, sectors));
            }
        }
        (None, Some((at, sectors))) => out.extend(entry(at, sectors)),
        (None, None) => {}
    }
    sector(&out)
}

struct Date {
    year: u32,
    month: u32,
    day: u32,
    seconds: u32,
}

impl Date {
    const NEVER: [u8; 17] = *b"0000000000000000\0";

    /// The civil date of a count of seconds since 1970.
    fn of(seconds: u32) -> Self {
        let mut days = seconds / 86_400;
        let mut year = 1970;
        let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        while days >= 365 + u32::from(leap(year)) {
            days -= 365 + u32::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        Self { year, month, day: days + 1, seconds: seconds % 86_400 }
    }

    fn clock(&self) -> (u32, u32, u32) {
        (self.seconds / 3600, self.seconds / 60 % 60, self.seconds % 60)
    }

    fn short(&self) -> [u8; 7] {
        let (hour, minute, second) = self.clock();
        [self.year.saturating_sub(1900) as u8, self.month as u8, self.day as u8, hour as u8, minute as u8, second as u8, 0]
    }

    fn long(&self) -> Vec<u8> {
        let (hour, minute, second) = self.clock();
        let mut out = format!("{:04}{:02}{:02}{hour:02}{minute:02}{second:02}00", self.year, self.month, self.day).into_bytes();
        out.push(0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in
            [(0, "1970010100000000"), (951_782_400, "2000022900000000"), (1_709_210_096, "2024022912345600")]
        {
            assert_eq!(&Date::of(seconds).long()[..16], expected.as_bytes());
        }
    }

    #[test]
    fn both_firmwares_find_their_entry() {
        let isolinux = vec![1; 4096];
        let boot = Boot { isolinux: Some(&isolinux), mbr: None, efi: Some(&[2; 4096]), shared: &[("KERNEL.IMG", 2048, 5)] };
        let image = image(&boot, Vec::new(), 0);
        let catalog = &image[CATALOG * SECTOR..][..SECTOR];
        let words = catalog[..32].chunks(2).fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes([word[0], word[1]])));
        assert_eq!(words, 0, "the checksum of the validation entry");
        let place = |entry: usize| u32::from_le_bytes(catalog[entry + 8..entry + 12].try_into().unwrap()) as usize * SECTOR;
        assert_eq!((catalog[32], catalog[64], catalog[65], catalog[96]), (0x88, 0x91, 0xef, 0x88));
        assert_eq!(image[place(96)..][..4096], [2; 4096]);
        let root = &image[ROOT * SECTOR..][..SECTOR];
        let name = root.windows(12).position(|window| window == b"KERNEL.IMG;1").unwrap();
        let word = |at: usize| u32::from_le_bytes(root[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((word(name - 31) * SECTOR, word(name - 23)), (place(96) + 2048, 5), "a part of the EFI image");
        assert_eq!(u32::from_le_bytes(image[place(32) + 12..][..4].try_into().unwrap()) as usize * SECTOR, place(32));
    }
}
