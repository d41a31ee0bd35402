//! The same files, and other ways to start their kernel: kexec, SYSLINUX, and the GRUB that the system has itself.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::archive::{self, DISK, ROOT};
use super::row::{Ending, Fact, Row, Start};
use super::steps::{LONG, Site};
use super::tools;
use crate::command;
use crate::machine::Firmware;
use crate::objects::Step;

const DIRECT: Start = Start::Direct(Firmware::SeaBios);
/// Two kernels and two ramdisks at once, beside the tools.
const KEXEC_MIB: u32 = 1024;
/// The only partition of an MBR.
const ONLY: (&str, &str) = ("/dev/vda1", "ext4");
/// The partition for SYSLINUX, and the root.
const FAT: (&str, &str) = ("/dev/vda1", "vfat");
const BEHIND: (&str, &str) = ("/dev/vda2", "ext4");
/// SYSLINUX reads kernel and ramdisk from its own partition.
const COPY: &str = "mount -t vfat /dev/vda1 /mnt && cp -L /vmlinuz /initrd.img /mnt/ && umount /mnt";
const MENU: &str = "SERIAL 0 115200
DEFAULT debian
PROMPT 0
LABEL debian
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=LABEL=debian-root ro console=ttyS0 quiet
";

/// What Debian's system lacks of the packages of GRUB.
const GRUB: &[&str] = &[
    "dmsetup",
    "gettext-base",
    "grub-common",
    "grub-pc-bin",
    "grub2-common",
    "libbrotli1",
    "libdevmapper1.02.1",
    "libefiboot1",
    "libefivar1",
    "libfreetype6",
    "libfuse2",
    "libpng16-16",
];
const PACKAGES: &str = "/root/packages";
/// For grub-mkconfig.
const SETTINGS: &str = "GRUB_TIMEOUT=1
GRUB_CMDLINE_LINUX=\"console=ttyS0 quiet\"
GRUB_TERMINAL=\"console serial\"
";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            memory_mib: KEXEC_MIB,
            instance: archive::bios_storage(),
            tools: &["e2fsprogs"],
            ending: Ending::Kexec,
            facts: facts(ROOT.0, "started-by-kexec"),
            ..Row::new("kexec without a reboot", DIRECT, kexec)
        },
        Row {
            instance: json!({"storage": {
                "disks": [{"device": DISK, "wipe_table": true, "partitions": [{"label": "LINUX_ACTIVE", "number": 1, "size": 0}]}],
                // EXTLINUX reads neither of these features.
                "filesystems": [{"mount": {"device": ONLY.0, "format": ONLY.1, "point": "/",
                    "create": {"options": ["-L", "debian-root", "-O", "^64bit,^metadata_csum"]}}}],
            }}),
            tools: &["e2fsprogs", "extlinux", "syslinux-common"],
            facts: facts(ONLY.0, "started-by-syslinux"),
            ..Row::new("syslinux", DIRECT, syslinux)
        },
        Row {
            instance: json!({"storage": {
                "disks": [{"device": DISK, "wipe_table": true, "partitions": [
                    {"label": "FAT32_ACTIVE", "number": 1, "size": 262_144}, {"label": "LINUX", "number": 2, "size": 0}]}],
                "filesystems": [
                    {"mount": {"device": FAT.0, "format": FAT.1, "point": "/boot/fat", "create": {"options": ["-n", "BOOT"]}}},
                    {"mount": {"device": BEHIND.0, "format": BEHIND.1, "point": "/", "create": {"options": ["-L", "debian-root"]}}},
                ],
            }}),
            tools: &["e2fsprogs", "dosfstools", "syslinux", "syslinux-common", "dash"],
            facts: [
                facts(BEHIND.0, "started-by-syslinux-from-fat"),
                vec![Fact::new("image", "grep -o 'BOOT_IMAGE=[^ ]*' /proc/cmdline", "BOOT_IMAGE=/vmlinuz")],
            ]
            .concat(),
            ..Row::new("SYSLINUX on FAT", DIRECT, syslinux_on_fat)
        },
        Row {
            instance: archive::bios_storage(),
            tools: archive::BIOS_TOOLS,
            facts: facts(ROOT.0, "after-rootio-wipe"),
            ..Row::new("rootio mount and wipe", DIRECT, mount_and_wipe)
        },
        Row {
            instance: archive::bios_storage(),
            tools: &["e2fsprogs"],
            facts: [
                facts(ROOT.0, "with-its-own-grub"),
                vec![
                    Fact::new("menu", "grep -c 'BEGIN /etc/grub.d/10_linux' /boot/grub/grub.cfg", "1"),
                    Fact::new("arguments", "grep -o root=UUID /proc/cmdline", "root=UUID"),
                    Fact::new("packages", "dpkg -l grub2-common grub-pc-bin | grep -c ^ii", "2"),
                ],
            ]
            .concat(),
            ..Row::new("GRUB of the installed system", DIRECT, own_grub)
        },
    ]
}

