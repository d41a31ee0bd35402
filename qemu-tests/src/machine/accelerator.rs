//! KVM or TCG. Nested virtualisation may offer /dev/kvm and then hang every guest, so only a successful boot counts.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::command::Daemon;

const PROBE_LIMIT: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// Boots `kernel` with KVM once, and keeps the result in `lab` until the host boots again.
    pub fn probe(kernel: &Path, lab: &Path) -> Result<Self> {
        if File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let memory = lab.join("accelerator");
        let remembered = fs::read_to_string(&memory).unwrap_or_default();
        if let Some(found) = remembered.strip_prefix(boot.trim()) {
            return Ok(if found.trim() == "kvm" { Self::Kvm } else { Self::Tcg });
        }
        let found = if boots_with_kvm(kernel, lab)? { Self::Kvm } else { Self::Tcg };
        let word = if found == Self::Kvm { "kvm" } else { "tcg" };
        fs::write(&memory, format!("{} {word}\n", boot.trim())).with_context(|| format!("cannot write {}", memory.display()))?;
        Ok(found)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

/// A kernel without a root file system panics at once if KVM works, and `panic=-1` with `-no-reboot` ends QEMU.
fn boots_with_kvm(kernel: &Path, lab: &Path) -> Result<bool> {
    let log = lab.join("kvm-probe.log");
    let _from_an_earlier_boot = fs::remove_file(&log);
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-machine",
        "q35,graphics=off",
        "-m",
        "128M",
        "-nodefaults",
        "-display",
        "none",
    ]);
    command.args(["-no-reboot", "-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"]).arg(kernel);
    let ended = Daemon::start(&mut command, &log)?.wait(PROBE_LIMIT)?;
    Ok(ended.is_some_and(|status| status.success()) && fs::read_to_string(&log).unwrap_or_default().contains("Linux version"))
}
