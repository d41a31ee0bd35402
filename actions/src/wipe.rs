//! `wipe`: makes a disk look empty, or erases it. Nothing on it boots or is recognised afterwards.
//!
//! - Partition tables, boot code and signatures are in the first and last MiB of the disk and of its partitions. They are
//!   overwritten first, so that an interrupted action leaves nothing that boots.
//! - What happens to the data between them is the variable `METHOD`: nothing, discard, zeros, or a command by which the disk
//!   erases itself. The plan is printed, and everything that can be known is refused before anything is erased.

pub(crate) mod ata;
mod erase;
mod facts;
pub(crate) mod nvme;
mod plan;
pub(crate) mod signatures;

use crate::device::{self, DeviceError, Named};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
pub use plan::Refused;
use plan::{METHODS, Method, Way};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("DEST_DISK: {0}")]
    Refused(#[from] Refused),
    #[error("cannot read DEST_DISK {disk}")]
    Read {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write DEST_DISK {disk}")]
    Write {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("DEST_DISK {disk}: {what} has failed. Its edges are erased, its data is not")]
    Command {
        disk: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "DEST_DISK {disk}: ATA secure erase has failed. Its edges are erased, its data is not. If it is locked by a password now: \
         {unlocking}"
    )]
    Ata {
        disk: PathBuf,
        unlocking: String,
        #[source]
        source: io::Error,
    },
}

/// How a disk erases itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasedBy {
    /// The key of its encryption is destroyed.
    Key,
    Blocks,
    Overwriting,
}

impl fmt::Display for ErasedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "destroying the key of its data",
            Self::Blocks => "erasing its blocks",
            Self::Overwriting => "overwriting",
        })
    }
}

struct Settings {
    named: Named,
    method: Method,
    serial: Option<String>,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const METHOD: &str = "METHOD";
        const SERIAL: &str = "EXPECTED_SERIAL";
        let text = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let named = Named::read(variables, "DEST_DISK")?;
        let word = text(METHOD)?.unwrap_or_else(|| "auto".to_owned());
        let method = METHODS.iter().find(|(name, _)| *name == word).map(|(_, method)| *method);
        let wanted = "auto, signatures, discard, secure-discard, zero, nvme-format, nvme-sanitize or ata-secure-erase";
        Ok(Self { named, method: method.ok_or_else(|| unusable(METHOD, &word, wanted))?, serial: text(SERIAL)? })
    }
}

pub fn run(variables: &Variables) -> Result<(), WipeError> {
    let settings = Settings::read(variables)?;
    let disk = settings.named.appear(device::APPEARS_WITHIN)?;
    let facts = facts::gather(&disk, settings.method)?;
    let way = plan::plan(&facts, settings.method, settings.serial.as_deref())?;
    plan::lines(&facts, way).iter().for_each(|line| say(line));
    let opened = device::open(&disk)?;
    erase::erase(&disk, &opened, &facts, way)?;
    if opened.is_block_device {
        device::reread_partitions(&disk, &opened.file)?;
    }
    say(&format!("{} looks empty now", disk.display()));
    Ok(())
}

/// Says which disk `run` would wipe, and how. It fails as `run` would.
pub fn dry_run(variables: &Variables) -> Result<(), WipeError> {
    let settings = Settings::read(variables)?;
    let disk = settings.named.appear(device::APPEARS_WITHIN)?;
    let facts = facts::gather(&disk, settings.method)?;
    let way = plan::plan(&facts, settings.method, settings.serial.as_deref())?;
    device::open(&disk)?;
    plan::lines(&facts, way).iter().for_each(|line| say(line));
    say("nothing was written");
    Ok(())
}

/// What is on a disk or partition, for an action that wants to use it. It is empty only if both ends are all zeros: no table of
/// signatures is complete.
pub fn found(path: &Path) -> Result<Vec<&'static str>, WipeError> {
    let facts = facts::gather(path, Method::Signatures)?;
    plan::plan(&facts, Method::Signatures, None)?;
    let mut found: Vec<&'static str> = facts.regions.iter().flat_map(|region| region.found.iter().copied()).collect();
    if found.is_empty() && facts.regions.iter().any(|region| !region.blank) {
        found.push("data that is not known");
    }
    Ok(found)
}

/// Erases what a disk or partition is recognised by.
pub fn signatures_of(path: &Path) -> Result<(), WipeError> {
    let facts = facts::gather(path, Method::Signatures)?;
    let opened = device::open(path)?;
    erase::erase(path, &opened, &facts, Way::Left)?;
    if opened.is_block_device { Ok(device::reread_partitions(path, &opened.file)?) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
