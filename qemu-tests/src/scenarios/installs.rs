//! The whole way from an empty disk to a login prompt, with both kinds of firmware.

use anyhow::{Context, Result, ensure};

use crate::install::{self, Quiet};
use crate::machine::Boot;
use crate::scene::{MEMORY_MIB, Scene};

/// OVMF needs more memory than the installation.
const UEFI_MIB: u32 = 256;
const RAMDISK_LIMIT: u64 = 4_500_000;
const AGENT_LIMIT_KB: u64 = 16 * 1024;

pub fn bios(scene: &Scene) -> Result<()> {
    let installed = install::run(scene, Boot::Bios, MEMORY_MIB, &mut Quiet)?;
    println!("{}", installed.timeline.table());
    let (_, ramdisk) = scene.setup.cloud.sizes()?;
    ensure!(ramdisk <= RAMDISK_LIMIT, "the ramdisk has {ramdisk} bytes, more than {RAMDISK_LIMIT}");
    let agent = installed.agent_peak.context("the agent did not report how much memory it used")?;
    ensure!(agent <= AGENT_LIMIT_KB, "the agent used {agent} kB, more than {AGENT_LIMIT_KB}");
    Ok(())
}

pub fn uefi(scene: &Scene) -> Result<()> {
    let installed = install::run(scene, Boot::Uefi, UEFI_MIB, &mut Quiet)?;
    println!("{}", installed.timeline.table());
    let tftp = installed.machine.serial.all(r"(?i)NBP filename is .*\.efi|Downloading NBP file")?;
    ensure!(!tftp.is_empty(), "the firmware did not load its boot program by TFTP");
    Ok(())
}
