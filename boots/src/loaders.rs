//! What boot loaders other than iPXE ask for by name: the configurations of PXELINUX, U-Boot and GRUB, and the files of a
//! Raspberry Pi. They are made for one machine from its state, as iPXE's script is. Pure.

mod asked;
mod grub;
mod pxelinux;
mod raspberry_pi;
mod uboot;
mod words;

pub use asked::{Asked, By, asked, below_files, onie_names};
pub use raspberry_pi::{Place, places};

use crate::ipxe::{NoScript, Packs};
use crate::{BootInterface, BootState, Config};

/// The ramdisk for a loader that loads one file: everything that others load after it is behind it. It is asked for in the folder
/// of its machine, as the files of a Raspberry Pi are.
pub const RAMDISK: &str = "thimble-ramdisk";

/// How the configuration travels, and so what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Tftp,
    Http,
}

/// A file that is made for one machine, and notes about what it leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub bytes: Vec<u8>,
    pub notes: Vec<String>,
}

impl Made {
    fn text(text: impl Into<String>, notes: Vec<String>) -> Self {
        Self { bytes: text.into().into_bytes(), notes }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    #[error(transparent)]
    NoScript(#[from] NoScript),
    #[error("the machine boots from its disk: {0}")]
    Local(String),
    #[error("the machine is held: {0}")]
    Held(String),
    #[error("{0}")]
    Unsayable(String),
    /// It is a file in a folder.
    #[error("boots does not make this file")]
    File,
}

/// Makes what was asked for.
pub fn make(asked: &Asked, via: Via, config: &Config, machine: &BootInterface, packs: &Packs, now: u64) -> Result<Made, NotMade> {
    if !machine.netboot_allowed {
        let (name, mac) = (machine.name.clone(), machine.mac.to_string());
        return Err(NoScript::NotAllowed { name, mac }.into());
    }
    if let Some(missing) = packs.missing.as_ref().filter(|_| loads(&machine.boot)) {
        return Err(NoScript::from(missing.clone()).into());
    }
    match asked {
        Asked::Pxelinux => pxelinux::config(via, config, machine, packs, now),
        Asked::Grub => grub::config(config, machine, packs, now),
        Asked::BootScript => uboot::script(machine),
        Asked::RaspberryPi { file, .. } => raspberry_pi::file(file, config, machine, packs, now),
    }
}

/// The configuration if the machine's state cannot be found out. It must come up without the server.
#[must_use]
pub fn disk(asked: &Asked) -> Option<Made> {
    by_disk(asked, "the server does not answer")
}

/// The configuration of a known machine if its own cannot be made. Without any, the loader asks for the next name, such as
/// `pxelinux.cfg/default`. A file of that name below `--nbp` may install any machine.
#[must_use]
pub fn instead(asked: &Asked, machine: &BootInterface, why: &NotMade) -> Option<Made> {
    let why = words::plain(&why.to_string());
    if !machine.netboot_allowed || matches!(machine.boot, BootState::Wait { .. } | BootState::Local { .. }) {
        return by_disk(asked, &why);
    }
    match asked {
        Asked::Pxelinux => Some(Made::text(pxelinux::again(&why, machine.mac), Vec::new())),
        Asked::Grub => Some(Made::text(grub::again(&why), Vec::new())),
        Asked::BootScript | Asked::RaspberryPi { .. } => None,
    }
}

fn by_disk(asked: &Asked, why: &str) -> Option<Made> {
    match asked {
        Asked::Pxelinux => Some(Made::text(pxelinux::disk(why), Vec::new())),
        Asked::Grub => Some(Made::text(grub::disk(why), Vec::new())),
        Asked::BootScript | Asked::RaspberryPi { .. } => None,
    }
}

fn loads(boot: &BootState) -> bool {
    !matches!(boot, BootState::Local { .. } | BootState::Hold { .. })
}
