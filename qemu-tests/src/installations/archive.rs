//! Debian as a tar archive: partitions and file systems by rootio, the files by archive2disk, the boot loader by grub2disk.

use anyhow::Result;
use serde_json::{Value, json};

use super::row::{Fact, Row, Start};
use super::steps::Site;
use crate::objects::Step;

pub const DISK: &str = "/dev/vda";
/// The root, in a GPT.
pub const ROOT: (&str, &str) = ("/dev/vda2", "ext4");
/// What makes such a system and its boot loader for BIOS.
pub const BIOS_TOOLS: &[&str] = &["e2fsprogs", "grub2-common", "grub-pc-bin"];
pub const UEFI_TOOLS: &[&str] = &["e2fsprogs", "dosfstools", "grub2-common", "grub-efi-amd64-bin"];
const EFI: &str = "/dev/vda1";
/// What docs/parts.md promises for the tools of BIOS.
const PROMISED_MIB: u32 = 256;
const BIOS_NAME: &str = "from-an-archive";
const UEFI_NAME: &str = "from-an-archive-by-uefi";
/// What a command inside of the new system can do.
const MAKE: &str = ". /etc/os-release && echo \"made in $ID $VERSION_ID\" > /etc/made-by-cexec && chmod 0640 /etc/made-by-cexec";
const MADE: &str = "640 root made in debian 12";

/// Moves GRUB to where only a boot entry leads.
const MOVE: &str = "mount -t vfat /dev/vda1 /mnt && mv /mnt/EFI/BOOT /mnt/EFI/debian && umount /mnt";
const LABEL: &str = "Debian of the lab";
/// The label of the boot entry that the firmware has started, from its variables.
const STARTED: &str = "cd /sys/firmware/efi/efivars && set -- $(od -An -tx1 -j4 BootCurrent-* | tr a-f A-F) && \
    tr -d '\\0' < $(ls -d Boot$2$1-*) | grep -ao 'Debian of the lab'";

pub fn rows() -> Vec<Row> {
    let entry = Fact::new("entry", STARTED, LABEL);
    vec![
        Row { memory_mib: PROMISED_MIB, ..bios_row("archive, BIOS", Start::NetworkBios, bios) },
        uefi_row("archive, UEFI", Vec::new(), uefi),
        uefi_row("UEFI boot entry", vec![entry], boot_entry),
    ]
}

fn uefi_row(name: &'static str, more: Vec<Fact>, steps: fn(&Site) -> Result<Vec<Step>>) -> Row {
    let esp = json!({"mount": {"device": EFI, "format": "vfat", "point": "/boot/efi", "create": {"options": ["-n", "ESP"]}}});
    Row {
        instance: storage(json!({"label": "EFI", "number": 1, "size": 131_072}), vec![esp]),
        tools: UEFI_TOOLS,
        facts: [facts(UEFI_NAME, "UEFI"), more].concat(),
        ..Row::new(name, Start::NetworkUefi, steps)
    }
}

/// A row whose steps begin with those of [`bios`].
pub fn bios_row(name: &'static str, start: Start, steps: fn(&Site) -> Result<Vec<Step>>) -> Row {
    Row { instance: bios_storage(), tools: BIOS_TOOLS, facts: facts(BIOS_NAME, "BIOS"), ..Row::new(name, start, steps) }
}

/// A partition for GRUB, and the root.
pub fn bios_storage() -> Value {
    storage(json!({"label": "BIOS", "number": 1, "size": 2048}), Vec::new())
}

/// A GPT with `first` and the root file system, and `more` file systems.
fn storage(first: Value, mut filesystems: Vec<Value>) -> Value {
    // The label is that of the archive's /etc/fstab.
    let options = json!({"options": ["-L", "debian-root"]});
    filesystems.push(json!({"mount": {"device": ROOT.0, "format": ROOT.1, "point": "/", "create": options}}));
    json!({"storage": {
        "disks": [{"device": DISK, "wipe_table": true, "partitions": [first, {"label": "ROOT", "number": 2, "size": 0}]}],
        "filesystems": filesystems,
    }})
}

fn facts(hostname: &str, firmware: &str) -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
        Fact::new("filesystem", "findmnt -no FSTYPE /", ROOT.1),
        Fact::new("hostname", "uname -n", hostname),
        Fact::new("firmware", "test -d /sys/firmware/efi && echo UEFI || echo BIOS", firmware),
        Fact::new("cexec", "echo $(stat -c '%a %U' /etc/made-by-cexec; cat /etc/made-by-cexec)", MADE),
        Fact::new("setuid", "stat -c '%a %U' /usr/bin/passwd", "4755 root"),
        Fact::new("group", "stat -c '%a %G' /etc/shadow", "640 shadow"),
        Fact::new("hardlink", "stat -c %h /usr/bin/perl", "2"),
        Fact::new("resolver", "cat /etc/resolv.conf", "nameserver 10.77.0.1"),
    ]
}

fn begin(site: &Site, hostname: &str) -> Result<Vec<Step>> {
    let mut steps = site.storage();
    steps.extend([site.unpack(ROOT.0, ROOT.1)?, site.hostname(ROOT, hostname), site.check(ROOT)]);
    Ok(steps)
}

/// The archive's own menu of GRUB stays.
pub fn bios(site: &Site) -> Result<Vec<Step>> {
    let mut steps = begin(site, BIOS_NAME)?;
    steps.extend([site.inside("command", ROOT, MAKE), site.grub(DISK, ROOT), site.reboot()]);
    Ok(steps)
}

/// Without a menu of its own, the system gets one of its kernels.
fn uefi(site: &Site) -> Result<Vec<Step>> {
    let mut steps = begin(site, UEFI_NAME)?;
    let grub = site.grub(DISK, ROOT).environment("EFI_PARTITION", EFI).environment("CMD_LINE", "console=ttyS0 quiet");
    steps.extend([site.inside("command", ROOT, &format!("{MAKE} && rm /boot/grub/grub.cfg")), grub, site.reboot()]);
    Ok(steps)
}

/// The firmware finds no loader by itself, so it boots only by the entry.
fn boot_entry(site: &Site) -> Result<Vec<Step>> {
    let mut steps = uefi(site)?;
    steps.pop(); // the reboot
    let entry = site.action("entry", "efi").environment("OPERATION", "create").environment("LABEL", LABEL);
    let entry = entry.environment("LOADER", "/EFI/debian/BOOTX64.EFI").environment("DEST_DISK", DISK);
    steps.extend([site.inside("move", ROOT, MOVE), entry, site.reboot()]);
    Ok(steps)
}
