//! What the first bytes of an image are, so that nothing but a disk image replaces what a disk has.
//!
//! A disk image begins with a partition table, a boot sector, or the superblock of a file system or volume. Magic numbers are
//! those of file(1) and libblkid.

/// How much of the start decides. The last superblock that is looked for, that of ZFS, begins at 128 KiB.
pub const START: usize = 132 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Can be written as it is.
    Disk(&'static str),
    Qcow2,
    /// Something else, and what to do about it.
    Other {
        name: &'static str,
        remedy: &'static str,
    },
}

const CONVERT: &str = "convert it: qemu-img convert -O raw IMAGE disk.raw";
const ARCHIVE: &str = "give the URL of the disk image in it; a root file system in an archive needs archive2disk";
const TWICE: &str = "its content is compressed once more: unpack one of the two";
const UNPACK: &str = "pack the disk image by zstd, xz, gzip, bzip2 or lz4";
const ADDRESS: &str = "look at what the server sends for IMG_URL: curl -L IMG_URL | head";
const CHOOSE: &str = "give the URL of a disk image";
const DAMAGED: &str = "build or download it again";

struct Magic {
    offset: usize,
    bytes: &'static [u8],
    name: &'static str,
    remedy: &'static str,
}

const fn other(offset: usize, bytes: &'static [u8], name: &'static str, remedy: &'static str) -> Magic {
    Magic { offset, bytes, name, remedy }
}

