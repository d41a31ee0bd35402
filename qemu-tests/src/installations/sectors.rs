//! Debian on an NVMe disk with sectors of 4096 bytes: from an image whose table counts sectors of 512 bytes, and from parts.
//! Only UEFI boots from such a disk.

use anyhow::Result;
use serde_json::json;

use super::row::{Archive, Blank, Fact, Row, Start};
use super::steps::Site;
use crate::machine::{DiskModel, Firmware};
use crate::objects::Step;

const DISK: &str = "disk:transport=nvme";
const BYTES: u64 = 2 << 30;
const SECTOR: u32 = 4096;
/// OVMF needs more than the installation.
const MEMORY_MIB: u32 = 1024;
/// Of the lab's image.
const OF_IMAGE: (&str, &str) = ("disk:transport=nvme,partition=1", "ext4");
const OF_PARTS: (&str, &str) = ("disk:transport=nvme,partition=2", "ext4");
const EFI: &str = "disk:transport=nvme,partition=1";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            facts: facts("/dev/nvme0n1p1", "/dev/nvme0n1p15"),
            ..row("NVMe with 4096-byte sectors, from an image", Start::NetworkUefi, image)
        },
        Row {
            archive: Archive::Layered,
            instance: json!({"storage": {
                "disks": [{"device": DISK, "wipe_table": true, "partitions": [
                    {"label": "EFI", "number": 1, "size": 131_072}, {"label": "ROOT", "number": 2, "size": 0}]}],
                "filesystems": [
                    {"mount": {"device": EFI, "format": "vfat", "point": "/boot/efi", "create": {"options": ["-n", "ESP"]}}},
                    {"mount": {"device": OF_PARTS.0, "format": OF_PARTS.1, "point": "/", "create": {"options": ["-L", "ROOT"]}}},
                ],
            }}),
            tools: &["e2fsprogs", "dosfstools", "grub2-common", "grub-efi-amd64-bin"],
            facts: facts("/dev/nvme0n1p2", "/dev/nvme0n1p1"),
            ..row("NVMe with 4096-byte sectors, from parts", Start::Direct(Firmware::Ovmf), parts)
        },
    ]
}

fn row(name: &'static str, start: Start, steps: fn(&Site) -> Result<Vec<Step>>) -> Row {
    let disks = vec![Blank { model: DiskModel::Nvme, bytes: BYTES, sector: SECTOR }];
    Row { memory_mib: MEMORY_MIB, disks, ..Row::new(name, start, steps) }
}

fn facts(root: &str, efi: &str) -> Vec<Fact> {
    let loader = format!("mount -t vfat -o ro {efi} /mnt && ls /mnt/EFI/BOOT/BOOTX64.EFI && umount /mnt");
    vec![
        Fact::new("root", "findmnt -no SOURCE /", root),
        Fact::new("sector", "cat /sys/block/nvme0n1/queue/logical_block_size", "4096"),
        Fact::new("loader", &loader, "/mnt/EFI/BOOT/BOOTX64.EFI"),
        Fact::new("firmware", "test -d /sys/firmware/efi && echo UEFI || echo BIOS", "UEFI"),
    ]
}

/// image2disk converts the partition table and the file system of the loader.
fn image(site: &Site) -> Result<Vec<Step>> {
    let write = site.action("image", "image2disk").timeout(900).environment("DEST_DISK", DISK);
    let url = site.provisioner.serve(&site.scene.setup.disk_zst, crate::provisioner::IMAGE)?;
    Ok(vec![write.environment("IMG_URL", &url), site.check(OF_IMAGE), site.reboot()])
}

fn parts(site: &Site) -> Result<Vec<Step>> {
    Ok(vec![
        site.rootio("partition"),
        site.rootio("format"),
        site.unpack(OF_PARTS.0, OF_PARTS.1)?,
        site.write("fstab", OF_PARTS, "/etc/fstab", "0644", "LABEL=ROOT / ext4 defaults 0 1\n"),
        site.check(OF_PARTS),
        site.grub(DISK, OF_PARTS).environment("EFI_PARTITION", EFI),
        site.reboot(),
    ])
}
