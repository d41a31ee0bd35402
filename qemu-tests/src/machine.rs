//! A virtual machine: QEMU with a firmware, one network card, perhaps a disk, its console and its power switch.

mod accelerator;
mod qmp;

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
use qmp::Qmp;

const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

#[derive(Debug, Clone)]
pub enum Boot {
    /// SeaBIOS and the network card's own iPXE.
    Bios,
    /// OVMF with its own PXE client: the network card's ROM is left out.
    Uefi,
    /// Kernel and ramdisk from the command line, without firmware.
    Direct { kernel: PathBuf, initrd: PathBuf, arguments: String },
}

#[derive(Debug, Clone)]
pub enum Network {
    /// A tap of the segment.
    Tap(String),
    /// QEMU's own network: 10.0.2.2 is the host.
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Host,
    /// One nanosecond for each instruction: the same times on any machine, however busy.
    Instructions,
}

/// What the machine is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    pub memory_mib: u32,
    pub mac: String,
    pub disk: Option<PathBuf>,
    pub boot: Boot,
    pub network: Network,
    pub clock: Clock,
}

pub struct Machine {
    qemu: Daemon,
    qmp: Qmp,
    pub serial: Serial,
    pub started: Instant,
    disk: Option<PathBuf>,
    memory_mib: u32,
    _sockets: TempDir,
}

impl Machine {
    /// Switches a machine on; `folder` takes its sockets and logs.
    pub fn power_on(parts: &Parts, accelerator: Accelerator, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Not in `folder`: a socket's path has at most 107 bytes, and a checkout may lie deep.
        let sockets = tempfile::Builder::new().prefix("lab-").tempdir_in("/tmp").context("cannot make a folder in /tmp")?;
        let (console, control) = (sockets.path().join("serial"), sockets.path().join("qmp"));
        let serial = Serial::listen(&console, &folder.join("serial.log"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(parts, accelerator, folder)?);
        command.arg("-chardev").arg(format!("socket,id=console,path={}", console.display()));
        command.args(["-serial", "chardev:console", "-qmp"]).arg(format!("unix:{},server=on,wait=off", control.display()));
        let started = Instant::now();
        let mut qemu = Daemon::start(&mut command, &folder.join("qemu.log"))?;
        let qmp = match Qmp::connect(&control) {
            Ok(qmp) => qmp,
            Err(error) => {
                // QEMU refuses what it does not like by ending; its own words say more than a closed socket.
                let _ended_or_not = wait_for("QEMU to end", Duration::from_secs(2), || qemu.exited());
                qemu.check()?;
                return Err(error);
            }
        };
        Ok(Self { qemu, qmp, serial, started, disk: parts.disk.clone(), memory_mib: parts.memory_mib, _sockets: sockets })
    }

    /// Power gone and back: nothing the machine had in memory survives.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.qmp.execute("system_reset", json!({})).map(drop)
    }

    /// From now on the machine stops when it resets itself, so that its disk can be looked at.
    pub fn hold_at_reset(&mut self) -> Result<()> {
        self.qmp.execute("set-action", json!({"reboot": "shutdown", "shutdown": "pause"})).map(drop)
    }

    /// Waits until the machine has reset itself and stands still.
    pub fn wait_held(&mut self, limit: Duration) -> Result<()> {
        self.qmp.wait_event("STOP", limit).context("the machine did not reset itself")
    }

    /// Goes on after `hold_at_reset` with the reset that was held back.
    pub fn release(&mut self) -> Result<()> {
        self.qmp.execute("set-action", json!({"reboot": "reset", "shutdown": "poweroff"}))?;
        self.qmp.execute("system_reset", json!({}))?;
        self.qmp.execute("cont", json!({})).map(drop)
    }

    pub fn is_off(&mut self) -> Result<bool> {
        Ok(self.qemu.exited()?.is_some())
    }

    /// Bytes of the disk's file that have been written.
    pub fn disk_written(&self) -> u64 {
        let written = |path: &PathBuf| fs::metadata(path).map_or(0, |data| data.blocks() * 512);
        self.disk.as_ref().map_or(0, written)
    }

