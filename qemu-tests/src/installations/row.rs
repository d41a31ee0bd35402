//! What an installation is: a machine, its metadata, the steps of its workflow, and what holds in the installed system.

use anyhow::Result;
use serde_json::{Value, json};

use super::steps::Site;
use crate::machine::{Boot, DiskModel, Firmware, SECTOR, Vm};
use crate::objects::{Station, Step};

/// For the image with tools, its programs, and the file systems' caches.
const MEMORY_MIB: u32 = 512;
const DISK_BYTES: u64 = 2 << 30;

/// How the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the network, and again after the installation.
    NetworkBios,
    NetworkUefi,
    /// QEMU starts kernel and ramdisk. After the installation the machine starts from its disks, without the network.
    Direct(Firmware),
}

/// How the workflow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Reboot,
    /// The last step has loaded the installed kernel.
    Kexec,
}

/// The system that the steps unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// The files of the lab's image.
    Plain,
    /// The same with GRUB, cloud-init, and the programs of LUKS, md and LVM.
    Layered,
}

/// An empty disk.
#[derive(Debug, Clone)]
pub struct Blank {
    pub model: DiskModel,
    pub bytes: u64,
    pub sector: u32,
}

impl Blank {
    pub fn virtio() -> Self {
        Self { model: DiskModel::VirtioBlk, bytes: DISK_BYTES, sector: SECTOR }
    }
}

/// What a command prints in the installed system: one line.
#[derive(Debug, Clone)]
pub struct Fact {
    pub name: &'static str,
    pub shell: String,
    pub is: String,
}

impl Fact {
    pub fn new(name: &'static str, shell: &str, is: &str) -> Self {
        Self { name, shell: shell.to_owned(), is: is.to_owned() }
    }
}

pub struct Row {
    pub name: &'static str,
    pub start: Start,
    /// Families of drivers that the ramdisk has beside those for virtual machines, such as `raid`.
    pub drivers: &'static [&'static str],
    pub memory_mib: u32,
    pub disks: Vec<Blank>,
    /// Entries of the Hardware's `spec.metadata.instance`, such as `storage`.
    pub instance: Value,
    /// Entries of the Hardware's `spec`, such as `userData`.
    pub spec: Value,
    /// Debian packages whose programs the steps `with_tools` have. Their dependencies come with them.
    pub tools: &'static [&'static str],
    /// Called once before the machine starts. It may make files for the steps, too.
    pub steps: fn(&Site) -> Result<Vec<Step>>,
    pub archive: Archive,
    pub ending: Ending,
    /// The disks that the machine has after the installation if it started directly; all if empty.
    pub keeps: &'static [usize],
    /// What an operator does at the console while the installed system boots.
    pub console: fn(&mut Vm) -> Result<()>,
    /// The machine has a TPM. In the end it gets another one, and an operator does this while it boots.
    pub other_tpm: Option<fn(&mut Vm) -> Result<()>>,
    /// The firmware sees all of the memory, and Linux so much of it.
    pub linux_mib: Option<u32>,
    pub facts: Vec<Fact>,
}

impl Row {
    /// A row with one disk, no metadata and no tools.
    pub fn new(name: &'static str, start: Start, steps: fn(&Site) -> Result<Vec<Step>>) -> Self {
        Self {
            name,
            start,
            drivers: &[],
            memory_mib: MEMORY_MIB,
            disks: vec![Blank::virtio()],
            instance: json!({}),
            spec: json!({}),
            tools: &[],
            steps,
            archive: Archive::Plain,
            ending: Ending::Reboot,
            keeps: &[],
            console: |_| Ok(()),
            other_tpm: None,
            linux_mib: None,
            facts: Vec::new(),
        }
    }

    pub fn boots_from(&self, disk: usize) -> bool {
        self.keeps.is_empty() || self.keeps.contains(&disk)
    }

    /// How the machine is switched on again to boot what was installed, if it is not left running.
    pub fn restarts(&self) -> Option<Boot> {
        match (self.start, self.ending) {
            (Start::Direct(firmware), Ending::Reboot) => Some(Boot::Disks { firmware }),
            _ => None,
        }
    }

    /// The Hardware object of the station, with the row's entries.
    pub fn hardware(&self, station: &Station) -> String {
        let entries = |value: &Value, depth: usize| -> String {
            let all = value.as_object().into_iter().flatten();
            // A JSON value is a YAML value.
            all.map(|(key, value)| format!("{:depth$}{key}: {value}\n", "")).collect()
        };
        let (text, instance) = (station.hardware(), "    instance:\n");
        let text = text.replacen(instance, &format!("{instance}{}", entries(&self.instance, 6)), 1);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        format!("{text}{end}{}", entries(&self.spec, 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardware_has_the_rows_entries() {
        let row = Row {
            instance: json!({"storage": {"disks": [{"device": "/dev/vda"}]}}),
            spec: json!({"userData": "#cloud-config\nhostname: x\n"}),
            ..Row::new("x", Start::NetworkBios, |_| Ok(Vec::new()))
        };
        let text = row.hardware(&Station { number: 1 });
        assert!(
            text.contains("    instance:\n      storage: {\"disks\":[{\"device\":\"/dev/vda\"}]}\n      hostname: machine-1\n")
        );
        assert!(text.ends_with("\n  userData: \"#cloud-config\\nhostname: x\\n\"\n"), "{text}");
    }
}
