//! Requests to reboot or power off, left by actions as files (HookOS's convention: volume `/worker:/worker`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Reboot,
    Off,
}

impl Power {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Reboot => exit::REBOOT,
            Self::Off => exit::POWER_OFF,
        }
    }
}

impl Power {
    pub fn what(self) -> &'static str {
        match self {
            Self::Reboot => "a reboot",
            Self::Off => "power-off",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Requests {
    folder: PathBuf,
}

const FILES: [(&str, Power); 2] = [("poweroff", Power::Off), ("reboot", Power::Reboot)];

impl Requests {
    pub fn below(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Power-off wins over a reboot that was asked for as well.
    pub fn pending(&self) -> Option<Power> {
        FILES.iter().find(|(name, _)| self.folder.join(name).exists()).map(|(_, power)| *power)
    }

    /// An action that failed after asking has not earned it: the next one starts without requests.
    pub fn forget(&self) {
        for (name, _) in FILES {
            let path = self.folder.join(name);
            if path.exists() {
                match fs::remove_file(&path) {
                    Ok(()) => log::warn!("removed {}: the action that wrote it did not succeed", path.display()),
                    Err(error) => log::warn!("cannot remove the old request {}: {error}", path.display()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn requests_are_files_that_can_be_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let requests = Requests::below(folder.path());
        assert_eq!(requests.pending(), None);
        fs::write(folder.path().join("reboot"), "").unwrap();
        assert_eq!(requests.pending().map(Power::exit_code), Some(80));
        fs::write(folder.path().join("poweroff"), "").unwrap();
        assert_eq!(requests.pending().map(Power::exit_code), Some(81));
        requests.forget();
        assert_eq!(requests.pending(), None);
    }
}
