//! Debian whose /boot is a partition of its own, with the loader by grub2disk, by BIOS and UEFI.

use anyhow::Result;
use serde_json::{Value, json};

use super::archive::{BIOS_TOOLS, DISK, UEFI_TOOLS};
use super::row::{Fact, Row, Start};
use super::steps::Site;
use crate::machine::Firmware;
use crate::objects::Step;

const FIRST: &str = "/dev/vda1";
const BOOT: &str = "/dev/vda2";
const ROOT: (&str, &str) = ("/dev/vda3", "ext4");
const FSTAB: &str = "LABEL=debian-root / ext4 defaults 0 1\nLABEL=BOOT /boot ext2 defaults 0 2\n";
/// The archive's own menu is for a system with /boot on its root.
const MOVE: &str = "mount /dev/vda2 /mnt && cp -a /boot/. /mnt/ && rm /mnt/grub/grub.cfg && umount /mnt && rm -rf /boot/*";

pub fn rows() -> Vec<Row> {
    let esp = json!({"mount": {"device": FIRST, "format": "vfat", "point": "/boot/efi", "create": {"options": ["-n", "ESP"]}}});
    vec![
        Row {
            instance: storage(json!({"label": "BIOS", "number": 1, "size": 2048}), Vec::new()),
            tools: BIOS_TOOLS,
            facts: facts("BIOS"),
            ..Row::new("/boot on a partition, BIOS", Start::Direct(Firmware::SeaBios), bios)
        },
        Row {
            instance: storage(json!({"label": "EFI", "number": 1, "size": 131_072}), vec![esp]),
            tools: UEFI_TOOLS,
            facts: facts("UEFI"),
            ..Row::new("/boot on a partition, UEFI", Start::Direct(Firmware::Ovmf), uefi)
        },
    ]
}

fn storage(first: Value, mut filesystems: Vec<Value>) -> Value {
    let ext = |device: &str, format: &str, point: &str, label: &str| json!({"mount": {"device": device, "format": format, "point": point, "create": {"options": ["-L", label]}}});
    filesystems.extend([ext(BOOT, "ext2", "/boot", "BOOT"), ext(ROOT.0, ROOT.1, "/", "debian-root")]);
    json!({"storage": {
        "disks": [{"device": DISK, "wipe_table": true, "partitions": [
            first, {"label": "BOOT", "number": 2, "size": 524_288}, {"label": "ROOT", "number": 3, "size": 0}]}],
        "filesystems": filesystems,
    }})
}

fn facts(firmware: &str) -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
        Fact::new("boot", "findmnt -no SOURCE,FSTYPE /boot | tr -s ' '", "/dev/vda2 ext2"),
        Fact::new("firmware", "test -d /sys/firmware/efi && echo UEFI || echo BIOS", firmware),
        Fact::new("kernel", "grep -o 'BOOT_IMAGE=/vmlinuz' /proc/cmdline", "BOOT_IMAGE=/vmlinuz"),
        Fact::new("menu", "head -n 1 /boot/grub/grub.cfg", "# Written by grub2disk. grub-mkconfig replaces it."),
        Fact::new("nothing-below", "umount /boot && ls -A /boot | wc -l", "0"),
    ]
}

fn steps(site: &Site, loader: Step) -> Result<Vec<Step>> {
    let loader = loader.environment("BOOT_PARTITION", BOOT).environment("BOOT_FS_TYPE", "ext2");
    let mut steps = site.storage();
    steps.extend([
        site.unpack(ROOT.0, ROOT.1)?,
        site.write("fstab", ROOT, "/etc/fstab", "0644", FSTAB),
        site.check(ROOT),
        site.inside("move", ROOT, MOVE),
        loader.environment("CMD_LINE", "console=ttyS0 quiet"),
        site.reboot(),
    ]);
    Ok(steps)
}

fn bios(site: &Site) -> Result<Vec<Step>> {
    steps(site, site.grub(DISK, ROOT))
}

fn uefi(site: &Site) -> Result<Vec<Step>> {
    steps(site, site.grub(DISK, ROOT).environment("EFI_PARTITION", FIRST))
}
