//! Machines with 128 MiB of memory, in which every action runs that needs no foreign programs. What one of them has made, the
//! next one uses, and in the end Debian boots. OVMF needs more memory itself, so there Linux gets 128 MiB of it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::receiver::Receiver;
use super::row::{Blank, Ending, Fact, Row, Start};
use super::steps::{LONG, Site};
use crate::command;
use crate::machine::Firmware;
use crate::objects::Step;
use crate::oci::Image;

const MEMORY_MIB: u32 = 128;
const DISK: &str = "/dev/vda";
const BIOS: Start = Start::Direct(Firmware::SeaBios);
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

/// A certificate of the lab's firmware, for Secure Boot.
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";
const OVMF_MIB: u32 = 320;
/// The kernel that is loaded takes 52 MiB, its ramdisk 7, and Linux gives both at most half of the memory. With 160 MiB the action
/// is killed at its limit, because it reads both files, too.
const KEXEC_MIB: u32 = 256;

pub fn rows() -> Vec<Row> {
    let row = |name, start, steps| Row {
        memory_mib: MEMORY_MIB,
        disks: vec![Blank { bytes: DISK_BYTES, ..Blank::virtio() }],
        ..Row::new(name, start, steps)
    };
    let named = |hostname| vec![Fact::new("root", "findmnt -no SOURCE /", ROOT.0), Fact::new("hostname", "uname -n", hostname)];
    let kexec = Row {
        memory_mib: KEXEC_MIB,
        ending: Ending::Kexec,
        facts: named("by-kexec-in-256-mib"),
        ..row("kexec in 256 MiB", BIOS, by_kexec)
    };
    let uefi = Row {
        memory_mib: OVMF_MIB,
        linux_mib: Some(MEMORY_MIB),
        facts: named("by-uefi-in-128-mib"),
        ..row("UEFI's actions in 128 MiB", Start::Direct(Firmware::Ovmf), of_uefi)
    };
    let every = Row {
        facts: vec![
            Fact::new("root", "findmnt -no SOURCE /", ROOT.0),
            Fact::new("hostname", "uname -n", "in-128-mib"),
            Fact::new("archive", "cat /opt/archive/text", "from an archive"),
            Fact::new("layer", "test -x /opt/layer/bin/busybox && echo yes", "yes"),
            Fact::new("cexec", "cat /etc/made", "made inside"),
            Fact::new("netconfig", "grep -l 52:54:00 /etc/systemd/network/* | wc -l", "1"),
            Fact::new("cloud-init", "test -s /var/lib/cloud/seed/nocloud/meta-data && echo yes", "yes"),
        ],
        ..row("every action in 128 MiB", BIOS, steps)
    };
    vec![every, kexec, uefi]
}

/// The lab's disk, and a name for the system on it.
fn whole(site: &Site, hostname: &str) -> Result<Vec<Step>> {
    let url = site.provisioner.serve(&site.scene.setup.disk_zst, crate::provisioner::IMAGE)?;
    let write = site.action("write", "image2disk").timeout(LONG).environment("DEST_DISK", DISK).environment("IMG_URL", &url);
    Ok(vec![write, site.hostname(ROOT, hostname), site.check(ROOT)])
}

fn by_kexec(site: &Site) -> Result<Vec<Step>> {
    let mut steps = whole(site, "by-kexec-in-256-mib")?;
    steps.push(site.action("start", "kexec").environment("BLOCK_DEVICE", ROOT.0).environment("FS_TYPE", ROOT.1));
    Ok(steps)
}

/// A platform key would have to be signed, so the firmware stays in setup mode.
fn of_uefi(site: &Site) -> Result<Vec<Step>> {
    let folder = site.scene.place("keys")?;
    let der = folder.join("certificate.der");
    let mut convert = Command::new("openssl");
    command::effect(convert.args(["x509", "-in", CERTIFICATE, "-outform", "der", "-out"]).arg(&der))?;
    let list = signature_list(&fs::read(&der).context("cannot read the certificate")?)?;
    for name in ["db.esl", "KEK.esl"] {
        let file = folder.join(name);
        fs::write(&file, &list).with_context(|| format!("cannot write {}", file.display()))?;
        site.provisioner.serve(&file, name)?;
    }
    let entry = site.action("entry", "efi").environment("OPERATION", "create").environment("LABEL", "Debian");
    let entry = entry.environment("LOADER", "/EFI/BOOT/BOOTX64.EFI").environment("DEST_DISK", DISK);
    let keys = site.provisioner.url("");
    let mut steps = whole(site, "by-uefi-in-128-mib")?;
    steps.extend([
        site.action("entries", "efi").environment("OPERATION", "list"),
        entry,
        site.action("keys", "secureboot").environment("KEYS", keys.trim_end_matches('/')),
        site.reboot(),
    ]);
    Ok(steps)
}

/// `EFI_SIGNATURE_LIST` with one certificate, whose owner has the GUID 0.
fn signature_list(certificate: &[u8]) -> Result<Vec<u8>> {
    const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
    let entry = u32::try_from(16 + certificate.len())?;
    let numbers = [28 + entry, 0, entry].map(u32::to_le_bytes);
    Ok([&X509[..], numbers.as_flattened(), &[0; 16], certificate].concat())
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
    let settings =
        |name: &str, action: &str| site.action(name, action).environment("DEST_DISK", ROOT.0).environment("FS_TYPE", ROOT.1);
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
        site.inside("command", ROOT, "echo made inside > /etc/made && mkdir -p /etc/cloud"),
        settings("network", "netconfig"),
        settings("seed", "cloud-init").environment("META_DATA", "instance-id: i-128\n"),
        send("capture").environment("DEST_URL", &receiver.url("small.raw.zst")).environment("LEVEL", "1"),
        send("slurp").environment("DEST_URL", &receiver.url("image")).environment("IMG_NAME", "small"),
        site.reboot(),
    ])
}
