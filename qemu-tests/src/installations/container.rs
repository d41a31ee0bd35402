//! Debian as an OCI image: its files come from the registry, by oci2root.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::{self, BIOS_TOOLS, DISK, ROOT};
use super::row::{Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::machine::Firmware;
use crate::objects::Step;
use crate::oci::Image;

const NAME: &str = "debian";

pub fn rows() -> Vec<Row> {
    vec![Row {
        instance: archive::bios_storage(),
        tools: BIOS_TOOLS,
        facts: vec![
            Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
            Fact::new("hostname", "uname -n", "from-a-layer"),
            Fact::new("whiteout", "test -e /etc/issue.net || echo gone", "gone"),
            Fact::new("setuid", "stat -c '%a %U' /usr/bin/passwd", "4755 root"),
            Fact::new("hardlink", "stat -c %h /usr/bin/perl", "2"),
        ],
        ..Row::new("OCI root file system", Start::Direct(Firmware::SeaBios), steps)
    }]
}

/// The second layer has a file that replaces one of the first layer, and removes another one.
fn steps(site: &Site) -> Result<Vec<Step>> {
    let archive = &site.scene.setup.archive;
    let packed = Command::new("zstd").args(["-dcq"]).arg(archive).output().context("cannot start zstd")?;
    ensure!(packed.status.success(), "cannot unpack {}", archive.display());
    let image = Image::of_archive(packed.stdout, &[("etc/hostname", "from-a-layer\n"), ("etc/.wh.issue.net", "")])?;
    image.push(site.registry.address(), NAME, "1").context("cannot push Debian as an image")?;
    let unpack = site.action("unpack", "oci2root").timeout(LONG);
    let unpack = unpack.environment("IMG_URL", &site.registry.reference(&format!("{NAME}:1")));
    let unpack = unpack.environment("DEST_DISK", ROOT.0).environment("FS_TYPE", ROOT.1);
    let mut steps = site.storage();
    steps.extend([unpack, site.check(ROOT), site.grub(DISK, ROOT), site.reboot()]);
    Ok(steps)
}
