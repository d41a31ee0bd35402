//! The standard actions: what a Workflow's steps do to the machine.
//!
//! Each action is a module with `run(&Variables) -> Result<(), its error>`. They share `device`, `mount` and `inside`.
//! `sys` holds the system calls that no crate wraps.

pub mod cexec;
pub mod device;
mod disks;
mod grub_menu;
pub mod image2disk;
pub mod inside;
pub mod kexec;
pub mod mount;
pub mod power;
mod sys;
pub mod variables;
pub mod wipe;
pub mod writefile;

use machine::Power;
use variables::Variables;

pub use api::names::ACTIONS;

#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error("\"{0}\" is not an action; the actions are {list}", list = ACTIONS.join(", "))]
    Unknown(String),
    #[error(transparent)]
    Cexec(#[from] cexec::CexecError),
    #[error(transparent)]
    Image2Disk(#[from] image2disk::ImageError),
    #[error(transparent)]
    Kexec(#[from] kexec::KexecError),
    #[error(transparent)]
    Power(#[from] power::PowerError),
    #[error(transparent)]
    Wipe(#[from] wipe::WipeError),
    #[error(transparent)]
    WriteFile(#[from] writefile::WriteFileError),
}

impl ActionError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown(_) => 2,
            Self::Cexec(error) => error.exit_code(),
            _ => 1,
        }
    }
}

pub fn run(name: &str, variables: &Variables) -> Result<(), ActionError> {
    match name {
        "cexec" => Ok(cexec::run(variables)?),
        "image2disk" => Ok(image2disk::run(variables)?),
        "kexec" => Ok(kexec::run(variables)?),
        "poweroff" => Ok(power::run(Power::Off)?),
        "reboot" => Ok(power::run(Power::Reboot)?),
        "wipe" => Ok(wipe::run(variables)?),
        "writefile" => Ok(writefile::run(variables)?),
        other => Err(ActionError::Unknown(other.to_owned())),
    }
}

/// A line on standard output, which the agent passes to console and server. A closed output does not stop the action.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_starts_an_action() {
        for name in ACTIONS.iter().filter(|name| !matches!(**name, "reboot" | "poweroff")) {
            let error = run(name, &Variables::of([])).unwrap_err();
            assert!(error.to_string().contains("is not set"), "{name}: {error}");
        }
        let error = run("image2disc", &Variables::of([])).unwrap_err();
        assert!(error.to_string().contains("\"image2disc\" is not an action; the actions are cexec, image2disk"), "{error}");
    }
}
