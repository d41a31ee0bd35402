//! The standard actions: what a Workflow's steps do to the machine.
//!
//! Each action is a module with `run(&Variables) -> Result<(), its error>`. They share `device`, `mount` and `inside`.
//! `sys` holds the system calls that no crate wraps.

pub mod archive2disk;
pub mod burnin;
pub mod capture;
pub mod cexec;
mod claim;
pub mod cloud_init;
pub mod device;
mod disks;
pub mod efi;
mod fetch;
pub mod grub2disk;
mod grub_menu;
pub mod help;
pub mod image2disk;
pub mod inside;
pub mod inventory;
mod json;
pub mod kexec;
pub mod luks;
pub mod lvm;
pub mod mount;
pub mod netconfig;
pub mod oci2disk;
pub mod oci2root;
pub mod partitions;
pub mod power;
mod programs;
pub mod qemuimg2disk;
pub mod raid;
pub mod rootio;
pub mod secureboot;
pub mod selector;
pub mod slurp;
mod sys;
pub mod syslinux;
mod target;
pub mod unpack;
mod upload;
pub mod url;
pub mod variables;
pub mod verify;
pub mod wipe;
pub mod writefile;

use machine::Power;
use variables::Variables;

pub use api::names::ACTIONS;

#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error("\"{0}\" is not an action; the actions are {list}", list = ACTIONS.join(", "))]
    Unknown(String),
    #[error("{0} has no --dry-run")]
    NoDryRun(String),
    #[error(
        "{0} is not an option; the options are --help, --dry-run, and the variables that --help names, such as --dest-disk=/dev/vda"
    )]
    Option(String),
    #[error("--{0} would show the secret in the machine's list of processes: set the variable {1} instead")]
    SecretOption(String, &'static str),
    #[error(transparent)]
    Archive2Disk(#[from] archive2disk::ArchiveError),
    #[error(transparent)]
    Burnin(#[from] burnin::BurninError),
    #[error(transparent)]
    Capture(#[from] capture::CaptureError),
    #[error(transparent)]
    Cexec(#[from] cexec::CexecError),
    #[error(transparent)]
    CloudInit(#[from] cloud_init::CloudInitError),
    #[error(transparent)]
    Efi(#[from] efi::EfiError),
    #[error(transparent)]
    Grub2Disk(#[from] grub2disk::GrubError),
    #[error(transparent)]
    Image2Disk(#[from] image2disk::ImageError),
    #[error(transparent)]
    Inventory(#[from] inventory::InventoryError),
    #[error(transparent)]
    Kexec(#[from] kexec::KexecError),
    #[error(transparent)]
    Luks(#[from] luks::LuksError),
    #[error(transparent)]
    Lvm(#[from] lvm::LvmError),
    #[error(transparent)]
    Netconfig(#[from] netconfig::NetconfigError),
    #[error(transparent)]
    Oci2Disk(#[from] oci2disk::OciDiskError),
    #[error(transparent)]
    Oci2Root(#[from] oci2root::OciRootError),
    #[error(transparent)]
    Power(#[from] power::PowerError),
    #[error(transparent)]
    QemuImg2Disk(#[from] qemuimg2disk::QemuImageError),
    #[error(transparent)]
    Raid(#[from] raid::RaidError),
    #[error(transparent)]
    Rootio(#[from] rootio::RootioError),
    #[error(transparent)]
    SecureBoot(#[from] secureboot::SecureBootError),
    #[error(transparent)]
    Slurp(#[from] slurp::SlurpError),
    #[error(transparent)]
    Syslinux(#[from] syslinux::SyslinuxError),
    #[error(transparent)]
    Verify(#[from] verify::VerifyError),
    #[error(transparent)]
    Wipe(#[from] wipe::WipeError),
    #[error(transparent)]
    WriteFile(#[from] writefile::WriteFileError),
}

impl ActionError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown(_) | Self::NoDryRun(_) | Self::Option(_) | Self::SecretOption(..) => 2,
            Self::Cexec(error) => error.exit_code(),
            _ => 1,
        }
    }
}

pub fn run(name: &str, variables: &Variables) -> Result<(), ActionError> {
    match name {
        "archive2disk" => Ok(archive2disk::run(variables)?),
        "burnin" => Ok(burnin::run(variables)?),
        "capture" => Ok(capture::run(variables)?),
        "cexec" => Ok(cexec::run(variables)?),
        "cloud-init" => Ok(cloud_init::run(variables)?),
        "efi" => Ok(efi::run(variables)?),
        "grub2disk" => Ok(grub2disk::run(variables)?),
        "image2disk" => Ok(image2disk::run(variables)?),
        "inventory" => Ok(inventory::run(variables)?),
        "kexec" => Ok(kexec::run(variables)?),
        "luks" => Ok(luks::run(variables)?),
        "lvm" => Ok(lvm::run(variables)?),
        "netconfig" => Ok(netconfig::run(variables)?),
        "oci2disk" => Ok(oci2disk::run(variables)?),
        "oci2root" => Ok(oci2root::run(variables)?),
        "poweroff" => Ok(power::run(Power::Off)?),
        "qemuimg2disk" => Ok(qemuimg2disk::run(variables)?),
        "raid" => Ok(raid::run(variables)?),
        "reboot" => Ok(power::run(Power::Reboot)?),
        "rootio" => Ok(rootio::run(variables)?),
        "secureboot" => Ok(secureboot::run(variables)?),
        "slurp" => Ok(slurp::run(variables)?),
        "syslinux" => Ok(syslinux::run(variables)?),
        "verify" => Ok(verify::run(variables)?),
        "wipe" => Ok(wipe::run(variables)?),
        "writefile" => Ok(writefile::run(variables)?),
        other => Err(ActionError::Unknown(other.to_owned())),
    }
}

/// Looks at everything that the action needs, and writes nothing.
pub fn dry_run(name: &str, variables: &Variables) -> Result<(), ActionError> {
    match name {
        "archive2disk" => Ok(archive2disk::dry_run(variables)?),
        "burnin" => Ok(burnin::dry_run(variables)?),
        "capture" => Ok(capture::dry_run(variables)?),
        "cexec" => Ok(cexec::dry_run(variables)?),
        "cloud-init" => Ok(cloud_init::dry_run(variables)?),
        "efi" => Ok(efi::dry_run(variables)?),
        "grub2disk" => Ok(grub2disk::dry_run(variables)?),
        "image2disk" => Ok(image2disk::dry_run(variables)?),
        "inventory" => Ok(inventory::dry_run(variables)?),
        "kexec" => Ok(kexec::dry_run(variables)?),
        "luks" => Ok(luks::dry_run(variables)?),
        "lvm" => Ok(lvm::dry_run(variables)?),
        "netconfig" => Ok(netconfig::dry_run(variables)?),
        "oci2disk" => Ok(oci2disk::dry_run(variables)?),
        "oci2root" => Ok(oci2root::dry_run(variables)?),
        "poweroff" => Ok(power::dry_run(Power::Off)?),
        "qemuimg2disk" => Ok(qemuimg2disk::dry_run(variables)?),
        "raid" => Ok(raid::dry_run(variables)?),
        "reboot" => Ok(power::dry_run(Power::Reboot)?),
        "rootio" => Ok(rootio::dry_run(variables)?),
        "secureboot" => Ok(secureboot::dry_run(variables)?),
        "slurp" => Ok(slurp::dry_run(variables)?),
        "syslinux" => Ok(syslinux::dry_run(variables)?),
        "verify" => Ok(verify::run(variables)?),
        "wipe" => Ok(wipe::dry_run(variables)?),
        "writefile" => Ok(writefile::dry_run(variables)?),
        known if ACTIONS.contains(&known) => Err(ActionError::NoDryRun(name.to_owned())),
        other => Err(ActionError::Unknown(other.to_owned())),
    }
}

/// A line on standard output, which the agent passes to console and server. URLs are shown without their secrets. A closed output
/// does not stop the action.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{}", url::shown(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_starts_an_action() {
        for name in ACTIONS.iter().filter(|name| !matches!(**name, "burnin" | "inventory" | "reboot" | "poweroff")) {
            let error = run(name, &Variables::of([])).unwrap_err();
            assert!(error.to_string().contains("is not set"), "{name}: {error}");
        }
        let error = run("image2disc", &Variables::of([])).unwrap_err();
        assert!(
            error.to_string().contains("\"image2disc\" is not an action; the actions are archive2disk, burnin, capture"),
            "{error}"
        );
    }
}
