//! A disk without a system, whose boot sector says at the console whether all of the disk is there.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command::effect;
use crate::machine::{Accelerator, Boot, Disk, Firmware, Parts, Vm};

const SOURCE: &str = include_str!("../../images/sector.S");
const SECTOR: u64 = 512;
/// Where the last sector begins with it.
const MARK: u32 = 0x5453_414c;
const MEMORY_MIB: u32 = 64;
const SAYS_WITHIN: Duration = Duration::from_secs(60);
const OLD: u8 = 0xee;

/// What a machine with the disk says when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// The system that was there before.
    Old,
    NotBootable,
    Whole,
}

/// An image of this many bytes.
pub fn image(path: &Path, bytes: u64) -> Result<()> {
    let last = bytes / SECTOR - 1;
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    let data: Vec<u8> = noise.take(usize::try_from(bytes / 4)?).flat_map(u32::to_le_bytes).collect();
    fs::write(path, data).with_context(|| format!("cannot write {}", path.display()))?;
    put(path, &[(0, &code(path, last, false)?), (last * SECTOR, &MARK.to_le_bytes())])
}

/// A disk of this many bytes that something else is on.
pub fn old(path: &Path, bytes: u64) -> Result<()> {
    fs::write(path, vec![OLD; usize::try_from(bytes)?]).with_context(|| format!("cannot write {}", path.display()))?;
    put(path, &[(0, &code(path, bytes / SECTOR - 1, true)?)])
}

fn put(path: &Path, pieces: &[(u64, &[u8])]) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut all = pieces.iter().map(|(at, bytes)| file.write_all_at(bytes, *at));
    all.try_for_each(|done| done.with_context(|| format!("cannot write {}", path.display())))
}

fn code(beside: &Path, last: u64, is_old: bool) -> Result<Vec<u8>> {
    let file = |extension: &str| beside.with_extension(extension);
    fs::write(file("S"), SOURCE).context("cannot write the source of the boot sector")?;
    let mut assemble = Command::new("as");
    assemble.args(["--32", "--defsym", &format!("LAST={last}"), "--defsym", &format!("MARK={MARK}")]);
    assemble.args(if is_old { &["--defsym", "OLD=1"][..] } else { &[] });
    effect(assemble.arg("-o").arg(file("o")).arg(file("S")))
        .context("cannot assemble the boot sector; is binutils installed?")?;
    let mut link = Command::new("ld");
    link.args(["-m", "elf_i386", "-Ttext=0x7c00", "--oformat", "binary", "-o"]).arg(file("sector")).arg(file("o"));
    effect(&mut link).context("cannot link the boot sector")?;
    let code = fs::read(file("sector")).context("cannot read the boot sector")?;
    ensure!(code.len() as u64 == SECTOR, "the boot sector has {} bytes", code.len());
    Ok(code)
}

/// Starts a machine with only this disk. A half image that boots is an error.
pub fn start(disk: &Path, accelerator: Accelerator, folder: &Path) -> Result<Said> {
    let boot = Boot::Disks { firmware: Firmware::SeaBios };
    let parts = Parts { disks: vec![Disk::virtio(disk)], ..Parts::new(boot, MEMORY_MIB, Vec::new()) };
    let mut machine = Vm::power_on(&parts, accelerator, folder)?;
    let line = machine.serial.expect("disk of the lab: (old|half|whole)|No bootable device|not a bootable disk", SAYS_WITHIN)?;
    Ok(match line.text.rsplit(' ').next().unwrap_or_default() {
        "old" => Said::Old,
        "whole" => Said::Whole,
        "half" => bail!("a part of the image boots"),
        _ => Said::NotBootable,
    })
}