/// No disk image begins with these.
const OTHERS: &[Magic] = &[
    other(0, &[0x1f, 0x8b, 8], "gzip data", TWICE),
    other(0, b"\xfd7zXZ\0", "xz data", TWICE),
    other(0, &[0x28, 0xb5, 0x2f, 0xfd], "zstd data", TWICE),
    other(0, &[0x04, 0x22, 0x4d, 0x18], "lz4 data", TWICE),
    other(0, &[0x02, 0x21, 0x4c, 0x18], "lz4 data of the old format", UNPACK),
    other(0, b"LZIP", "lzip data", UNPACK),
    other(0, &[0x1f, 0x9d], "compress data (.Z)", UNPACK),
    other(0, b"\x89LZO\0\r\n\x1a\n", "lzop data", UNPACK),
    other(0, b"PK\x03\x04", "a zip archive", UNPACK),
    other(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    other(0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    other(257, b"ustar", "a tar archive", ARCHIVE),
    other(0, b"07070", "a cpio archive", CHOOSE),
    other(0, b"!<arch>\n", "a Debian package or ar archive", CHOOSE),
    other(0, b"\xed\xab\xee\xdb", "an RPM package", CHOOSE),
    other(0, b"KDMV", "a VMDK image", CONVERT),
    other(0, b"COWD", "a VMDK image", CONVERT),
    other(0, b"# Disk DescriptorFile", "the description of a VMDK image", CONVERT),
    other(0, b"vhdxfile", "a VHDX image", CONVERT),
    other(0, b"conectix", "a VHD image", CONVERT),
    other(64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image", CONVERT),
    other(0, b"QED\0", "a QED image", CONVERT),
    other(0, b"WithoutFreeSpace", "a Parallels image", CONVERT),
    other(0, b"WithouFreSpacExt", "a Parallels image", CONVERT),
    other(0, &[0x3a, 0xff, 0x26, 0xed], "an Android sparse image", "convert it: simg2img IMAGE disk.raw"),
    other(0, b"MSWIM\0\0\0", "a Windows image (WIM)", CHOOSE),
    other(0, b"\x7fELF", "a program (ELF)", CHOOSE),
    other(0, b"%PDF-", "a PDF document", ADDRESS),
    other(0, b"version https://git-lfs", "a Git LFS pointer, not the file", "fetch it with git lfs pull"),
];

const fn disk(offset: usize, bytes: &'static [u8], name: &'static str) -> Magic {
    Magic { offset, bytes, name, remedy: "" }
}

const DISKS: &[Magic] = &[
    disk(512, b"EFI PART", "a disk with GPT"),
    disk(4096, b"EFI PART", "a disk with GPT of 4096-byte sectors"),
    disk(512, b"PM", "a disk with an Apple partition map"),
    disk(508, &[0xda, 0xbe], "a disk with a Sun label"),
    disk(512, &[0x57, 0x45, 0x56, 0x82], "a disk with a BSD label"),
    disk(1080, &[0x53, 0xef], "an ext file system"),
    disk(0, b"XFSB", "an XFS file system"),
    disk(65600, b"_BHRfS_M", "a btrfs file system"),
    disk(1024, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS file system"),
    disk(1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an EROFS file system"),
    disk(4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcachefs file system"),
    disk(0, b"hsqs", "a squashfs file system"),
    disk(1024, b"H+", "an HFS+ file system"),
    disk(32768, b"JFS1", "a JFS file system"),
    disk(0, b"LUKS\xba\xbe", "a LUKS volume"),
    disk(512, b"LABELONE", "an LVM physical volume"),
    disk(4086, b"SWAPSPACE2", "swap space"),
    disk(0, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member"),
    disk(4096, &[0xfc, 0x4e, 0x2b, 0xa9], "an md member"),
    disk(65588, b"ReIsEr", "a ReiserFS file system"),
    disk(66908, &[0x19, 0x01, 0x54, 0x19], "a UFS file system"),
    disk(1030, &[0x34, 0x34], "a NILFS2 file system"),
    disk(32, b"NXSB", "an APFS container"),
    disk(65526, b"SWAPSPACE2", "swap space"),
    disk(131_072, &[0x0c, 0xb1, 0xba, 0x00], "a ZFS member"),
];

const SECTOR: usize = 512;

/// Decides by the start of the decoded data: `START` bytes, or all of a shorter image.
pub fn look(start: &[u8]) -> Content {
    let of = |name, remedy| Content::Other { name, remedy };
    if start.is_empty() {
        return of("empty", ADDRESS);
    }
    if start.starts_with(b"QFI\xfb") {
        return Content::Qcow2;
    }
    if let Some(magic) = OTHERS.iter().find(|magic| magic.is_in(start)) {
        return of(magic.name, magic.remedy);
    }
    if is_bzip2(start) || is_lzma(start) {
        return of("compressed data", TWICE);
    }
    if start.len() >= SECTOR {
        if let Some(name) = boot_sector(start) {
            return Content::Disk(name);
        }
        if let Some(magic) = DISKS.iter().find(|magic| magic.is_in(start)) {
            return Content::Disk(magic.name);
        }
    }
    if start.get(32769..32774) == Some(b"CD001") {
        return of(
            "an ISO image without a partition table, which boots from a CD only",
            "use a hybrid ISO (isohybrid, or xorriso -isohybrid-mbr), or a disk image",
        );
    }
    if let Some(name) = text(start) {
        return of(name, ADDRESS);
    }
    if is_old_tar(start) {
        return of("a tar archive", ARCHIVE);
    }
    if start.len() < SECTOR {
        return of("shorter than a sector", ADDRESS);
    }
    if start.iter().all(|byte| *byte == 0) {
        return of("zeros at the start, without a partition table", DAMAGED);
    }
    of("without a partition table, a boot sector or a file system that is known", CHOOSE)
}

/// `None` if these are the first bytes of a tar archive; otherwise what they are.
pub fn archive(start: &[u8]) -> Option<&'static str> {
    if start.get(257..262) == Some(b"ustar") || is_old_tar(start) {
        return None;
    }
    Some(match look(start) {
        Content::Disk(name) | Content::Other { name, .. } => name,
        Content::Qcow2 => "a qcow2 image",
    })
}

impl Magic {
    fn is_in(&self, start: &[u8]) -> bool {
        start.get(self.offset..).is_some_and(|rest| rest.starts_with(self.bytes))
    }
}

pub fn is_bzip2(start: &[u8]) -> bool {
    // The magic of the first block, or that of the end of an empty file, follows.
    matches!(start, [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..])
}

/// The header of LZMA_Alone has no magic: properties, the dictionary's size, and the size of the content. xz and file(1)
/// look for the same values.
pub fn is_lzma(start: &[u8]) -> bool {
    let Some((header, _)) = start.split_first_chunk::<13>() else { return false };
    let [properties, a, b, c, d, size @ ..] = *header;
    let (dictionary, size) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(size));
    let usual =
        dictionary >= 4096 && (dictionary.is_power_of_two() || (dictionary / 3 * 2).is_power_of_two() || dictionary == u32::MAX);
    properties == 0x5d && usual && (size == u64::MAX || size < 1 << 38) && size != 0
}

/// A boot sector ends in 55 aa. Behind it are a partition table, the parameters of FAT or NTFS, or only code.
fn boot_sector(start: &[u8]) -> Option<&'static str> {
    if start.get(510..512) != Some(&[0x55, 0xaa]) {
        return None;
    }
    let entries = start.get(446..510)?.chunks_exact(16);
    let used: Vec<&[u8]> = entries.clone().filter(|entry| entry.get(4) != Some(&0)).collect();
    let plausible = |entry: &&[u8]| matches!(entry.first(), Some(0 | 0x80)) && entry.get(12..16) != Some(&[0; 4]);
    if !used.is_empty() && used.iter().all(plausible) {
        let gpt = start.get(512..520) == Some(b"EFI PART") || start.get(4096..4104) == Some(b"EFI PART");
        return Some(if gpt { "a disk with GPT" } else { "a disk with MBR partitions" });
    }
    match start.get(3..11) {
        Some(b"NTFS    ") => return Some("an NTFS file system"),
        Some(b"EXFAT   ") => return Some("an exFAT file system"),
        _ => {}
    }
    let jump = matches!(start.first(), Some(0xeb | 0xe9));
    let sector = u16::from_le_bytes([*start.get(11)?, *start.get(12)?]);
    match (jump, sector) {
        (true, 512 | 1024 | 2048 | 4096) => Some("a FAT file system"),
        (true, _) => Some("a boot sector"),
        _ => matches!(start.first(), Some(0xfa | 0x31 | 0x33 | 0x8c | 0xfc | 0x0e | 0xb8)).then_some("a boot sector"),
    }
}

const SAMPLE: usize = 512;

/// Text has no control characters but those of lines. A cut character at the sample's end does not matter.
fn text(start: &[u8]) -> Option<&'static str> {
    let sample = start.get(..SAMPLE).unwrap_or(start);
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let valid = match std::str::from_utf8(sample) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(sample.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    if valid.is_empty() || valid.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}')) {
        return None;
    }
    let trimmed = valid.trim_start();
    let lower: String = trimmed.chars().take(64).collect::<String>().to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_hexdigit).count();
    Some(match lower.as_bytes() {
        bytes if bytes.starts_with(b"<!doctype html") || bytes.starts_with(b"<html") => {
            "an HTML page, such as an error or a login page"
        }
        [b'<', ..] => "an XML or HTML document",
        [b'{' | b'[', ..] => "a JSON document",
        _ if digits >= 32 && lower.get(digits..digits + 1).is_none_or(|end| end == " ") => "a list of checksums",
        _ => "text",
    })
}

/// A tar archive from before POSIX has only its checksum.
fn is_old_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..512) else { return false };
    let Some(field) = header.get(148..156) else { return false };
    let digits: Vec<u8> =
        field.iter().copied().skip_while(|byte| *byte == b' ').take_while(|byte| matches!(byte, b'0'..=b'7')).collect();
    let stated = std::str::from_utf8(&digits).ok().and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    stated == Some(sum - own + 8 * u32::from(b' ')) && header.first() != Some(&0)
}

#[cfg(test)]
mod tests;
