//! `/dev/disk/by-*`: Thimble's names and those of Debian's udev, on the same machine at the same time.
//!
//! An action lists the machine's names, hides them below another file system, and lets udevd make them again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::links::begin;
use crate::command::{effect, output};
use crate::machine::{Boot, Disk, DiskModel, NicModel, Parts, blank_disk};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, Scene, copy_disk};

const STATION: Station = Station { number: 1 };
const MEMORY_MIB: u32 = 512;
const DISK_BYTES: u64 = 64 << 20;
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const PROGRAMS: [&str; 5] =
    ["/bin/udevadm", "/lib/udev/ata_id", "/lib/udev/scsi_id", "/lib/udev/cdrom_id", "/lib/systemd/systemd-udevd"];
const RULES: &str = "/lib/udev/rules.d";
/// A kind of link that udev 251 introduced. Its names change with every boot.
const ONLY_UDEVS: &str = "by-diskseq/";
const SCRIPT: &str = "list() {
  busybox find /dev/disk -type l | while read -r link; do echo \"${link#/dev/disk/} $(busybox readlink \"$link\")\"; done | busybox sort
}
for name in NAMES; do
  tries=0
  until [ -b /dev/disk/by-id/$name ]; do
    tries=$((tries + 1)); [ $tries -lt 300 ] || { echo no $name, only:; list; exit 3; }
    sleep 0.1
  done
done
old=; until now=$(list); [ \"$now\" = \"$old\" ]; do old=$now; sleep 0.5; done
list > /thimble
mount -t tmpfs none /dev/disk && mkdir -p /run/udev || exit 4
/lib/systemd/systemd-udevd --daemon --resolve-names=never || exit 5
/bin/udevadm trigger --action=add --subsystem-match=block && /bin/udevadm settle --timeout=60 || exit 6
list > /udev
busybox diff -U 0 /thimble /udev | while read -r line; do
  case $line in ---*|+++*|@@*) ;; -*) echo \"THIMBLE ALONE ${line#-}\";; +*) echo \"UDEV ALONE ${line#+}\";; esac
done
echo COMPARED $(wc -l < /thimble) $(wc -l < /udev)";

pub fn like_udev(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let registry = scene.registry()?;
    udev_image()?.push(registry.address(), "udev", "1")?;
    let Boot::Direct { firmware, arguments, .. } = boot else { anyhow::bail!("not a direct boot") };
    let kit = scene.setup.metal.clone();
    let boot = Boot::Direct { firmware, kernel: kit.kernel, initrd: kit.initrd, arguments };
    let disks = disks(scene)?;
    let names: Vec<String> = disks.iter().map(|disk| disk.model.by_id(&disk.serial)).collect();
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts { disks, ..Parts::new(boot, MEMORY_MIB, vec![nic]) })?;
    let step = Step::image("names", &registry.reference("udev:1")).shell(&SCRIPT.replace("NAMES", &names.join(" ")));
    provisioner.apply(&workflow("names", &STATION, &[step]))?;
    machine.serial.expect(r"A\| COMPARED", BOOTS_WITHIN)?;
    let ended = provisioner.wait_ended("names", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    let compared = machine.serial.all(r"A\| COMPARED \d+ \d+")?;
    let counts: Vec<u32> =
        compared.iter().flat_map(|line| line.text.split(' ').rev().take(2)).filter_map(|word| word.trim().parse().ok()).collect();
    ensure!(counts.len() == 2 && counts.iter().all(|count| *count >= 20), "too few names to compare: {counts:?}");
    let differences = machine.serial.all(r"A\| (THIMBLE|UDEV) ALONE")?;
    let real: Vec<&str> = differences
        .iter()
        .map(|line| line.text.trim())
        .filter(|line| !line.contains(&format!("UDEV ALONE {ONLY_UDEVS}")))
        .collect();
    ensure!(real.is_empty(), "names differ from udev's:\n{}", real.join("\n"));
    Ok(())
}

/// Every kind of disk, with partition tables, labels and file systems of several kinds.
fn disks(scene: &Scene) -> Result<Vec<Disk>> {
    let folder = scene.place("disks")?;
    let disk = |model: DiskModel, number: u8| -> Result<Disk> {
        let file = folder.join(format!("{number}.raw"));
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        if model == DiskModel::VirtioBlk {
            copy_disk(&scene.setup.disk, &file)?
        } else {
            blank_disk(&file, DISK_BYTES)?
        }
        Ok(Disk::new(model, file, &format!("SER-{number}")))
    };
    let disks = DiskModel::ALL.into_iter().zip(1..).map(|(model, number)| disk(model, number)).collect::<Result<Vec<_>>>()?;
    for disk in &disks {
        match disk.model {
            DiskModel::VirtioBlk | DiskModel::Piix => {}
            DiskModel::VirtioScsi => effect(Command::new("mkfs.ext4").args(["-q", "-L", "whole"]).arg(&disk.file))?,
            DiskModel::Ahci => {
                partition(&disk.file, "label: gpt\nstart=1MiB,size=16MiB,name=\"EFI System\"\nsize=16MiB,name=\"a/b\"\n")?;
                let mut format = Command::new("mkfs.ext4");
                effect(format.args(["-q", "-L", "my disk é", "-E", "offset=1048576"]).arg(&disk.file).arg("16M"))?;
            }
            DiskModel::Nvme => effect(Command::new("mkfs.vfat").args(["-n", "NVME DISK"]).arg(&disk.file).stdout(Stdio::null()))?,
            DiskModel::UsbStorage => partition(&disk.file, "label: dos\nlabel-id: 0x1234abcd\nsize=8MiB\nsize=8MiB\n")?,
        }
    }
    Ok(disks)
}

fn partition(disk: &Path, script: &str) -> Result<()> {
    let mut sfdisk = Command::new("sfdisk");
    let mut child = sfdisk.arg("-q").arg(disk).stdin(Stdio::piped()).spawn().context("cannot execute sfdisk")?;
    child.stdin.take().context("no input")?.write_all(script.as_bytes()).context("cannot write to sfdisk")?;
    ensure!(child.wait().context("sfdisk")?.success(), "sfdisk failed on {}", disk.display());
    Ok(())
}

/// An image with busybox and this host's udev from Debian.
fn udev_image() -> Result<Image> {
    let mut files: Vec<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
    for program in PROGRAMS {
        let listing = output(Command::new(LOADER).args(["--list", program]))?;
        let paths = listing.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(PathBuf::from));
    }
    let rules = fs::read_dir(RULES).with_context(|| format!("cannot list {RULES}; is udev installed?"))?;
    files.extend(rules.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "rules")));
    files.sort();
    files.dedup();
    Image::busybox_with(&files)
}
