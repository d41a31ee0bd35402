//! Debian on LUKS, on md and on LVM. Actions make the layers and unpack the system. Its own programs make its menu, and for LUKS
//! its initramfs.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::row::{Archive, Blank, Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::machine::{Firmware, Vm};
use crate::objects::Step;

const DISK: &str = "/dev/vda";
const FS: &str = "ext4";
const MEMORY_MIB: u32 = 1024;
/// From the end of the installation to a prompt of the initramfs.
const ASKS_WITHIN: Duration = Duration::from_secs(300);
const PASSPHRASE: &str = "correct horse battery staple";
/// No unit of the installed system has failed.
const FAILED: &str = "systemctl --failed --no-legend --plain | wc -l";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            instance: encrypted(),
            tools: &["e2fsprogs", "cryptsetup-bin"],
            console: unlock,
            facts: on_luks(),
            ..row("LUKS", luks)
        },
        Row {
            instance: encrypted(),
            tools: &["e2fsprogs", "cryptsetup-bin", "clevis-luks", "clevis-tpm2", "bash", "coreutils", "sed", "grep"],
            other_tpm: Some(unlock),
            facts: [
                on_luks(),
                vec![
                    Fact::new("token", "cryptsetup luksDump /dev/vda3 | grep -c '0: clevis'", "1"),
                    Fact::new(
                        "bank",
                        "clevis luks list -d /dev/vda3 | grep -o '\"pcr_bank\":\"[a-z0-9]*\"'",
                        "\"pcr_bank\":\"sha256\"",
                    ),
                ],
            ]
            .concat(),
            ..row("LUKS opened by a TPM", luks_by_tpm)
        },
        Row { facts: mirror("[2/2] [UU]"), ..md("md RAID 1") },
        Row { keeps: &[1], facts: mirror("[2/1] [_U]"), ..md("md RAID 1, the first disk pulled") },
        Row {
            instance: storage(
                &[DISK],
                json!([{"label": "BIOS", "number": 1, "size": 2048}, {"label": "LVM", "number": 2, "size": 0}]),
                json!([mount(ON_LVM.0, "ROOT"), {"mount": {"device": "/dev/vg0/swap", "format": "swap"}}]),
            ),
            tools: &["e2fsprogs", "lvm2", "grub2-common", "grub-pc-bin"],
            facts: vec![
                Fact::new("root", "findmnt -no SOURCE,FSTYPE / | tr -s ' '", "/dev/mapper/vg0-root ext4"),
                Fact::new("volumes", "lvs --noheadings -o lv_name,devices vg0 | xargs", "root /dev/vda2(64) swap /dev/vda2(0)"),
                Fact::new("swap", "swapon --noheadings --show=SIZE", "256M"),
                Fact::new("failed", FAILED, "0"),
            ],
            ..row("LVM", lvm)
        },
    ]
}

fn row(name: &'static str, steps: fn(&Site) -> Result<Vec<Step>>) -> Row {
    Row {
        drivers: &["raid"],
        memory_mib: MEMORY_MIB,
        archive: Archive::Layered,
        ..Row::new(name, Start::Direct(Firmware::SeaBios), steps)
    }
}

/// The same partitions on each of the disks.
fn storage(disks: &[&str], partitions: Value, filesystems: Value) -> Value {
    let disks = disks.iter().map(|disk| json!({"device": disk, "wipe_table": true, "partitions": partitions}));
    json!({"storage": {"disks": disks.collect::<Vec<_>>(), "filesystems": filesystems}})
}

fn mount(device: &str, label: &str) -> Value {
    json!({"mount": {"device": device, "format": FS, "create": {"options": ["-L", label]}}})
}

const ON_LUKS: (&str, &str) = ("/dev/mapper/root", FS);
const FSTAB: &str = "/dev/mapper/root / ext4 defaults 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n";
const CRYPTTAB: &str = "root PARTLABEL=CRYPT none luks\n";

fn encrypted() -> Value {
    storage(
        &[DISK],
        json!([{"label": "BIOS", "number": 1, "size": 2048}, {"label": "BOOT", "number": 2, "size": 524_288},
            {"label": "CRYPT", "number": 3, "size": 0}]),
        json!([mount("/dev/vda2", "BOOT"), mount(ON_LUKS.0, "ROOT")]),
    )
}

fn on_luks() -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE,FSTYPE / | tr -s ' '", "/dev/mapper/root ext4"),
        Fact::new("boot", "findmnt -no SOURCE /boot", "/dev/vda2"),
        Fact::new("type", "cryptsetup status root | awk '/type:|device:/ {print $2}' | xargs", "LUKS2 /dev/vda3"),
        Fact::new("argon2id", "cryptsetup luksDump /dev/vda3 | grep -c 'PBKDF: *argon2id'", "1"),
        Fact::new("failed", FAILED, "0"),
    ]
}

/// argon2id and clevis take long on an emulated processor.
fn encrypt(site: &Site) -> Step {
    let step = site.with_tools("encrypt", "luks").timeout(LONG).environment("DEST_DISK", "/dev/vda3");
    step.environment("NAME", "root").environment("PASSPHRASE", PASSPHRASE)
}

