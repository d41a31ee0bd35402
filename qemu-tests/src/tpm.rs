//! An emulated TPM: swtpm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{Daemon, wait_for};
use crate::scene::ACTS_WITHIN;

pub struct Tpm {
    /// Its seeds, and its socket.
    folder: TempDir,
    log: PathBuf,
    emulator: Daemon,
}

impl Tpm {
    /// A new one, with seeds of its own.
    pub fn start(log: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lab-").tempdir_in("/tmp").context("cannot make a folder in /tmp")?;
        let emulator = emulator(&folder, &log)?;
        Ok(Self { folder, log, emulator })
    }

    /// The same one after a power cycle of its machine.
    pub fn restart(self) -> Result<Self> {
        let Self { folder, log, mut emulator } = self;
        emulator.kill();
        let emulator = self::emulator(&folder, &log)?;
        Ok(Self { folder, log, emulator })
    }

    pub fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

fn emulator(folder: &TempDir, log: &Path) -> Result<Daemon> {
    let socket = socket(folder);
    let _of_the_last_one = std::fs::remove_file(&socket);
    let mut emulator = Command::new("swtpm");
    emulator.args(["socket", "--tpm2", "--tpmstate"]).arg(format!("dir={}", folder.path().display()));
    emulator.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
    let emulator = Daemon::start(&mut emulator, log)?;
    wait_for("the TPM's emulator", ACTS_WITHIN, || Ok(socket.exists().then_some(())))?;
    Ok(emulator)
}
