//! A file system of a converted partition, whose own sectors must be as large as the disk's. FAT is converted in place where its
//! layout allows it (Microsoft's FAT specification 1.03, section 3). The others have it or are refused. Pure.

use super::{number, put};

/// What decides: the largest sector.
pub const START: usize = 4096;
/// The reserved area of FAT32 has 32 sectors, or some more for the alignment.
pub const RESERVED_MAX: usize = 256 << 10;
const IMAGE_SECTOR: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its sectors fit the disk, or nothing is known of it.
    Fits,
    /// FAT with small sectors, whose reserved area has this many bytes.
    Fat { reserved: u64 },
    /// No system would mount it.
    Unfit { name: &'static str, sector: u64 },
}

/// Looks at the start of a partition.
pub fn look(start: &[u8], disk: u64) -> Verdict {
    let small = |name, sector| if sector < disk { Verdict::Unfit { name, sector } } else { Verdict::Fits };
    if start.starts_with(b"XFSB") {
        return small("XFS", big_endian(start, 102, 2));
    }
    if start.get(1080..1082) == Some(&[0x53, 0xef]) {
        return small("ext4", 1024 << number(start, 1048, 4).min(6));
    }
    if start.get(3..11) == Some(b"EXFAT   ") {
        // Microsoft's exFAT specification, section 3.1.14: 2^9 to 2^12.
        return small("exFAT", 1 << number(start, 108, 1).min(12));
    }
    let jump = matches!(start.first(), Some(0xeb | 0xe9));
    let is_fat = start.get(54..57) == Some(b"FAT") || start.get(82..85) == Some(b"FAT");
    match number(start, 11, 2) {
        IMAGE_SECTOR if jump && is_fat && disk > IMAGE_SECTOR => Verdict::Fat { reserved: number(start, 14, 2) * IMAGE_SECTOR },
        sector if jump && (is_fat || start.get(3..7) == Some(b"NTFS")) => small("FAT or NTFS", sector),
        _ => Verdict::Fits,
    }
}

/// Why the disk cannot have the partition that begins so. A part of a reserved area is not judged.
pub fn problem(area: &[u8], sector: u64) -> Option<String> {
    match look(area, sector) {
        Verdict::Fits => None,
        Verdict::Unfit { name, sector } => Some(format!("{name} with sectors of {sector} bytes")),
        Verdict::Fat { reserved } if reserved > RESERVED_MAX as u64 => Some("FAT with many reserved sectors".to_owned()),
        Verdict::Fat { reserved } => {
            let area = area.get(..usize::try_from(reserved).ok()?)?;
            convert(area, sector).err().map(|problem| format!("FAT with sectors of 512 bytes, and {problem}"))
        }
    }
}

/// The reserved area with larger sectors. Everything behind it stays where it is.
///
/// # Errors
/// A layout that larger sectors cannot describe.
pub fn convert(reserved: &[u8], to: u64) -> Result<Vec<u8>, &'static str> {
    let factor = to / IMAGE_SECTOR;
    let of = |at, length| number(reserved, at, length);
    let (cluster, sectors, fat16, entries) = (of(13, 1), of(14, 2), of(22, 2), of(17, 2));
    let is_fat32 = fat16 == 0;
    let fat = if is_fat32 { of(36, 4) } else { fat16 };
    let whole = |value: u64| value.is_multiple_of(factor);
    if cluster < factor || !whole(cluster) {
        return Err("its clusters are smaller than a sector of the disk");
    }
    if !whole(sectors) || !whole(fat) || sectors == 0 || !(entries * 32).is_multiple_of(to) {
        return Err("its tables do not begin at whole sectors of the disk");
    }
    let mut new = vec![0; reserved.len()];
    let boot = reserved.get(..IMAGE_SECTOR as usize).unwrap_or_default();
    let mut boot = boot.to_vec();
    put(&mut boot, 11, &(to as u16).to_le_bytes());
    put(&mut boot, 13, &[(cluster / factor) as u8]);
    put(&mut boot, 14, &((sectors / factor) as u16).to_le_bytes());
    put(&mut boot, 19, &((of(19, 2) / factor) as u16).to_le_bytes());
    put(&mut boot, 28, &((of(28, 4) / factor) as u32).to_le_bytes());
    put(&mut boot, 32, &((of(32, 4) / factor) as u32).to_le_bytes());
    if is_fat32 {
        let left = sectors / factor;
        if left < 2 {
            return Err("it has no room for its second sector");
        }
        // The boot sector, the sector with the free space, and a copy of the first one if there is room.
        put(&mut boot, 36, &((fat / factor) as u32).to_le_bytes());
        put(&mut boot, 48, &1u16.to_le_bytes());
        put(&mut boot, 50, &(if left > 2 { 2u16 } else { 0 }).to_le_bytes());
        let at = of(48, 2) * IMAGE_SECTOR;
        let info = reserved.get(at as usize..(at + IMAGE_SECTOR) as usize).unwrap_or_default();
        put(&mut new, to as usize, info);
        if left > 2 {
            put(&mut new, 2 * to as usize, &boot);
        }
    } else {
        put(&mut boot, 22, &((fat / factor) as u16).to_le_bytes());
    }
    put(&mut new, 0, &boot);
    Ok(new)
}

