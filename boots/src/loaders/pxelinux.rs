//! The configuration of PXELINUX. U-Boot (`pxe get`, `sysboot`) and Petitboot read the same form. A word that U-Boot 2023.01 does
//! not know, such as `say`, ends its label, so it stands before that.

use model::Mac;

use super::words::{for_pxelinux, is_plain, line, plain};
use super::{Made, NotMade, RAMDISK, Via};
use crate::environment::Environment;
use crate::ipxe::Packs;
use crate::{BootInterface, BootState, Config, server_ca};

pub fn config(via: Via, config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<Made, NotMade> {
    let said = format!("{} {}: {}", plain(&machine.name), machine.mac, plain(machine.boot.reason()));
    match (&machine.boot, &machine.pxelinux) {
        (BootState::Hold { .. }, _) => return Ok(Made::text(again(&format!("{said}: held"), machine.mac), Vec::new())),
        (BootState::Local { .. }, _) => return Ok(Made::text(disk(&said), Vec::new())),
        (BootState::Install { .. } | BootState::Wait { .. }, Some(own)) => return Ok(Made::text(own.clone(), Vec::new())),
        _ => {}
    }
    // U-Boot and Petitboot load one ramdisk, and PXELINUX is for x86 only.
    let is_one = packs.pair.as_ref().and_then(|pair| pair.architecture).is_some_and(|arch| arch != "x86_64");
    let is_joined = is_one && via == Via::Tftp;
    let takes_server_ca = packs.takes_server_ca && (is_joined || !is_one);
    let environment = Environment::of(config, machine, &Packs { takes_server_ca, ..packs.clone() }, now);
    let mut notes = environment.notes.clone();
    let base = match (&environment.elsewhere, via) {
        (Some(base), _) => base.clone(),
        (None, Via::Tftp) => "files".to_owned(),
        (None, Via::Http) => config.http_url("files"),
    };
    let mut ramdisks = vec![format!("{base}/{}", environment.ramdisk)];
    if is_joined && environment.elsewhere.is_none() && environment.segments().count() > 1 {
        ramdisks = vec![format!("{}/{RAMDISK}", machine.mac.to_string().replace(':', "-"))];
    } else {
        if environment.authority {
            ramdisks.push(if via == Via::Tftp { server_ca::PATH.to_owned() } else { config.http_url(server_ca::PATH) });
        }
        match is_one && !environment.packs.is_empty() {
            true => notes.push("it loads one ramdisk only, so the driver packs are left out".to_owned()),
            false => ramdisks.extend(environment.packs.iter().map(|(_, path)| format!("{base}/{path}"))),
        }
    }
    let kernel = format!("{base}/{}", environment.kernel);
    if let Some(bad) = ramdisks.iter().chain([&kernel]).find(|path| !is_plain(path)) {
        return Err(NotMade::Unsayable(format!("{} cannot stand in a configuration of PXELINUX", plain(bad))));
    }
    let append = line(&environment.words, for_pxelinux, "PXELINUX or U-Boot", &mut notes);
    let text = format!(
        "default thimble\nprompt 0\ntimeout 0\nsay thimble: {said}\nlabel thimble\n  kernel {kernel}\n  initrd {}\n  append {append}\n",
        ramdisks.join(",")
    );
    Ok(Made::text(text, notes))
}

/// PXELINUX reports a failure to the BIOS, and U-Boot goes on to its next target.
pub fn disk(said: &str) -> String {
    format!("default local\nprompt 0\ntimeout 0\nsay thimble: {said}\nlabel local\n  localboot -1\n")
}

/// Waits for a minute at its prompt, and reads the configuration again. U-Boot then goes on to its next target, since it does
/// not know `config`.
pub fn again(said: &str, mac: Mac) -> String {
    let name = mac.to_string().replace(':', "-");
    format!(
        "default again\nprompt 1\ntimeout 600\nsay thimble: {said}\nsay thimble: asking again in a minute\nlabel again\n  \
         config pxelinux.cfg/01-{name}\n"
    )
}
