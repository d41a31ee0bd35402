//! Driver packs: a machine's boot includes the packs that its devices need, and no others.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::command::wait_for;
use crate::machine::{Boot, Disk, DiskModel, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

/// OVMF needs more memory than the rest.
const UEFI_MIB: u32 = 256;
/// Only the pack `storage` has the module for this disk's controller.
const MODEL: DiskModel = DiskModel::Piix;
const SERIAL: &str = "PACKED1";
const PACKED: Station = Station { number: 1 };
const PLAIN: Station = Station { number: 2 };

/// Both boot for the first time, so only the machines themselves can list their devices.
pub fn bios(scene: &Scene) -> Result<()> {
    let (registry, provisioner) = (scene.registry()?, start(scene)?);
    let (mut packed, mut plain) = (power_on(scene, &PACKED, Boot::Bios)?, power_on(scene, &PLAIN, Boot::Bios)?);
    has_its_pack(&provisioner, &mut packed)?;
    plain.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    ensure!(plain.serial.all("thimble: driver pack ")?.is_empty(), "a machine got a pack that it has no device for");
    let asked = provisioner.log_lines(&[&PLAIN.mac(), "is asked for its devices"]);
    let answered = provisioner.log_lines(&[&PLAIN.mac(), "gets its script"]);
    ensure!((asked.len(), answered.len()) == (1, 2), "the second machine was not asked and answered once each: {answered:#?}");
    ensure!(provisioner.log_lines(&[&PLAIN.mac(), "driver packs: "]).is_empty(), "boots gave it a pack: {answered:#?}");
    agents_reported(&provisioner)?;
    let script = format!("[ -b /dev/disk/by-id/{} ] && echo DISK THERE", MODEL.by_id(SERIAL));
    provisioner.apply(&workflow("look", &PACKED, &[Step::busybox("look", &registry, &repeated(&script))]))?;
    let ended = provisioner.wait_ended("look", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the disk is missing: {}", ended.status());
    Ok(())
}

/// The agents' report counts for an iPXE that cannot list devices.
fn agents_reported(provisioner: &Provisioner) -> Result<()> {
    for (station, expected) in [(PACKED, true), (PLAIN, false)] {
        let reported = wait_for("the agent to report its devices", ACTS_WITHIN, || {
            let modaliases = provisioner.machine(&station.mac())?.agent.map(|agent| agent.modaliases);
            Ok(modaliases.filter(|list| !list.is_empty()))
        })?;
        let script = provisioner.script(&station.mac())?;
        ensure!(script.contains("pack-storage") == expected, "{}: {reported:?} gave it\n{script}", station.name());
    }
    Ok(())
}

/// The kernel's EFI stub finds each segment by its name.
pub fn uefi(scene: &Scene) -> Result<()> {
    let provisioner = start(scene)?;
    let mut machine = power_on(scene, &PACKED, Boot::Uefi)?;
    has_its_pack(&provisioner, &mut machine)
}

fn start(scene: &Scene) -> Result<Provisioner> {
    let provisioner = scene.provisioner(Options { packs: true, ..Options::default() })?;
    [PACKED, PLAIN].iter().try_for_each(|station| provisioner.apply(&station.hardware()))?;
    Ok(provisioner)
}

fn power_on(scene: &Scene, station: &Station, boot: Boot) -> Result<Vm> {
    let memory = if matches!(boot, Boot::Uefi) { UEFI_MIB } else { MEMORY_MIB };
    let disk = |file: PathBuf| Disk::new(MODEL, file, SERIAL);
    let disks = if *station == PACKED { vec![disk(scene.disk(station)?)] } else { Vec::new() };
    let nic = scene.nic(station, 0, NicModel::Virtio)?;
    scene.start(station, &Parts { disks, ..Parts::new(boot, memory, vec![nic]) })
}

fn has_its_pack(provisioner: &Provisioner, machine: &mut Vm) -> Result<()> {
    machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    let packs = machine.serial.all("thimble: driver pack ")?;
    ensure!(
        matches!(packs.as_slice(), [only] if only.text.contains("driver pack storage is complete")),
        "the machine does not have exactly the pack storage: {packs:#?}"
    );
    let reported = provisioner.log_lines(&[&PACKED.mac(), "driver packs: storage"]);
    ensure!(
        reported.len() == 1 && reported.iter().all(|line| line.ends_with("storage")),
        "boots does not log which packs it gave: {reported:#?}"
    );
    Ok(())
}

/// Repeats the test, because a disk has its name a moment after its driver.
fn repeated(script: &str) -> String {
    format!("tries=0; until {script}; do tries=$((tries + 1)); [ $tries -lt 300 ] || exit 3; sleep 0.1; done")
}
