//! The disk after a power cut during the write, and an installed system that stays.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::machine::Boot;
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
