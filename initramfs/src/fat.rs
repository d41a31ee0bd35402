//! A FAT16 file system with one file, `EFI/BOOT/BOOTX64.EFI` or `BOOTAA64.EFI`. UEFI firmware looks for it on removable
//! media.

use crate::architecture::Architecture;

const SECTOR: usize = 512;
/// The sizes of a cluster, the smallest that suffices first. Each one holds whole sectors of a CD.
const CLUSTER_SECTORS: [usize; 3] = [4, 8, 16];
/// What the file system keeps begins at a sector of a CD, so that ISO 9660 can name a part of the program as a file.
const CD_SECTOR: usize = 2048;
const ROOT_ENTRIES: usize = 512;
const FATS: usize = 2;
/// With fewer clusters it would be FAT12, and with more FAT32. Their number alone decides.
const CLUSTERS: std::ops::RangeInclusive<usize> = 4_200..=65_500;

const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an EFI program of {0} bytes does not fit a FAT16 file system (512 MiB)")]
pub struct TooLarge(usize);

/// The file system's bytes.
pub struct Image {
    pub bytes: Vec<u8>,
    /// Where the program begins in them, in one piece: a multiple of a CD's sector.
    pub program_at: usize,
}

/// The same program gives the same bytes.
pub fn image(program: &[u8], architecture: Architecture) -> Result<Image, TooLarge> {
    let fits = |sectors: &usize| program.len().div_ceil(sectors * SECTOR) + 2 <= *CLUSTERS.end();
    let cluster_sectors = CLUSTER_SECTORS.into_iter().find(fits).ok_or(TooLarge(program.len()))?;
    let cluster = cluster_sectors * SECTOR;
    let file_clusters = program.len().div_ceil(cluster).max(1);
    let clusters = (file_clusters + 2).max(*CLUSTERS.start());
    let fat_sectors = ((clusters + 2) * 2).div_ceil(SECTOR);
    let head = (1 + FATS * fat_sectors + ROOT_ENTRIES * 32 / SECTOR).next_multiple_of(CD_SECTOR / SECTOR);
    let reserved = head - FATS * fat_sectors - ROOT_ENTRIES * 32 / SECTOR;
    let mut out = boot_sector(head + clusters * cluster_sectors, fat_sectors, reserved, cluster_sectors);

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
        folder.resize(cluster, 0);
        out.extend(folder);
    }
    let program_at = out.len();
    out.extend_from_slice(program);
    out.resize(head * SECTOR + clusters * cluster, 0);
    Ok(Image { bytes: out, program_at })
}

fn boot_sector(sectors: usize, fat_sectors: usize, reserved: usize, cluster_sectors: usize) -> Vec<u8> {
    let mut out = b"\xeb\x3c\x90THIMBLE ".to_vec();
    out.extend((SECTOR as u16).to_le_bytes());
    out.push(cluster_sectors as u8);
    out.extend((reserved as u16).to_le_bytes()); // this sector, and empty ones
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
    out.resize(reserved * SECTOR, 0);
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
            let Image { bytes: image, program_at } = image(&program, architecture).unwrap();
            assert_eq!((image.len() % SECTOR, program_at % CD_SECTOR), (0, 0));
            assert_eq!(image[program_at..][..program.len()], program);
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
