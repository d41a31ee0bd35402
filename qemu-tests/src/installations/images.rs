//! Whole disks: the lab's disk as it is, as a compressed qcow2, in a registry, and as a capture of another installation.

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
use crate::oci::Image;

const DISK: &str = "/dev/vda";
const SECOND: &str = "/dev/vdb";
/// Of the lab's disk.
const ROOT: (&str, &str) = ("/dev/vda1", "ext4");
/// image2disk needs neither tools nor memory.
const MEMORY_MIB: u32 = 128;
const CONVERTS_WITHIN: Duration = Duration::from_secs(300);
const IMAGE: &str = "debian-disk";

pub fn rows() -> Vec<Row> {
    let direct =
        |name, steps| Row { memory_mib: MEMORY_MIB, facts: facts(), ..Row::new(name, Start::Direct(Firmware::SeaBios), steps) };
    vec![
        direct("raw image", raw),
        direct("compressed qcow2", qcow2),
        direct("image in a registry", registry),
        Row { disks: vec![Blank::virtio(), Blank::virtio()], keeps: &[1], ..direct("capture as qcow2", capture_qcow2) },
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

/// The disk is the only file of the image, and is packed by gzip as registries have their layers.
fn registry(site: &Site) -> Result<Vec<Step>> {
    let registry = site.registry;
    Image::of_file(&site.scene.setup.disk)?.push(registry.address(), IMAGE, "1").context("cannot push the disk")?;
    Ok(install_by(site, "oci2disk", &registry.reference(&format!("{IMAGE}:1"))))
}

/// The root grows to the size of the disk.
fn install(site: &Site, url: &str) -> Vec<Step> {
    install_by(site, "image2disk", url)
}

fn install_by(site: &Site, action: &str, url: &str) -> Vec<Step> {
    let write = write(site, action, url, DISK).environment("GROW", "last").environment("GROW_FS", "true");
    vec![write, site.hostname(ROOT, "from-an-image"), site.check(ROOT), site.reboot()]
}

fn write(site: &Site, action: &str, url: &str, disk: &str) -> Step {
    let step = site.action(&format!("write-{}", disk.trim_start_matches("/dev/")), action).timeout(LONG);
    step.environment("IMG_URL", url).environment("DEST_DISK", disk)
}

/// The first disk is installed from the archive, captured, and installed on the second one, which then is alone.
fn capture(site: &Site) -> Result<Vec<Step>> {
    copied(site, archive::bios(site)?, "captured.raw.zst")
}

fn capture_qcow2(site: &Site) -> Result<Vec<Step>> {
    copied(site, raw(site)?, "captured.qcow2")
}

fn copied(site: &Site, mut steps: Vec<Step>, name: &str) -> Result<Vec<Step>> {
    let receiver = Receiver::start(site.provisioner.files())?;
    let served = site.provisioner.url(name);
    let capture = site.action("capture", "capture").timeout(LONG).environment("SOURCE_DISK", DISK);
    let capture = capture.environment("DEST_URL", &receiver.url(name)).environment("LEVEL", "1");
    let write = write(site, "image2disk", &served, SECOND).environment("IMG_CHECKSUM", &format!("{served}.sha256"));
    steps.pop(); // the reboot
    steps.extend([capture, write, site.reboot()]);
    Ok(steps)
}
