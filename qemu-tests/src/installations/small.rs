//! One machine with 128 MiB of memory, in which every action runs that needs no foreign programs. What one of them has made, the
//! next one uses, and in the end Debian boots.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::receiver::Receiver;
use super::row::{Blank, Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::command;
use crate::machine::Firmware;
use crate::objects::Step;
use crate::oci::Image;

const MEMORY_MIB: u32 = 128;
const DISK: &str = "/dev/vda";
/// Of the lab's disk.
const ROOT: (&str, &str) = ("/dev/vda1", "ext4");
/// The lab's disk fits, and copying all of it does not take long.
const DISK_BYTES: u64 = 448 << 20;
const PACKS_WITHIN: Duration = Duration::from_secs(300);
/// The start of the lab's disk in forms that need memory: windows of 8 MiB, and clusters of 2 MiB.
const START: &str = "head -c 64M \"$0\" > start.raw; xz -T1 --lzma2=preset=1,dict=8MiB -k start.raw; \
    zstd -q --long=23 -3 start.raw; \
    qemu-img convert -f raw -O qcow2 -c -o cluster_size=2M start.raw start.qcow2; \
    mkdir -p tree; echo from an archive > tree/text; tar -C tree -cJf tree.tar.xz text";

pub fn rows() -> Vec<Row> {
    vec![Row {
        memory_mib: MEMORY_MIB,
        disks: vec![Blank { bytes: DISK_BYTES, ..Blank::virtio() }],
        facts: vec![
            Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
            Fact::new("hostname", "uname -n", "in-128-mib"),
            Fact::new("archive", "cat /opt/archive/text", "from an archive"),
            Fact::new("layer", "test -x /opt/layer/bin/busybox && echo yes", "yes"),
            Fact::new("cexec", "cat /etc/made", "made inside"),
        ],
        ..Row::new("every action in 128 MiB", Start::Direct(Firmware::SeaBios), steps)
    }]
}

fn steps(site: &Site) -> Result<Vec<Step>> {
    let folder = site.scene.place("small")?;
    let mut make = Command::new("sh");
    make.args(["-ec", START]).arg(&site.scene.setup.disk).current_dir(&folder);
    command::run(&mut make, &folder.join("make.log"), PACKS_WITHIN).context("cannot pack the images")?;
    let (registry, receiver) = (site.registry, Receiver::start(site.provisioner.files())?);
    Image::of_file(&folder.join("start.raw"))?.push(registry.address(), "start", "1").context("cannot push an image")?;
    let url = |name: &str| site.provisioner.serve(&folder.join(name), name);
    let write = |name: &str, action: &str, url: &str| {
        site.action(name, action).timeout(LONG).environment("DEST_DISK", DISK).environment("IMG_URL", url)
    };
    let inside = |name: &str, action: &str, path: &str| {
        let step = site.action(name, action).environment("DEST_DISK", ROOT.0).environment("FS_TYPE", ROOT.1);
        step.environment("DEST_PATH", path)
    };
    let whole = site.provisioner.serve(&site.scene.setup.disk_zst, crate::provisioner::IMAGE)?;
    let archive = inside("archive", "archive2disk", "/opt/archive").environment("ARCHIVE_URL", &url("tree.tar.xz")?);
    let layer = inside("layer", "oci2root", "/opt/layer").environment("IMG_URL", &registry.reference("busybox:1"));
    let burnin = site.action("burnin", "burnin").environment("DURATION_SECONDS", "2").environment("MEMORY_PERCENT", "20");
    let send = |name: &str| site.action(name, name).timeout(LONG).environment("SOURCE_DISK", DISK);
    Ok(vec![
        site.action("inventory", "inventory"),
        burnin.environment("DEST_DISK", DISK),
        site.action("wipe", "wipe").environment("DEST_DISK", DISK),
        site.action("rootio", "rootio").command("version"),
        write("xz", "image2disk", &url("start.raw.xz")?),
        write("zstd", "image2disk", &url("start.raw.zst")?),
        write("qcow2", "image2disk", &url("start.qcow2")?),
        write("as-qemu-img", "qemuimg2disk", &url("start.qcow2")?),
        write("from-a-registry", "oci2disk", &registry.reference("start:1")),
        write("whole", "image2disk", &whole),
        write("verify", "verify", &whole),
        archive.environment("INSECURE_NO_TARFILE_CHECKSUM_VERIFICATION", "true"),
        layer,
        site.hostname(ROOT, "in-128-mib"),
        site.check(ROOT),
        site.inside("command", ROOT, "echo made inside > /etc/made"),
        send("capture").environment("DEST_URL", &receiver.url("small.raw.zst")).environment("LEVEL", "1"),
        send("slurp").environment("DEST_URL", &receiver.url("image")).environment("IMG_NAME", "small"),
        site.reboot(),
    ])
}
