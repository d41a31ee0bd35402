//! The layout of the installed disk: a GPT with GRUB's core image in a BIOS boot partition, an EFI system partition, and
//! the root file system.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

const SECTOR: u64 = 512;
pub const DISK_BYTES: u64 = 384 << 20;

#[derive(Clone, Copy)]
pub struct Partition {
    number: u8,
    first: u64,
    pub sectors: u64,
    kind: &'static str,
}

impl Partition {
    pub const fn offset(self) -> u64 {
        self.first * SECTOR
    }

    pub const fn bytes(self) -> u64 {
        self.sectors * SECTOR
    }
}

// The numbers are those of Debian's cloud images: the root is partition 1, although it comes after the others.
pub const BIOS_BOOT: Partition =
    Partition { number: 14, first: 2048, sectors: 2048, kind: "21686148-6449-6E6F-744E-656564454649" };
pub const ESP: Partition = Partition { number: 15, first: 4096, sectors: 16384, kind: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" };
pub const ROOT: Partition = Partition { number: 1, first: 20480, sectors: 745_472, kind: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" };

// Offsets in GRUB's boot.img and core.img (include/grub/i386/pc/boot.h).
const KERNEL_SECTOR: usize = 0x5c;
const DRIVE_CHECK: usize = 0x66;
const BOOT_CODE_END: usize = 440;
const FIRST_BLOCK_LIST: usize = 0x1f4;

/// The partition table in sfdisk's format.
pub fn table() -> String {
    let line = |part: &Partition| format!("{} : start={}, size={}, type={}\n", part.number, part.first, part.sectors, part.kind);
    let head = "label: gpt\nlabel-id: 9A5B8A54-7A43-4E0B-9D2C-54484D424C45\n".to_owned();
    head + &[BIOS_BOOT, ESP, ROOT].iter().map(line).collect::<String>()
}

/// The text for the cache key.
pub fn description() -> String {
    format!("{DISK_BYTES}\n{}", table())
}

/// Does the same as grub-bios-setup, without a block device: boot.img goes into the MBR, and core.img into its partition.
pub fn write_boot_code(disk: &Path, boot: &[u8], core: Vec<u8>) -> Result<()> {
    let mbr = patch_boot(boot.to_vec(), BIOS_BOOT.first).context("GRUB's boot.img is shorter than a sector")?;
    if core.len() as u64 > BIOS_BOOT.bytes() {
        bail!("GRUB's core image has {} bytes, its partition {}", core.len(), BIOS_BOOT.bytes());
    }
    let core = patch_core(core, BIOS_BOOT.first).context("GRUB's core image is shorter than a sector")?;
    let file = File::options().write(true).open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    file.write_all_at(&mbr, 0).context("cannot write the boot code")?;
    file.write_all_at(&core, BIOS_BOOT.offset()).context("cannot write GRUB's core image")
}

fn patch_boot(mut boot: Vec<u8>, core_at: u64) -> Option<Vec<u8>> {
    boot.get_mut(KERNEL_SECTOR..KERNEL_SECTOR + 8)?.copy_from_slice(&core_at.to_le_bytes());
    // Two NOPs, so that it uses the boot drive that the firmware passes in DL.
    boot.get_mut(DRIVE_CHECK..DRIVE_CHECK + 2)?.copy_from_slice(&[0x90, 0x90]);
    boot.truncate(BOOT_CODE_END); // the rest belongs to the protective MBR
    Some(boot)
}

fn patch_core(mut core: Vec<u8>, at: u64) -> Option<Vec<u8>> {
    let sectors = u16::try_from(core.len().div_ceil(usize::try_from(SECTOR).ok()?)).ok()?;
    let mut entry = Vec::with_capacity(12);
    entry.extend_from_slice(&(at + 1).to_le_bytes());
    entry.extend_from_slice(&(sectors - 1).to_le_bytes());
    entry.extend_from_slice(&0x820_u16.to_le_bytes()); // the segment diskboot.img loads to
    core.get_mut(FIRST_BLOCK_LIST..FIRST_BLOCK_LIST + 12)?.copy_from_slice(&entry);
    Some(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_do_not_overlap_and_leave_room_for_the_backup_table() {
        let mut parts = [BIOS_BOOT, ESP, ROOT];
        parts.sort_by_key(|part| part.first);
        for pair in parts.windows(2) {
            assert!(pair[0].first + pair[0].sectors <= pair[1].first);
        }
        const { assert!(ROOT.first + ROOT.sectors + 34 <= DISK_BYTES / SECTOR) };
    }

    #[test]
    fn boot_code_points_at_the_core_image() {
        let mbr = patch_boot(vec![0; 512], 2048).unwrap();
        assert_eq!(mbr.len(), 440);
        assert_eq!(mbr[0x5c..0x64], 2048_u64.to_le_bytes());
        let core = patch_core(vec![0; 1025], 2048).unwrap();
        assert_eq!(core[0x1f4..0x1fc], 2049_u64.to_le_bytes());
        assert_eq!(core[0x1fc..0x1fe], 2_u16.to_le_bytes());
    }

    #[test]
    fn a_truncated_loader_is_refused() {
        assert!(patch_boot(vec![0; 90], 2048).is_none());
        assert!(patch_core(vec![0; 100], 2048).is_none());
    }
}
