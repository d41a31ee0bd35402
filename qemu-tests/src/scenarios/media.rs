//! Boots without a network boot: the media that `thimble image build` makes, in machines with both firmwares.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::links::{METAL_MIB, begin, of_kit};
use crate::command;
use crate::kit::Kit;
use crate::machine::{Boot, Disk, DiskModel, Firmware, Medium, Nic, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};

pub(super) const STATION: Station = Station { number: 1 };
pub(super) const BUILT_WITHIN: Duration = Duration::from_secs(300);
/// OVMF needs more memory than the installation.
const UEFI_MIB: u32 = 320;

/// A CD and a USB stick, read by BIOS and by UEFI.
pub fn iso(scene: &Scene) -> Result<()> {
    let bench = Bench::new(scene)?;
    let image = bench.media()?.join("thimble.iso");
    for (name, firmware, medium) in [
        ("cd", Firmware::SeaBios, Medium::Cd(image.clone())),
        ("stick", Firmware::SeaBios, Medium::Stick(image.clone())),
        ("cd-uefi", Firmware::Ovmf, Medium::Cd(image.clone())),
        ("stick-uefi", Firmware::Ovmf, Medium::Stick(image.clone())),
    ] {
        bench.boots(name, firmware, medium).context(name)?;
    }
    Ok(())
}

/// One file at the path where firmware looks for it on any disk.
pub fn uki(scene: &Scene) -> Result<()> {
    let bench = Bench::new(scene)?;
    bench.boots("uki", Firmware::Ovmf, disk_with(scene, "disk", &bench.media()?.join("thimble.efi"))?)
}

/// A disk with the program under the name that firmware starts automatically.
pub(super) fn disk_with(scene: &Scene, name: &str, program: &Path) -> Result<Medium> {
    let disk = scene.place(name)?;
    let folder = disk.join("EFI/BOOT");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(program, folder.join("BOOTX64.EFI")).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(Medium::Folder(disk))
}

/// This name leads to no registry here.
const OFFLINE: &str = "images.invalid/tools/busybox:1";

/// The image is in the ramdisk.
pub fn embedded(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let (layout, folder) = (layout(scene)?, scene.place("ramdisk")?);
    let mut build = Command::new(&scene.setup.thimble);
    build.args(["image", "build", "--embed"]).arg(&layout).arg("--kernel").arg(&scene.setup.kernel_deb);
    build.arg("--init").arg(&scene.setup.init).arg("--output").arg(&folder);
    command::run(&mut build, &scene.folder.join("ramdisk.log"), Duration::from_secs(300))?;
    let parts = Parts::new(of_kit(boot, &Kit::at(&folder)), MEMORY_MIB, vec![scene.nic(&STATION, 0, NicModel::Virtio)?]);
    runs_offline(scene, &provisioner, &parts, OFFLINE)
}

/// The machine accepts images from disks, if a digest identifies them.
fn with_disks() -> Options {
    Options { kernel_args: "thimble.image_disk=true".to_owned(), ..Options::default() }
}

/// The image is on a USB stick with FAT, in `images/`, where a person would copy it with a file manager.
pub fn stick(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, with_disks())?;
    let (layout, file) = (layout(scene)?, scene.folder.join("stick.raw"));
    let _ = fs::remove_file(&file); // the file of an earlier run, because mkfs.vfat does not overwrite one
    let mut format = Command::new("/sbin/mkfs.vfat");
    format.args(["-n", "THIMBLE", "-C"]).arg(&file).arg("65536");
    command::run(&mut format, &scene.folder.join("mkfs.log"), Duration::from_secs(60))?;
    let mut copy = Command::new("mcopy");
    copy.arg("-s").arg("-i").arg(&file).arg(&layout).arg("::images");
    command::run(&mut copy, &scene.folder.join("mcopy.log"), Duration::from_secs(60))?;
    let disks = vec![Disk::new(DiskModel::UsbStorage, file, "STICK")];
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { disks, ..Parts::new(of_kit(boot, &scene.setup.metal), METAL_MIB, vec![nic]) };
    runs_offline(scene, &provisioner, &parts, &pinned(&layout)?)
}

/// The image is on a CD in a USB drive. A BMC presents an administrator's file that way.
pub fn cd(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, with_disks())?;
    let (layout, file) = (layout(scene)?, scene.folder.join("cd.iso"));
    let mut write = Command::new("xorriso");
    write.args(["-as", "mkisofs", "-quiet", "-R", "-V", "THIMBLE", "-graft-points", "-o"]).arg(&file);
    write.arg(format!("/images={}", layout.display()));
    command::run(&mut write, &scene.folder.join("xorriso.log"), Duration::from_secs(60))?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { cd: Some(file), ..Parts::new(of_kit(boot, &scene.setup.metal), METAL_MIB, vec![nic]) };
    runs_offline(scene, &provisioner, &parts, &pinned(&layout)?)
}

