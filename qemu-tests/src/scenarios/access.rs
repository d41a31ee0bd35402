//! TLS between a machine and its server, with the authority that came with the ramdisk.

use anyhow::{Result, ensure};

use crate::machine::{Boot, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

/// OVMF itself needs more than the rest does.
const UEFI_MIB: u32 = 256;
const STATION: Station = Station { number: 1 };

pub fn bios(scene: &Scene) -> Result<()> {
    speaks_tls(scene, Boot::Bios, MEMORY_MIB)
}

/// The kernel's EFI stub finds the segment by its name.
pub fn uefi(scene: &Scene) -> Result<()> {
    speaks_tls(scene, Boot::Uefi, UEFI_MIB)
}

fn speaks_tls(scene: &Scene, boot: Boot, memory: u32) -> Result<()> {
    let registry = scene.registry()?;
    let provisioner = scene.provisioner(Options { tls: true, ..Options::default() })?;
    provisioner.apply(&STATION.hardware())?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let mut machine = scene.start(&STATION, &Parts::new(boot, memory, vec![nic]))?;
    machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    provisioner.apply(&workflow("look", &STATION, &[Step::busybox("look", &registry, "true")]))?;
    let ended = provisioner.wait_ended("look", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    let agent = provisioner.machine(&STATION.mac())?.agent;
    ensure!(agent.as_ref().is_some_and(|agent| agent.encrypted == Some(true)), "the agent did not speak TLS: {agent:?}");
    ensure!(provisioner.log_lines(&["without TLS"]).is_empty(), "an agent spoke without TLS");
    Ok(())
}