/// GRUB reads /boot from a partition of its own.
fn luks(site: &Site) -> Result<Vec<Step>> {
    // It copies /boot onto its partition, and mounts that as the installed system does.
    let boot = "mount /dev/vda2 /mnt && cp -a /boot/. /mnt/ && umount /mnt && mount /boot && update-initramfs -u && \
                grub-install /dev/vda && update-grub";
    Ok(vec![
        site.rootio("partition"),
        encrypt(site),
        site.rootio("format"),
        site.unpack(ON_LUKS.0, FS)?,
        site.write("fstab", ON_LUKS, "/etc/fstab", "0644", FSTAB),
        site.write("crypttab", ON_LUKS, "/etc/crypttab", "0644", CRYPTTAB),
        site.check(ON_LUKS),
        site.inside("boot", ON_LUKS, boot),
        site.reboot(),
    ])
}

/// The system's own grub-install and grub-mkconfig do the rest. Its initramfs has clevis, and nobody types the passphrase.
fn luks_by_tpm(site: &Site) -> Result<Vec<Step>> {
    let boot =
        "mount /dev/vda2 /mnt && cp -a /boot/. /mnt/ && umount /mnt && rm -rf /boot/* && mount /boot && update-initramfs -u";
    let loader = site.action("boot-loader", "grub2disk").timeout(LONG).environment("GRUB_INSTALL_PATH", DISK);
    let loader = loader.environment("GRUB_DISK", ON_LUKS.0).environment("FS_TYPE", FS);
    Ok(vec![
        site.rootio("partition"),
        encrypt(site).environment("TPM2", "true"),
        site.rootio("format"),
        site.unpack(ON_LUKS.0, FS)?,
        site.write("fstab", ON_LUKS, "/etc/fstab", "0644", FSTAB),
        site.write("crypttab", ON_LUKS, "/etc/crypttab", "0644", CRYPTTAB),
        site.check(ON_LUKS),
        site.inside("boot", ON_LUKS, boot),
        loader.environment("BOOT_PARTITION", "/dev/vda2"),
        site.reboot(),
    ])
}

/// A wrong passphrase opens nothing, and the right one does.
fn unlock(machine: &mut Vm) -> Result<()> {
    const PROMPT: &str = "Please unlock disk root";
    machine.serial.expect(PROMPT, ASKS_WITHIN)?;
    machine.serial.send("wrong\n")?;
    machine.serial.expect("bad password|No key available", ASKS_WITHIN)?;
    machine.serial.expect(PROMPT, ASKS_WITHIN)?;
    machine.serial.send(&format!("{PASSPHRASE}\n"))?;
    machine.serial.expect("set up successfully", ASKS_WITHIN).map(drop)
}

const ON_MD: (&str, &str) = ("/dev/md0", FS);
const SECOND: &str = "/dev/vdb";

fn md(name: &'static str) -> Row {
    Row {
        disks: vec![Blank::virtio(), Blank::virtio()],
        instance: storage(
            &[DISK, SECOND],
            json!([{"label": "BIOS", "number": 1, "size": 2048}, {"label": "MD", "number": 2, "size": 0}]),
            json!([mount(ON_MD.0, "ROOT")]),
        ),
        tools: &["e2fsprogs", "mdadm", "grub2-common", "grub-pc-bin"],
        ..row(name, on_md)
    }
}

fn mirror(disks: &str) -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE / | tr -d 0-9", "/dev/md"),
        Fact::new("level", "grep -o 'active raid1' /proc/mdstat", "active raid1"),
        Fact::new("disks", "grep -o '\\[2/.*\\]$' /proc/mdstat", disks),
        Fact::new("failed", FAILED, "0"),
    ]
}

/// The root file system with /boot is on the mirror, and each disk has GRUB. So either disk boots alone.
fn on_md(site: &Site) -> Result<Vec<Step>> {
    let mirror = site.with_tools("mirror", "raid").environment("DEVICES", "/dev/vda2 /dev/vdb2").environment("LEVEL", "1");
    let grub = |disk| site.grub(disk, ON_MD);
    Ok(vec![
        site.rootio("partition"),
        mirror,
        site.rootio("format"),
        site.unpack(ON_MD.0, FS)?,
        site.write("fstab", ON_MD, "/etc/fstab", "0644", "LABEL=ROOT / ext4 defaults 0 1\n"),
        site.check(ON_MD),
        site.inside("mdadm-conf", ON_MD, "mdadm --detail --scan >> /etc/mdadm/mdadm.conf"),
        grub(DISK),
        grub(SECOND).named("boot-loader-of-the-second-disk"),
        // A disk that fails before the copies are alike may be the one that has all.
        site.inside("wait-for-the-copy", ON_MD, "mdadm --wait /dev/md0 || grep -q '\\[UU\\]' /proc/mdstat"),
        site.reboot(),
    ])
}

const ON_LVM: (&str, &str) = ("/dev/vg0/root", FS);

/// GRUB reads /boot from the root volume.
fn lvm(site: &Site) -> Result<Vec<Step>> {
    let volumes = site.with_tools("volumes", "lvm").environment("DEVICES", "/dev/vda2").environment("VG", "vg0");
    Ok(vec![
        site.rootio("partition"),
        volumes.environment("VOLUMES", "swap:256M root:100%FREE"),
        site.rootio("format"),
        site.unpack(ON_LVM.0, FS)?,
        site.write("fstab", ON_LVM, "/etc/fstab", "0644", "/dev/vg0/root / ext4 defaults 0 1\n/dev/vg0/swap none swap sw 0 0\n"),
        site.check(ON_LVM),
        site.grub(DISK, ON_LVM),
        site.reboot(),
    ])
}