/// The layout's image by digest.
fn pinned(layout: &Path) -> Result<String> {
    let text = fs::read(layout.join("index.json")).context("skopeo has written no index")?;
    let index: serde_json::Value = serde_json::from_slice(&text).context("skopeo's index is not JSON")?;
    let digest = index.pointer("/manifests/0/digest").and_then(|digest| digest.as_str());
    let name = OFFLINE.rsplit_once(':').map_or(OFFLINE, |(name, _)| name);
    Ok(format!("{name}@{}", digest.context("skopeo's index has no image")?))
}

/// An OCI image layout that has one image with its name.
fn layout(scene: &Scene) -> Result<PathBuf> {
    let layout = scene.folder.join("layout");
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| format!("cannot remove {}", layout.display()))?;
    }
    let registry = scene.registry()?;
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--src-tls-verify=false"]).arg(format!("docker://{}", registry.reference("busybox:1")));
    copy.arg(format!("oci:{}:{OFFLINE}", layout.display()));
    command::run(&mut copy, &scene.folder.join("skopeo.log"), Duration::from_secs(60))?;
    Ok(layout)
}

fn runs_offline(scene: &Scene, provisioner: &Provisioner, parts: &Parts, image: &str) -> Result<()> {
    let mut machine = scene.start(&STATION, parts)?;
    provisioner.apply(&workflow("offline", &STATION, &[Step::image("offline", image).shell("echo NO REGISTRY")]))?;
    machine.serial.expect(r"A\| NO REGISTRY", BOOTS_WITHIN)?;
    let ended = provisioner.wait_ended("offline", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// Another folder, umask, time zone and minute do not change the result.
pub fn reproducible(scene: &Scene) -> Result<()> {
    let build = |name: &str, umask: &str, zone: &str| {
        let folder = scene.place(name)?;
        let mut build = Command::new("sh");
        build.env("TZ", zone).args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(&scene.setup.thimble);
        build
            .args(["image", "build", "--uki", "--iso", "--server-ca", "none", "--packs", "--kernel"])
            .arg(&scene.setup.kernel_deb);
        build.arg("--init").arg(&scene.setup.init).arg("--output").arg(&folder);
        command::run(&mut build, &scene.folder.join(format!("{name}.log")), Duration::from_secs(300))?;
        fs::read_to_string(folder.join("SHA256SUMS")).context("cannot read SHA256SUMS")
    };
    let (one, other) = (build("one", "022", "UTC")?, build("other", "077", "Asia/Tokyo")?);
    for name in ["kernel", "initramfs.cpio.zst", "thimble.efi", "thimble.iso", "packs.json", "sbom.cdx.json"] {
        ensure!(one.contains(&format!("  {name}\n")), "{name} is not in SHA256SUMS:\n{one}");
    }
    ensure!(one == other, "two builds differ:\n{one}\n{other}");
    Ok(())
}

pub(super) struct Bench<'a> {
    scene: &'a Scene,
    registry: Registry,
    pub(super) provisioner: Provisioner,
    nic: Nic,
}

impl<'a> Bench<'a> {
    pub(super) fn new(scene: &'a Scene) -> Result<Self> {
        let (provisioner, _) = begin(scene, Options::default())?;
        Ok(Self { scene, registry: scene.registry()?, provisioner, nic: scene.nic(&STATION, 0, NicModel::Virtio)? })
    }

    fn media(&self) -> Result<PathBuf> {
        let folder = self.scene.place("media")?;
        command::run(self.build(&folder)?.arg("--iso"), &self.scene.folder.join("media.log"), BUILT_WITHIN)?;
        Ok(folder)
    }

    /// The build of a UKI with kernel arguments, which it cannot get in another way.
    pub(super) fn build(&self, folder: &Path) -> Result<Command> {
        let setup = &self.scene.setup;
        let mut build = Command::new(&setup.thimble);
        build.args(["image", "build", "--uki", "--kernel"]).arg(&setup.kernel_deb).arg("--data").arg(self.provisioner.data());
        build.arg("--init").arg(&setup.init).arg("--output").arg(folder);
        build.args(["--cmdline", &self.provisioner.kernel_arguments(&STATION.mac())?]);
        Ok(build)
    }

    fn boots(&self, name: &str, firmware: Firmware, medium: Medium) -> Result<()> {
        self.works(name, &self.parts(firmware, medium))
    }

    pub(super) fn parts(&self, firmware: Firmware, medium: Medium) -> Parts {
        let mib = if firmware == Firmware::SeaBios { MEMORY_MIB } else { UEFI_MIB };
        Parts::new(Boot::Medium { firmware, medium }, mib, vec![self.nic.clone()])
    }

    pub(super) fn works(&self, name: &str, parts: &Parts) -> Result<()> {
        let mut machine = self.scene.start(&STATION, parts)?;
        machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
        let step = Step::busybox("hello", &self.registry, "echo hello");
        self.provisioner.apply(&workflow(name, &STATION, &[step]))?;
        let ended = self.provisioner.wait_ended(name, ACTS_WITHIN)?;
        ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
        // The medium has the authority of the server.
        let agent = self.provisioner.machine(&STATION.mac())?.agent;
        ensure!(agent.as_ref().is_some_and(|agent| agent.encrypted == Some(true)), "the agent did not speak TLS: {agent:?}");
        Ok(())
    }
}
