//! The files of a Raspberry Pi: `config.txt` and `cmdline.txt` are made, the others lie in folders.

use super::words::{for_pxelinux, line, plain};
use super::{Made, NotMade, RAMDISK};
use crate::environment::Environment;
use crate::ipxe::Packs;
use crate::{BootInterface, BootState, Config};

/// Where the firmware's files are, unless the Hardware names another folder.
const FOLDER: &str = "rpi";

/// A place of a file that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Programs(String),
    Files(String),
}

pub fn file(file: &str, config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<Made, NotMade> {
    match &machine.boot {
        // The firmware goes on to the next entry of BOOT_ORDER.
        BootState::Local { reason } => return Err(NotMade::Local(reason.clone())),
        BootState::Hold { reason } => return Err(NotMade::Held(reason.clone())),
        _ => {}
    }
    let own = machine.rpi.as_ref().and_then(|rpi| rpi.config_txt.clone());
    // A config.txt of its own may load the ramdisk alone.
    let is_joined = own.as_ref().is_none_or(|text| text.contains(RAMDISK));
    let alone = || Packs { pair: packs.pair.clone(), ..Packs::default() };
    let environment = Environment::of(config, machine, &if is_joined { packs.clone() } else { alone() }, now);
    let mut notes = environment.notes.clone();
    // Without any file the firmware goes on to the next entry of BOOT_ORDER, instead of starting the kernel of this host. A
    // config.txt of its own may start a loader that loads from elsewhere.
    if let Some(base) = environment.elsewhere.as_deref().filter(|base| own.is_none() && *base != config.http_url("files")) {
        let why = format!(
            "a Raspberry Pi's firmware loads from this host only, and netboot.osie.baseURL is {}: take it out of the Hardware, or \
             start UEFI by netboot.rpi.configTxt",
            plain(base)
        );
        return Err(NotMade::Unsayable(why));
    }
    match file {
        "cmdline.txt" => {
            let text = line(&environment.words, for_pxelinux, "the Raspberry Pi's firmware", &mut notes);
            Ok(Made::text(text + "\n", notes))
        }
        "config.txt" => {
            let generated = || {
                // Not every firmware loads several ramdisks.
                let ramdisk = if environment.segments().count() > 1 { RAMDISK } else { &environment.ramdisk };
                format!("arm_64bit=1\nenable_uart=1\nkernel={}\ninitramfs {ramdisk} followkernel\n", environment.kernel)
            };
            let is_plain = super::words::is_plain(&environment.kernel) && super::words::is_plain(&environment.ramdisk);
            match own {
                Some(own) => Ok(Made::text(own, Vec::new())),
                None if is_plain => Ok(Made::text(generated(), notes)),
                None => Err(NotMade::Unsayable("the name of its kernel cannot stand in config.txt".to_owned())),
            }
        }
        _ => Err(NotMade::File),
    }
}

/// The firmware's folder first, then the files: kernel and ramdisk are there.
#[must_use]
pub fn places(machine: &BootInterface, file: &str) -> Vec<Place> {
    let folder = machine.rpi.as_ref().and_then(|rpi| rpi.firmware_path.as_deref()).unwrap_or(FOLDER);
    let in_folder = format!("{}/{file}", folder.trim_matches('/'));
    vec![Place::Programs(in_folder.clone()), Place::Files(in_folder), Place::Files(file.to_owned())]
}
