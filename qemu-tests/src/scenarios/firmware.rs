//! A driver whose firmware is not in the ramdisk. The file's name is shown where it helps.

use anyhow::{Result, ensure};

use super::links::{METAL_MIB, begin, of_kit, works};
use crate::command::wait_for;
use crate::machine::{NicModel, Parts};
use crate::objects::Station;
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, Scene};

const STATION: Station = Station { number: 1 };
/// Its driver asks for microcode when the card is brought up.
const CARD: &str = "i82559er";
const FILE: &str = "e100/d101s_ucode.bin";

pub fn missing(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { devices: vec![CARD], ..Parts::new(of_kit(boot, &scene.setup.metal), METAL_MIB, vec![nic]) };
    let mut machine = scene.start(&STATION, &parts)?;
    machine.serial.expect(&format!("thimble: .*firmware.*{FILE}"), BOOTS_WITHIN)?;
    works(scene, &provisioner, &mut machine)?;
    let lacks = || {
        let platform = provisioner.machine(&STATION.mac())?.agent.and_then(|agent| agent.attributes?.platform);
        Ok(platform.map(|platform| platform.missing_firmware).filter(|missing| !missing.is_empty()))
    };
    let missing = wait_for("the agent's report of the firmware", ACTS_WITHIN, lacks)?;
    let wanted = |one: &api::MissingFirmware| one.file.as_deref() == Some(FILE) && one.driver.as_deref() == Some("e100");
    ensure!(missing.iter().any(wanted), "the agent reported {missing:?}");
    Ok(())
}
