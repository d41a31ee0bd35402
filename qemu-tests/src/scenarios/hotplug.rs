//! Hardware that appears while the machine runs.

use anyhow::{Result, ensure};

use super::links::{METAL_MIB, begin, of_kit, works};
use crate::kit::Kit;
use crate::machine::{Disk, DiskModel, NicModel, Parts, blank_disk};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

const STATION: Station = Station { number: 1 };

/// An action waits for an NVMe disk to appear, and then for its name to disappear.
pub fn disk(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts { slots: 1, ..Parts::new(boot, MEMORY_MIB, vec![nic]) })?;
    machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    let disk = Disk::new(DiskModel::Nvme, scene.folder.join("hot.raw"), "HOT1");
    blank_disk(&disk.file, 16 << 20)?;
    let script = format!(
        "disk=/dev/disk/by-id/{}
wait() {{ tries=0; until eval \"$1\"; do tries=$((tries + 1)); [ $tries -lt 300 ] || exit 3; sleep 0.1; done; }}
echo WAITING; wait '[ -b $disk ]'; echo FOUND; wait '! [ -e $disk ]'; echo GONE",
        disk.model.by_id(&disk.serial)
    );
    let registry = scene.registry()?;
    provisioner.apply(&workflow("hot", &STATION, &[Step::busybox("hot", &registry, &script)]))?;
    machine.serial.expect(r"A\| WAITING", ACTS_WITHIN)?;
    machine.plug_disk(0, &disk)?;
    machine.serial.expect(r"A\| FOUND", ACTS_WITHIN)?;
    machine.unplug(0)?;
    let ended = provisioner.wait_ended("hot", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// Other projects' images expect this, because their environments load every driver before they start an agent.
pub fn disks_before_actions(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let disks = [(DiskModel::UsbStorage, "USB1"), (DiskModel::Ahci, "SATA1")];
    let disks = disks.map(|(model, serial)| Disk::new(model, scene.folder.join(serial), serial));
    disks.iter().try_for_each(|disk| blank_disk(&disk.file, 16 << 20))?;
    let script = disks.iter().map(|disk| format!("test -b /dev/disk/by-id/{} && ", disk.model.by_id(&disk.serial)));
    let script = script.collect::<String>() + "test -b /dev/sda && test -b /dev/sdb";
    let registry = scene.registry()?;
    provisioner.apply(&workflow("disks", &STATION, &[Step::busybox("disks", &registry, &script)]))?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { disks: disks.into(), ..Parts::new(of_kit(boot, &scene.setup.metal), METAL_MIB, vec![nic]) };
    let _machine = scene.start(&STATION, &parts)?;
    let ended = provisioner.wait_ended("disks", BOOTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// The machine starts without a network card.
pub fn nic(scene: &Scene) -> Result<()> {
    plugged_nic(scene, &scene.setup.cloud, MEMORY_MIB, NicModel::Virtio)
}

/// A USB adapter, because the machine's own card has no driver.
pub fn usb_nic(scene: &Scene) -> Result<()> {
    plugged_nic(scene, &scene.setup.metal, METAL_MIB, NicModel::UsbNet)
}

fn plugged_nic(scene: &Scene, kit: &Kit, memory_mib: u32, model: NicModel) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let nic = scene.nic(&STATION, 0, model)?;
    let parts = Parts { slots: 1, ..Parts::new(of_kit(boot, kit), memory_mib, Vec::new()) };
    let mut machine = scene.start(&STATION, &parts)?;
    machine.serial.expect("thimble: waiting for ", BOOTS_WITHIN)?;
    machine.plug_nic(0, &nic)?;
    works(scene, &provisioner, &mut machine)
}
