//! The same files, and other ways to start their kernel: kexec, and SYSLINUX.

use anyhow::Result;
use serde_json::json;

use super::archive::{self, DISK, ROOT};
use super::row::{Ending, Fact, Row, Start};
use super::steps::Site;
use crate::machine::Firmware;
use crate::objects::Step;

const DIRECT: Start = Start::Direct(Firmware::SeaBios);
/// Two kernels and two ramdisks at once, beside the tools.
const KEXEC_MIB: u32 = 1024;
/// The only partition of an MBR.
const ONLY: (&str, &str) = ("/dev/vda1", "ext4");
const MENU: &str = "SERIAL 0 115200
DEFAULT debian
PROMPT 0
LABEL debian
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=LABEL=debian-root ro console=ttyS0 quiet
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
