//! What the files folder has for one machine: kernel, ramdisk and driver packs. It reads files.

use devices::modalias::Device;

use super::{Shelf, unknown, wanted};
use crate::ipxe::{self, Packs};
use crate::kernels::Pair;
use crate::{BootInterface, Config, server_ca};

/// iPXE has just named the devices, or the agent did at an earlier boot. Also returns names of packs that do not exist.
#[must_use]
pub fn gather(config: &Config, shelf: &Shelf, machine: &BootInterface, reported: Option<&[Device]>) -> (Packs, Vec<String>) {
    if ipxe::ramdisk_folder(config, machine).is_none() {
        return Default::default();
    }
    let pair = match Pair::find(config, machine) {
        Ok(pair) => pair,
        Err(missing) => return (Packs { missing: Some(missing), ..Packs::default() }, Vec::new()),
    };
    let folder = pair.ramdisk.rsplit_once('/').map_or("", |(folder, _)| folder);
    let takes_server_ca = config.server_ca.is_some() && server_ca::is_understood(&config.files, &pair.ramdisk);
    let index = shelf.index(folder).filter(|index| !index.packs.is_empty());
    let found = Packs { takes_server_ca, pair: Some(pair), ..Packs::default() };
    let Some(index) = index else { return (found, Vec::new()) };
    let names = unknown(&index, &machine.packs).into_iter().map(str::to_owned).collect();
    let devices = reported.unwrap_or(&machine.devices);
    (Packs { wanted: wanted(&index, devices, &machine.packs), ask: reported.is_none(), ..found }, names)
}
