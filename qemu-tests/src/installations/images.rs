//! Whole disks by image2disk: the lab's disk as it is, as a compressed qcow2, and as a capture of another installation.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::archive;
use super::receiver::Receiver;
use super::row::{Blank, Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::command;
use crate::machine::Firmware;
use crate::objects::Step;

const DISK: &str = "/dev/vda";
const SECOND: &str = "/dev/vdb";
/// Of the lab's disk.
const ROOT: (&str, &str) = ("/dev/vda1", "ext4");
/// image2disk needs neither tools nor memory.
const MEMORY_MIB: u32 = 128;
const CONVERTS_WITHIN: Duration = Duration::from_secs(300);
const CAPTURED: &str = "captured.raw.zst";

pub fn rows() -> Vec<Row> {
    let direct =
        |name, steps| Row { memory_mib: MEMORY_MIB, facts: facts(), ..Row::new(name, Start::Direct(Firmware::SeaBios), steps) };
    vec![
        direct("raw image", raw),
        direct("compressed qcow2", qcow2),
        Row {
            disks: vec![Blank::virtio(), Blank::virtio()],
            keeps: &[1],
            ..archive::bios_row("capture of an installation", Start::Direct(Firmware::SeaBios), capture)
        },
    ]
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

fn qcow2(site: &Site) -> Result<Vec<Step>> {
    let file = site.scene.place("images")?.join("debian.qcow2");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2", "-c"]).arg(&site.scene.setup.disk).arg(&file);
    command::run(&mut convert, &file.with_extension("log"), CONVERTS_WITHIN).context("cannot make the qcow2 image")?;
    Ok(install(site, &site.provisioner.serve(&file, "debian.qcow2")?))
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

/// The first disk is installed from the archive, captured, and installed on the second one, which then is alone.
fn capture(site: &Site) -> Result<Vec<Step>> {
    let receiver = Receiver::start(site.provisioner.files())?;
    let mut steps = archive::bios(site)?;
    steps.pop(); // the reboot
    let served = site.provisioner.url(CAPTURED);
    let capture = site.action("capture", "capture").timeout(LONG).environment("SOURCE_DISK", DISK);
    let capture = capture.environment("DEST_URL", &receiver.url(CAPTURED)).environment("LEVEL", "1");
    let write = write(site, &served, SECOND).environment("IMG_CHECKSUM", &format!("{served}.sha256"));
    steps.extend([capture, write, site.reboot()]);
    Ok(steps)
}
