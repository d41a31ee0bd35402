//! The same files, and another way to start their kernel: kexec.

use anyhow::Result;

use super::archive::{self, ROOT};
use super::row::{Ending, Fact, Row, Start};
use super::steps::Site;
use crate::machine::Firmware;
use crate::objects::Step;

const DIRECT: Start = Start::Direct(Firmware::SeaBios);
/// Two kernels and two ramdisks at once, beside the tools.
const KEXEC_MIB: u32 = 1024;

pub fn rows() -> Vec<Row> {
    vec![Row {
        memory_mib: KEXEC_MIB,
        instance: archive::bios_storage(),
        tools: &["e2fsprogs"],
        ending: Ending::Kexec,
        facts: facts(ROOT.0, "started-by-kexec"),
        ..Row::new("kexec without a reboot", DIRECT, kexec)
    }]
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
