//! Whole disks by image2disk: the lab's disk as it is.

use anyhow::Result;

use super::row::{Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::machine::Firmware;
use crate::objects::Step;

const DISK: &str = "/dev/vda";
/// Of the lab's disk.
const ROOT: (&str, &str) = ("/dev/vda1", "ext4");
/// image2disk needs neither tools nor memory.
const MEMORY_MIB: u32 = 128;

pub fn rows() -> Vec<Row> {
    vec![Row { memory_mib: MEMORY_MIB, facts: facts(), ..Row::new("raw image", Start::Direct(Firmware::SeaBios), raw) }]
}

fn facts() -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
        Fact::new("filesystem", "findmnt -no FSTYPE /", ROOT.1),
        Fact::new("hostname", "uname -n", "from-an-image"),
        Fact::new("grown", "test $(findmnt -bno SIZE /) -gt 1000000000 && echo yes", "yes"),
    ]
}

fn raw(site: &Site) -> Result<Vec<Step>> {
    let url = site.provisioner.serve(&site.scene.setup.disk, "debian.raw")?;
    Ok(install(site, &url))
}

/// The root grows to the size of the disk.
fn install(site: &Site, url: &str) -> Vec<Step> {
    let write = write(site, url, DISK).environment("GROW", "last").environment("GROW_FS", "true");
    vec![write, site.hostname(ROOT, "from-an-image"), site.check(ROOT), site.reboot()]
}

fn write(site: &Site, url: &str, disk: &str) -> Step {
    let step = site.action("write", "image2disk").timeout(LONG);
    step.environment("IMG_URL", url).environment("DEST_DISK", disk)
}
