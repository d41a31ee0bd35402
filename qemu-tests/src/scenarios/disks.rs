//! The disk after a power cut during the write, and an installed system that stays.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::disk_image::sector::{self, Said};
use crate::machine::{Between, Boot, Disk, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{IMAGE, Options};
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene, copy_disk};
use crate::{provisioner, segment, verify};

const WRITES_WITHIN: Duration = Duration::from_secs(900);

/// The power fails when a tenth is written. The machine returns through its firmware and starts the write again.
pub fn power_cut_in_the_image_write(scene: &Scene) -> Result<()> {
    let station = Station { number: 1 };
    let registry = scene.registry()?;
    scene.push_actions(&registry)?;
    let provisioner = scene.provisioner(Options::default())?;
    provisioner.apply(&station.hardware())?;
    let write = Step::image("write", &registry.reference("image2disk:v1"))
        .timeout(900)
        .volume("/dev:/dev")
        .environment("IMG_URL", &format!("http://{}/files/{IMAGE}", provisioner::HTTP))
        .environment("DEST_DISK", "/dev/vda")
        .environment("PROGRESS_INTERVAL_SECONDS", "1");
    provisioner.apply(&workflow("write", &station, &[write]))?;
    let disk = scene.disk(&station)?;
    let boot = scene.direct(&provisioner, &station)?;
    let mut machine = scene.power_on(&station, boot, MEMORY_MIB, Some(disk.clone()))?;
    machine.serial.expect(r"progress [1-9]\d% \d+/\d+ bytes", BOOTS_WITHIN + WRITES_WITHIN)?;
    machine.power_cycle()?;
    machine.serial.expect("thimble: init .* started", BOOTS_WITHIN)?;
    machine.serial.expect("workflow default/write action write: running", BOOTS_WITHIN)?;
    let ended = provisioner.wait_ended("write", WRITES_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    drop(machine);
    verify::disk(&disk, &scene.setup.disk, &[]).map(drop)
}

/// The disk does not take a sector in the middle. The action fails with its place, nothing is in the first MiB, and the disk boots
/// neither system.
pub fn a_broken_disk(scene: &Scene) -> Result<()> {
    const BYTES: u64 = 32 << 20;
    const BROKEN: u64 = 20 << 20;
    /// Of one write.
    const LONGEST: u64 = 1 << 20;
    let station = Station { number: 1 };
    let (registry, provisioner) = (scene.registry()?, scene.provisioner(Options::default())?);
    scene.push_actions(&registry)?;
    provisioner.apply(&station.hardware())?;
    let (image, file) = (scene.folder.join("image.raw"), scene.folder.join("disk.raw"));
    sector::image(&image, BYTES)?;
    sector::old(&file, 2 * BYTES)?;
    let write = Step::image("write", &registry.reference("image2disk:v1"));
    let write = write.environment("IMG_URL", &provisioner.serve(&image, "image.raw")?).environment("DEST_DISK", "/dev/vda");
    provisioner.apply(&workflow("write", &station, &[write]))?;
    let disk = Disk { between: Between::BrokenSector(BROKEN / 512), ..Disk::virtio(&file) };
    let nic = scene.nic(&station, 0, NicModel::Virtio)?;
    let parts = Parts { disks: vec![disk], ..Parts::new(scene.direct(&provisioner, &station)?, MEMORY_MIB, vec![nic]) };
    let machine = scene.start(&station, &parts)?;
    let ended = provisioner.wait_ended("write", BOOTS_WITHIN + WRITES_WITHIN)?;
    drop(machine);
    let message = ended.message("write");
    ensure!(ended.state() == "FAILED", "the workflow ended as {}: {message}", ended.state());
    let place = message.split_once("cannot write DEST_DISK /dev/vda at byte ").and_then(|(_, rest)| rest.split_once(':'));
    let at = place.and_then(|(at, _)| at.parse::<u64>().ok());
    let is_near = at.is_some_and(|at| (BROKEN - LONGEST..=BROKEN).contains(&at));
    ensure!(is_near && message.contains("Input/output error"), "the message is {message:?}");
    let (mut start, read) = (vec![0; 1 << 20], File::open(&file));
    read.and_then(|file| file.read_exact_at(&mut start, 0)).context("cannot read the disk")?;
    ensure!(start.iter().all(|byte| *byte == 0), "something is in the disk's first MiB");
    let said = sector::start(&file, scene.setup.accelerator, &scene.place("alone")?)?;
    ensure!(said == Said::NotBootable, "the disk boots after a failed write: {said:?}");
    Ok(())
}

/// The disk has Debian already, and the workflow only reboots. Every later start boots the disk.
pub fn finished_workflow_never_runs_twice(scene: &Scene) -> Result<()> {
    let station = Station { number: 1 };
    let registry = scene.registry()?;
    scene.push_actions(&registry)?;
    let provisioner = scene.provisioner(Options::default())?;
    let reboot = Step::image("reboot", &registry.reference("reboot:v1")).volume("/worker:/worker");
    provisioner.apply(&station.hardware())?;
    provisioner.apply(&workflow("once", &station, &[Step::busybox("hello", &registry, "echo only once"), reboot]))?;
    let disk = scene.folder.join("debian.raw");
    copy_disk(&scene.setup.disk, &disk)?;
    let mut machine = scene.power_on(&station, Boot::Bios, MEMORY_MIB, Some(disk))?;
    machine.serial.expect(r"A\| only once", BOOTS_WITHIN)?;
    machine.serial.expect("booting from the local disk", BOOTS_WITHIN)?;
    machine.serial.expect("debian login:", BOOTS_WITHIN)?;
    machine.power_cycle()?;
    machine.serial.expect("booting from the local disk", BOOTS_WITHIN)?;
    machine.serial.expect("GRUB: booting Debian", BOOTS_WITHIN)?;
    let (runs, inits) = (machine.serial.all(r"A\| only once")?.len(), machine.serial.all("thimble: init .* started")?.len());
    ensure!(runs == 1 && inits == 1, "the action ran {runs} times in {inits} boots of the ramdisk, not once in one");
    let workflow = provisioner.workflow("once")?;
    ensure!(workflow.state() == "SUCCESS", "the workflow is {} on {}", workflow.state(), segment::HOST);
    Ok(())
}
