//! The environment of one scenario inside its segment: registry, provisioner and machines, with their files in one folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::machine::{Boot, Disk, Firmware, Network, Nic, NicModel, Parts, Vm, blank_disk};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::provisioner::{Options, Provisioner, Workflow};
use crate::registry::Registry;
use crate::segment;
use crate::setup::Setup;

pub const MEMORY_MIB: u32 = 128;
pub const DISK_BYTES: u64 = 4 << 30;

/// With TCG on a busy machine, 10 s of a quiet machine may become a minute.
pub const BOOTS_WITHIN: Duration = Duration::from_secs(120);
pub const ACTS_WITHIN: Duration = Duration::from_secs(90);

pub struct Scene {
    pub setup: Setup,
    pub folder: PathBuf,
}

impl Scene {
    /// Call this inside a segment.
    pub fn new(name: &str) -> Result<Self> {
        let setup = Setup::load()?;
        let folder = setup.lab.join("runs").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        segment::bring_up()?;
        Ok(Self { setup, folder })
    }

    /// A folder for this scenario.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// A registry with the busybox image `busybox:1`.
    pub fn registry(&self) -> Result<Registry> {
        let registry = Registry::start(&self.place("registry")?)?;
        Image::busybox("echo hello from busybox", 0)?.push(registry.address(), "busybox", "1")?;
        Ok(registry)
    }

    /// Packs the standard actions and pushes them, with Thimble's command.
    pub fn push_actions(&self, registry: &Registry) -> Result<()> {
        let mut push = Command::new(&self.setup.thimble);
        push.args(["image", "action", "--binary"]).arg(&self.setup.actions);
        push.args(["--push", &format!("http://{}", registry.address())]);
        command::run(&mut push, &self.folder.join("push.log"), Duration::from_secs(120))
    }

    pub fn provisioner(&self, options: Options) -> Result<Provisioner> {
        Provisioner::start(&self.setup, &self.place("thimble")?, options)
    }

    pub fn disk(&self, station: &Station) -> Result<PathBuf> {
        let path = self.place(&station.name())?.join("disk.raw");
        blank_disk(&path, DISK_BYTES)?;
        Ok(path)
    }

    /// Switches on the station's machine, with a cable to the segment.
    pub fn power_on(&self, station: &Station, boot: Boot, memory_mib: u32, disk: Option<PathBuf>) -> Result<Vm> {
        let nic = self.nic(station, 0, NicModel::Virtio)?;
        let disks = disk.iter().map(|file| Disk::virtio(file)).collect();
        self.start(station, &Parts { disks, ..Parts::new(boot, memory_mib, vec![nic]) })
    }

    /// A network card of the station with a cable to the segment.
    pub fn nic(&self, station: &Station, index: u8, model: NicModel) -> Result<Nic> {
        let tap = station.tap(index);
        segment::add_tap(&tap)?;
        Ok(Nic { model, mac: station.nic_mac(index), network: Network::Tap(tap) })
    }

    /// Switches on a machine with these parts.
    pub fn start(&self, station: &Station, parts: &Parts) -> Result<Vm> {
        Vm::power_on(parts, self.setup.accelerator, &self.place(&station.name())?)
    }

    /// The quick way into the installation environment: QEMU starts what iPXE would start.
    pub fn direct(&self, provisioner: &Provisioner, station: &Station) -> Result<Boot> {
        Ok(Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: self.setup.cloud.kernel.clone(),
            initrd: self.setup.cloud.initrd.clone(),
            arguments: provisioner.kernel_arguments(&station.mac())?,
        })
    }

    /// The start of most scenarios: registry, provisioner, and a machine that waits for work.
    pub fn ready(&self, options: Options) -> Result<Ready> {
        let station = Station { number: 1 };
        let registry = self.registry()?;
        let provisioner = self.provisioner(options)?;
        provisioner.apply(&station.hardware())?;
        let boot = self.direct(&provisioner, &station)?;
        let disk = self.disk(&station)?;
        let mut machine = self.power_on(&station, boot, MEMORY_MIB, Some(disk))?;
        machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
        Ok(Ready { station, registry, provisioner, machine })
    }
}

/// A machine that asks for work, and everything it needs.
pub struct Ready {
    pub station: Station,
    pub registry: Registry,
    pub provisioner: Provisioner,
    pub machine: Vm,
}

impl Ready {
    pub fn begin(&self, name: &str, steps: &[Step]) -> Result<()> {
        self.provisioner.apply(&workflow(name, &self.station, steps))
    }

    /// Runs a workflow to its end.
    pub fn run(&self, name: &str, steps: &[Step]) -> Result<Workflow> {
        self.begin(name, steps)?;
        self.provisioner.wait_ended(name, ACTS_WITHIN)
    }

    pub fn shell(&self, name: &str, script: &str) -> Step {
        Step::busybox(name, &self.registry, script)
    }

    /// Checks that the machine still works, whatever happened before.
    pub fn still_works(&self, name: &str) -> Result<()> {
        let workflow = self.run(name, &[self.shell("hello", "echo still here")])?;
        ensure!(workflow.state() == "SUCCESS", "the machine no longer does its work: {}", workflow.status());
        Ok(())
    }
}

/// A copy that shares its blocks if the file system supports that, and keeps holes.
pub fn copy_disk(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    command::effect(copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))
}