fn facts(root: &str, hostname: &str) -> Vec<Fact> {
    vec![Fact::new("root", "findmnt -no SOURCE /", root), Fact::new("hostname", "uname -n", hostname)]
}

fn kexec(site: &Site) -> Result<Vec<Step>> {
    let mut steps = site.storage();
    let load = site.action("start", "kexec").environment("BLOCK_DEVICE", ROOT.0).environment("FS_TYPE", ROOT.1);
    steps.extend([site.unpack(ROOT.0, ROOT.1)?, site.hostname(ROOT, "started-by-kexec"), site.check(ROOT), load]);
    Ok(steps)
}

fn syslinux(site: &Site) -> Result<Vec<Step>> {
    let loader = site.with_tools("boot-loader", "syslinux").environment("DEST_DISK", DISK).environment("DEST_PARTITION", ONLY.0);
    Ok(vec![
        site.rootio("partition").environment("MBR", "true"),
        site.rootio("format"),
        site.unpack(ONLY.0, ONLY.1)?,
        site.hostname(ONLY, "started-by-syslinux"),
        site.check(ONLY),
        site.write("menu", ONLY, "/extlinux.conf", "0644", MENU),
        loader,
        site.reboot(),
    ])
}

fn syslinux_on_fat(site: &Site) -> Result<Vec<Step>> {
    let loader = site.with_tools("boot-loader", "syslinux").environment("DEST_DISK", DISK).environment("DEST_PARTITION", FAT.0);
    Ok(vec![
        site.rootio("partition").environment("MBR", "true"),
        site.rootio("format"),
        site.unpack(BEHIND.0, BEHIND.1)?,
        site.hostname(BEHIND, "started-by-syslinux-from-fat"),
        site.check(BEHIND),
        site.inside("copy", BEHIND, COPY),
        site.write("menu", FAT, "/syslinux.cfg", "0644", MENU),
        loader,
        site.reboot(),
    ])
}

/// What a first installation has left is mounted, wiped, and not there any more. Then the second one begins.
fn mount_and_wipe(site: &Site) -> Result<Vec<Step>> {
    // The place of the table, of the first partition, and of the superblock of the second one.
    let script = "test $(dd if=/dev/vda bs=1M count=3 2>/dev/null | tr -d '\\0' | wc -c) = 0 && echo nothing left";
    let look = Step::busybox("look", site.registry, script).volume("/dev:/dev");
    let mut steps = site.storage();
    steps.extend([site.rootio("mount"), site.rootio("wipe"), look]);
    steps.extend([
        site.rootio("partition").named("partition-again"),
        site.rootio("format").named("format-again"),
        site.unpack(ROOT.0, ROOT.1)?,
        site.hostname(ROOT, "after-rootio-wipe"),
        site.check(ROOT),
        site.grub(DISK, ROOT),
        site.reboot(),
    ]);
    Ok(steps)
}

/// Debian's packages come in a second archive and are installed inside of the system, as their scripts want it.
fn own_grub(site: &Site) -> Result<Vec<Step>> {
    let archive = site.scene.place("grub")?.join("grub.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).arg("-C").arg(tools::folder(&site.scene.setup.lab));
    let files = tools::files(&site.scene.setup.lab, archive::BIOS_TOOLS)?;
    let names = files.iter().filter_map(|file| file.file_name()?.to_str());
    tar.args(names.filter(|name| name.split('_').next().is_some_and(|package| GRUB.contains(&package))));
    command::effect(&mut tar).context("cannot pack Debian's packages of GRUB")?;
    let packages = site.action("packages", "archive2disk").environment("DEST_PATH", PACKAGES);
    let packages = packages.environment("ARCHIVE_URL", &site.provisioner.serve(&archive, "grub.tar")?);
    let packages = packages.environment("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", "true");
    let install = format!("dpkg -i {PACKAGES}/*.deb && rm -r {PACKAGES} /boot/grub/grub.cfg");
    let loader = site.action("boot-loader", "grub2disk").timeout(LONG).environment("GRUB_INSTALL_PATH", DISK);
    let mut steps = site.storage();
    steps.extend([
        site.unpack(ROOT.0, ROOT.1)?,
        packages.environment("DEST_DISK", ROOT.0).environment("FS_TYPE", ROOT.1),
        site.inside("install", ROOT, &install),
        site.hostname(ROOT, "with-its-own-grub"),
        site.check(ROOT),
        site.write("settings", ROOT, "/etc/default/grub", "0644", SETTINGS),
        loader.environment("GRUB_DISK", ROOT.0).environment("FS_TYPE", ROOT.1),
        site.reboot(),
    ]);
    Ok(steps)
}
