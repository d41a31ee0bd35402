//! Whole disks: the lab's disk as it is, as a compressed qcow2, in a registry, and as a copy of another installation.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::archive;
use super::receiver::Receiver;
use super::row::{Blank, Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::command;
use crate::machine::{DiskModel, Firmware};
use crate::objects::Step;
use crate::oci::Image;
use crate::scene::copy_disk;

const DISK: &str = "/dev/vda";
const SECOND: &str = "/dev/vdb";
const NVME: &str = "disk:transport=nvme";
const NVME_ROOT: &str = "disk:transport=nvme,partition=1";
/// Of the lab's disk.
const ROOT: (&str, &str) = ("/dev/vda1", "ext4");
/// image2disk needs neither tools nor memory.
const MEMORY_MIB: u32 = 128;
/// Of the disk that is copied byte for byte. The lab's disk fits.
const COPIED_BYTES: u64 = 448 << 20;
/// As large as the disks.
const LARGE: &str = "2G";
const CONVERTS_WITHIN: Duration = Duration::from_secs(300);
const IMAGE: &str = "debian-disk";

pub fn rows() -> Vec<Row> {
    let direct =
        |name, steps| Row { memory_mib: MEMORY_MIB, facts: facts(), ..Row::new(name, Start::Direct(Firmware::SeaBios), steps) };
    vec![
        direct("raw image", raw),
        direct("compressed qcow2", qcow2),
        direct("image in a registry", registry),
        Row { facts: common(), ..direct("qemuimg2disk", qemuimg2disk) },
        Row { facts: common(), ..direct("image of 2 GiB, virtio", large) },
        Row {
            disks: vec![Blank { model: DiskModel::Nvme, ..Blank::virtio() }],
            facts: [vec![Fact::new("root", "findmnt -no SOURCE /", "/dev/nvme0n1p1")], common().split_off(1)].concat(),
            ..direct("image of 2 GiB, NVMe", large)
        },
        Row {
            disks: vec![Blank { bytes: COPIED_BYTES, ..Blank::virtio() }, Blank::virtio()],
            keeps: &[1],
            facts: common(),
            ..direct("copy by slurp", slurp)
        },
        Row { disks: vec![Blank::virtio(), Blank::virtio()], keeps: &[1], ..direct("capture as qcow2", capture_qcow2) },
        Row {
            disks: vec![Blank::virtio(), Blank::virtio()],
            keeps: &[1],
            ..archive::bios_row("capture of an installation", Start::Direct(Firmware::SeaBios), capture)
        },
    ]
}

fn facts() -> Vec<Fact> {
    let grown = Fact::new("grown", "test $(findmnt -bno SIZE /) -gt 1000000000 && echo yes", "yes");
    [common(), vec![grown]].concat()
}

/// Of an image that did not grow. The first one is the root.
fn common() -> Vec<Fact> {
    vec![
        Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
        Fact::new("filesystem", "findmnt -no FSTYPE /", ROOT.1),
        Fact::new("hostname", "uname -n", "from-an-image"),
    ]
}

fn raw(site: &Site) -> Result<Vec<Step>> {
    let url = site.provisioner.serve(&site.scene.setup.disk, "debian.raw")?;
    Ok(install(site, &url))
}

fn qcow2(site: &Site) -> Result<Vec<Step>> {
    Ok(install(site, &as_qcow2(site, "debian.qcow2")?))
}

/// The URL of the lab's disk in that form.
fn as_qcow2(site: &Site, name: &str) -> Result<String> {
    let file = site.scene.place("images")?.join(name);
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2", "-c"]).arg(&site.scene.setup.disk).arg(&file);
    command::run(&mut convert, &file.with_extension("log"), CONVERTS_WITHIN).context("cannot make the qcow2 image")?;
    site.provisioner.serve(&file, name)
}

/// The lab's disk in an image as large as the machine's disk, in frames as `thimble image compress` makes them.
fn large(site: &Site) -> Result<Vec<Step>> {
    let is_nvme = site.row.disks.iter().any(|disk| disk.model == DiskModel::Nvme);
    let (disk, root, name) = if is_nvme { (NVME, (NVME_ROOT, ROOT.1), "nvme") } else { (DISK, ROOT, "virtio") };
    let folder = site.scene.place("images")?;
    let (raw, packed) = (folder.join(format!("{name}.raw")), format!("{name}.raw.zst"));
    copy_disk(&site.scene.setup.disk, &raw)?;
    command::effect(Command::new("truncate").args(["-s", LARGE]).arg(&raw))?;
    let mut compress = Command::new(&site.scene.setup.thimble);
    compress.args(["image", "compress"]).arg(&raw).arg("--output").arg(folder.join(&packed));
    command::run(&mut compress, &raw.with_extension("log"), CONVERTS_WITHIN).context("cannot compress the image")?;
    let write = site.action("write", "image2disk").timeout(LONG).environment("DEST_DISK", disk);
    let write = write.environment("IMG_URL", &site.provisioner.serve(&folder.join(&packed), &packed)?);
    Ok(vec![write, site.hostname(root, "from-an-image"), site.check(root), site.reboot()])
}

/// With the variables of Tinkerbell's action.
fn qemuimg2disk(site: &Site) -> Result<Vec<Step>> {
    let write = write(site, "qemuimg2disk", &as_qcow2(site, "for-qemuimg2disk.qcow2")?, DISK);
    let write = write.environment("FORMAT", "host_device").environment("EXTRA_ARGS", "-W -m 8");
    Ok(vec![write, site.hostname(ROOT, "from-an-image"), site.check(ROOT), site.reboot()])
}

/// The first disk is sent byte for byte, as upstream's server takes it, and the second one is written from that.
fn slurp(site: &Site) -> Result<Vec<Step>> {
    let receiver = Receiver::start(site.provisioner.files())?;
    let send = site.action("send", "slurp").timeout(LONG).environment("SOURCE_DISK", DISK).environment("COMPRESSED", "true");
    let send = send.environment("DEST_URL", &receiver.url("image")).environment("IMG_NAME", "slurped");
    let url = site.provisioner.serve(&site.scene.setup.disk, "debian.raw")?;
    let (first, second) = (write(site, "image2disk", &url, DISK), site.provisioner.url("slurped.img.gz"));
    let named = [site.hostname(ROOT, "from-an-image"), site.check(ROOT)];
    let second = write(site, "image2disk", &second, SECOND);
    Ok([first].into_iter().chain(named).chain([send, second, site.reboot()]).collect())
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