fn big_endian(data: &[u8], at: usize, length: usize) -> u64 {
    let bytes = data.get(at..at + length).unwrap_or_default();
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    fn made(arguments: &[&str], size: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fat");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        let output = Command::new("/usr/sbin/mkfs.fat").args(arguments).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (folder, path)
    }

    fn start(path: &std::path::Path) -> Vec<u8> {
        let mut start = vec![0; 64 << 10];
        std::fs::File::open(path).unwrap().read_exact_at(&mut start, 0).unwrap();
        start
    }

    #[test]
    fn a_fat_with_large_clusters_has_large_sectors_afterwards_and_fsck_finds_no_error() {
        for (case, arguments, size) in [
            ("FAT32", &["-F", "32", "-s", "8"][..], 300 << 20),
            ("FAT32 with few reserved sectors", &["-F", "32", "-s", "8", "-R", "16"], 300 << 20),
            ("FAT16", &["-F", "16", "-s", "16", "-R", "16", "-r", "1024"], 100 << 20),
        ] {
            let (_folder, path) = made(arguments, size);
            let data = start(&path);
            let Verdict::Fat { reserved } = look(&data[..START], 4096) else { panic!("{case}") };
            let new = convert(&data[..reserved as usize], 4096).unwrap_or_else(|error| panic!("{case}: {error}"));
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&new, 0).unwrap();
            assert_eq!(look(&start(&path)[..START], 4096), Verdict::Fits, "{case}");
            let output = Command::new("/usr/sbin/fsck.fat").args(["-n", "-v"]).arg(&path).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("4096 bytes per logical sector"), "{case}: {text}");
        }
    }

    #[test]
    fn what_larger_sectors_cannot_describe_is_refused() {
        let (_folder, path) = made(&["-F", "32", "-s", "1"], 40 << 20);
        let small = start(&path);
        assert_eq!(convert(&small[..16384], 4096), Err("its clusters are smaller than a sector of the disk"));
        let (_folder, path) = made(&["-a", "-F", "32", "-s", "8", "-R", "13"], 300 << 20);
        let odd = start(&path);
        assert_eq!(convert(&odd[..13 * 512], 4096), Err("its tables do not begin at whole sectors of the disk"));
        assert!(convert(&[], 4096).is_err());
    }

    #[test]
    fn other_file_systems_have_the_sectors_or_are_unfit() {
        let mut xfs = vec![0; START];
        xfs[..4].copy_from_slice(b"XFSB");
        xfs[102] = 2;
        let mut ext = vec![0; START];
        ext[1080..1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(look(&xfs, 4096), Verdict::Unfit { name: "XFS", sector: 512 });
        assert_eq!(look(&xfs, 512), Verdict::Fits);
        assert_eq!(look(&ext, 4096), Verdict::Unfit { name: "ext4", sector: 1024 });
        ext[1048] = 2;
        assert_eq!(look(&ext, 4096), Verdict::Fits);
        let mut exfat = vec![0; START];
        exfat[..11].copy_from_slice(b"\xeb\x76\x90EXFAT   ");
        exfat[108] = 9;
        assert_eq!(look(&exfat, 4096), Verdict::Unfit { name: "exFAT", sector: 512 });
        exfat[108] = 12;
        assert_eq!(look(&exfat, 4096), Verdict::Fits);
        assert_eq!(look(&[], 4096), Verdict::Fits);
    }
}
