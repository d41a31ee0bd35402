//! A driver whose firmware is in no ramdisk: the file's name is told where it helps.

use anyhow::{Result, ensure};
use serde_json::json;

use super::links::{METAL_MIB, begin, of_kit, works};
use crate::command::wait_for;
use crate::machine::{NicModel, Parts};
use crate::objects::Station;
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, Scene};

const STATION: Station = Station { number: 1 };
/// Its driver asks for microcode when the card is switched on.
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
        let known = provisioner.object(&format!("/v1/machines/{}", STATION.mac()))?;
        Ok(known.pointer("/agent/attributes/platform/missingFirmware").cloned())
    };
    let told = wait_for("the server to know of the firmware", ACTS_WITHIN, lacks)?;
    let named =
        told.as_array().is_some_and(|files| files.iter().any(|one| one["file"] == FILE && one["driver"] == json!("e100")));
    ensure!(named, "the server was told {told}");
    Ok(())
}
