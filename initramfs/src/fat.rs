//! A FAT16 file system with one file, `EFI/BOOT/BOOTX64.EFI` or `BOOTAA64.EFI`. UEFI firmware looks for it on removable
//! media.

use crate::architecture::Architecture;

const SECTOR: usize = 512;
const CLUSTER_SECTORS: usize = 8;
const CLUSTER: usize = SECTOR * CLUSTER_SECTORS;
const ROOT_ENTRIES: usize = 512;
const FATS: usize = 2;
/// With fewer clusters it would be FAT12, and with more FAT32. Their number alone decides.
const CLUSTERS: std::ops::RangeInclusive<usize> = 4_200..=65_500;

const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an EFI program of {0} bytes does not fit a FAT16 file system (256 MiB)")]
pub struct TooLarge(usize);

/// The file system's bytes. The same program gives the same bytes.
pub fn image(program: &[u8], architecture: Architecture) -> Result<Vec<u8>, TooLarge> {
    let file_clusters = program.len().div_ceil(CLUSTER).max(1);
    let clusters = (file_clusters + 2).max(*CLUSTERS.start());
    if clusters > *CLUSTERS.end() {
        return Err(TooLarge(program.len()));
    }
    let fat_sectors = ((clusters + 2) * 2).div_ceil(SECTOR);
    let mut out = boot_sector(1 + FATS * fat_sectors + ROOT_ENTRIES * 32 / SECTOR + clusters * CLUSTER_SECTORS, fat_sectors);

    let mut fat: Vec<u8> = [0xfff8_u16, 0xffff, 0xffff, 0xffff].into_iter().flat_map(u16::to_le_bytes).collect();
    let last = 4 + file_clusters - 1;
    fat.extend((4..=last).flat_map(|cluster| if cluster == last { 0xffff } else { cluster as u16 + 1 }.to_le_bytes()));
    fat.resize(fat_sectors * SECTOR, 0);
    for _ in 0..FATS {
        out.extend_from_slice(&fat);
    }

    let name = match architecture {
        Architecture::Amd64 => b"BOOTX64 EFI",
        Architecture::Arm64 => b"BOOTAA64EFI",
    };
    let mut root = entry(b"EFI        ", DIRECTORY, 2, 0);
    root.resize(ROOT_ENTRIES * 32, 0);
    out.extend(root);
    for (parent, own, child) in [(0, 2, entry(b"BOOT       ", DIRECTORY, 3, 0)), (2, 3, entry(name, ARCHIVE, 4, program.len()))] {
        let mut folder = entry(b".          ", DIRECTORY, own, 0);
        folder.extend(entry(b"..         ", DIRECTORY, parent, 0));
        folder.extend(child);
        folder.resize(CLUSTER, 0);
        out.extend(folder);
    }
    out.extend_from_slice(program);
    out.resize((1 + FATS * fat_sectors) * SECTOR + ROOT_ENTRIES * 32 + clusters * CLUSTER, 0);
    Ok(out)
}

fn boot_sector(sectors: usize, fat_sectors: usize) -> Vec<u8> {
    let mut out = b"\xeb\x3c\x90THIMBLE ".to_vec();
    out.extend((SECTOR as u16).to_le_bytes());
    out.push(CLUSTER_SECTORS as u8);
    out.extend(1u16.to_le_bytes()); // reserved: this sector
    out.push(FATS as u8);
    out.extend((ROOT_ENTRIES as u16).to_le_bytes());
    let small = u16::try_from(sectors).unwrap_or(0); // 0, because the 32 bits below have it
    out.extend(small.to_le_bytes());
    out.push(0xf8); // a fixed disk
    out.extend((fat_sectors as u16).to_le_bytes());
    out.extend([32, 0, 64, 0, 0, 0, 0, 0]); // sectors a track, heads, nothing hidden
    out.extend(if small == 0 { sectors as u32 } else { 0 }.to_le_bytes());
    out.extend([0x80, 0, 0x29]);
    out.extend(*b"THIM"); // volume id: any number, but always the same
    out.extend(*b"THIMBLE    FAT16   ");
    out.resize(SECTOR - 2, 0);
    out.extend([0x55, 0xaa]);
    out
}

fn entry(name: &[u8; 11], attributes: u8, cluster: u16, size: usize) -> Vec<u8> {
    const DATE: u16 = (1 << 5) | 1; // 1980-01-01, FAT's first day
    let mut out = name.to_vec();
    out.push(attributes);
    out.extend([0; 4]);
    out.extend(DATE.to_le_bytes());
    out.extend(DATE.to_le_bytes());
    out.extend([0; 4]);
    out.extend(DATE.to_le_bytes());
    out.extend(cluster.to_le_bytes());
    out.extend((size as u32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// mtools is a second reader. Without it only the size is checked.
    #[test]
    fn another_reader_finds_the_program() {
        let program: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
        for (architecture, name) in [(Architecture::Amd64, "BOOTX64.EFI"), (Architecture::Arm64, "BOOTAA64.EFI")] {
            let image = image(&program, architecture).unwrap();
            assert_eq!(image.len() % SECTOR, 0);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("fat");
            std::fs::write(&path, &image).unwrap();
            let Ok(output) = Command::new("mtype").arg("-i").arg(&path).arg(format!("::/EFI/BOOT/{name}")).output() else {
                eprintln!("not read back: mtools is not installed");
                return;
            };
            assert_eq!(output.stdout, program, "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
