//! A virtual machine: QEMU with firmware, network cards and disks, its console and its power switch.

mod accelerator;
mod control;
mod parts;
mod qmp;
mod words;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;

use crate::command::{Daemon, wait_for};
use crate::serial::Serial;
pub use accelerator::Accelerator;
pub use parts::{Between, Boot, Clock, Disk, DiskModel, Firmware, Medium, Network, Nic, NicModel, Parts, SECTOR};
use qmp::Qmp;

pub struct Vm {
    qemu: Daemon,
    qmp: Qmp,
    pub serial: Serial,
    pub started: Instant,
    disk: Option<PathBuf>,
    memory_mib: u32,
    _sockets: TempDir,
}

impl Vm {
    /// Switches a machine on. `folder` gets its sockets and logs.
    pub fn power_on(parts: &Parts, accelerator: Accelerator, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // They are not in `folder`, because a socket's path has at most 107 bytes, and a checkout's path may be long.
        let sockets = tempfile::Builder::new().prefix("lab-").tempdir_in("/tmp").context("cannot make a folder in /tmp")?;
        let (console, control) = (sockets.path().join("serial"), sockets.path().join("qmp"));
        let serial = Serial::listen(&console, &folder.join("serial.log"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(words::words(parts, accelerator, folder)?);
        command.arg("-chardev").arg(format!("socket,id=console,path={}", console.display()));
        command.args(["-serial", "chardev:console", "-qmp"]).arg(format!("unix:{},server=on,wait=off", control.display()));
        let started = Instant::now();
        let mut qemu = Daemon::start(&mut command, &folder.join("qemu.log"))?;
        let qmp = match Qmp::connect(&control) {
            Ok(qmp) => qmp,
            Err(error) => {
                // If QEMU refuses its arguments, it ends, and its message explains more than a closed socket.
                let _ended_or_not = wait_for("QEMU to end", Duration::from_secs(2), || qemu.exited());
                qemu.check()?;
                return Err(error);
            }
        };
        Ok(Self {
            qemu,
            qmp,
            serial,
            started,
            disk: parts.disks.first().map(|disk| disk.file.clone()),
            memory_mib: parts.memory_mib,
            _sockets: sockets,
        })
    }

    /// Cuts the power and restores it. The machine's memory is lost.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.qmp.execute("system_reset", json!({})).map(drop)
    }

    /// From now on the machine stops when it resets itself, so that its disk can be examined.
    pub fn hold_at_reset(&mut self) -> Result<()> {
        self.qmp.execute("set-action", json!({"reboot": "shutdown", "shutdown": "pause"})).map(drop)
    }

    /// Waits until the machine has reset itself and is stopped.
    pub fn wait_held(&mut self, limit: Duration) -> Result<()> {
        self.qmp.wait_event("STOP", limit).context("the machine did not reset itself")
    }

    /// Continues with the reset that `hold_at_reset` held back.
    pub fn release(&mut self) -> Result<()> {
        self.qmp.execute("set-action", json!({"reboot": "reset", "shutdown": "poweroff"}))?;
        self.qmp.execute("system_reset", json!({}))?;
        self.qmp.execute("cont", json!({})).map(drop)
    }

    pub fn is_off(&mut self) -> Result<bool> {
        Ok(self.qemu.exited()?.is_some())
    }

    /// How many bytes of the disk's file have been written.
    pub fn disk_written(&self) -> u64 {
        let written = |path: &PathBuf| fs::metadata(path).map_or(0, |data| data.blocks() * 512);
        self.disk.as_ref().map_or(0, written)
    }

    /// How much of its memory the machine has touched so far in kB, as the host sees it.
    pub fn memory_touched(&self) -> Option<u64> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.qemu.id())).ok()?;
        largest_resident(&maps, u64::from(self.memory_mib) * 1024)
    }
}

/// An empty disk: a sparse file.
pub fn blank_disk(path: &Path, bytes: u64) -> Result<()> {
    File::create(path).and_then(|file| file.set_len(bytes)).with_context(|| format!("cannot make the disk {}", path.display()))
}

/// The resident part of the mapping that has the size of the machine's memory.
fn largest_resident(smaps: &str, size_kb: u64) -> Option<u64> {
    let value = |line: &str, key: &str| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok();
    let mut is_memory = false;
    for line in smaps.lines() {
        if let Some(size) = value(line, "Size:") {
            is_memory = size == size_kb;
        } else if is_memory && let Some(resident) = value(line, "Rss:") {
            return Some(resident);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_mapping_of_its_size() {
        let smaps = "7f0-7f1 rw-p\nSize:               1024 kB\nRss:                  12 kB\n\
                     7f2-7f3 rw-p\nSize:             131072 kB\nRss:               98304 kB\n";
        assert_eq!(largest_resident(smaps, 131_072), Some(98_304));
        assert_eq!(largest_resident(smaps, 262_144), None);
    }
}