    /// How much of its memory the machine has ever touched, in kB, as the host sees it.
    pub fn memory_touched(&self) -> Option<u64> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", self.qemu.id())).ok()?;
        largest_resident(&maps, u64::from(self.memory_mib) * 1024)
    }
}

/// An empty disk: a sparse file.
pub fn blank_disk(path: &Path, bytes: u64) -> Result<()> {
    File::create(path).and_then(|file| file.set_len(bytes)).with_context(|| format!("cannot make the disk {}", path.display()))
}

fn arguments(parts: &Parts, accelerator: Accelerator, folder: &Path) -> Result<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    // Without graphics SeaBIOS and iPXE write to the serial console.
    add("-machine", "q35,graphics=off".into());
    match (parts.clock, accelerator) {
        (Clock::Instructions, _) => {
            add("-accel", "tcg".into());
            add("-icount", "shift=0,sleep=on".into());
            add("-cpu", "max".into());
        }
        (Clock::Host, Accelerator::Tcg) => {
            add("-accel", "tcg".into());
            add("-cpu", "max".into());
        }
        (Clock::Host, Accelerator::Kvm) => {
            add("-accel", "kvm".into());
            add("-cpu", "host".into());
        }
    }
    add("-smp", "1".into());
    add("-m", format!("{}M", parts.memory_mib));
    add("-display", "none".into());
    match &parts.network {
        Network::Tap(name) => add("-netdev", format!("tap,id=net0,ifname={name},script=no,downscript=no")),
        Network::User => add("-netdev", "user,id=net0".into()),
    }
    let rom = if matches!(parts.boot, Boot::Bios) { "" } else { ",romfile=" };
    // 0 is the kernel's when there is one.
    add("-device", format!("virtio-net-pci,netdev=net0,mac={},bootindex=1{rom}", parts.mac));
    if let Some(disk) = &parts.disk {
        add("-drive", format!("if=none,id=disk0,format=raw,file={}", disk.display()));
        add("-device", "virtio-blk-pci,drive=disk0,bootindex=2".into());
    }
    match &parts.boot {
        Boot::Bios => {}
        Boot::Uefi => {
            let variables = folder.join("OVMF_VARS.fd");
            fs::copy(OVMF_VARS, &variables).with_context(|| format!("cannot copy {OVMF_VARS}; is ovmf installed?"))?;
            add("-drive", format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}"));
            add("-drive", format!("if=pflash,format=raw,file={}", variables.display()));
        }
        Boot::Direct { kernel, initrd, arguments } => {
            add("-kernel", kernel.display().to_string());
            add("-initrd", initrd.display().to_string());
            add("-append", arguments.clone());
        }
    }
    words.extend(["-nodefaults", "-no-user-config"].map(str::to_owned));
    Ok(words)
}

/// The resident part of the mapping that is as large as the machine's memory.
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_the_mapping_of_its_size() {
        let smaps = "7f0-7f1 rw-p\nSize:               1024 kB\nRss:                  12 kB\n\
                     7f2-7f3 rw-p\nSize:             131072 kB\nRss:               98304 kB\n";
        assert_eq!(largest_resident(smaps, 131_072), Some(98_304));
        assert_eq!(largest_resident(smaps, 262_144), None);
    }

    fn parts(boot: Boot) -> Parts {
        let network = Network::Tap("tap0".into());
        Parts { memory_mib: 128, mac: "52:54:00:77:00:01".into(), disk: None, boot, network, clock: Clock::Host }
    }

    #[test]
    fn a_direct_boot_leaves_the_rom_out() {
        let boot = Boot::Direct { kernel: "k".into(), initrd: "i".into(), arguments: "quiet".into() };
        let words = arguments(&parts(boot), Accelerator::Tcg, Path::new("/nowhere")).unwrap().join(" ");
        assert!(words.contains("romfile=") && words.contains("-append quiet"), "{words}");
        let words = arguments(&parts(Boot::Bios), Accelerator::Tcg, Path::new("/nowhere")).unwrap().join(" ");
        assert!(!words.contains("romfile="), "{words}");
    }
}
