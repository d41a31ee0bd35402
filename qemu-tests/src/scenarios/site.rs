//! One ISO image for all machines of a site: each one finds its own row in it, and no server answers DHCP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::links::METAL_MIB;
use super::media::BUILT_WITHIN;
use crate::command;
use crate::kit::Kit;
use crate::machine::{Boot, Disk, DiskModel, Firmware, Medium, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::segment;

/// What virtual media of a BMC should not exceed.
const MOST: u64 = 20_000_000;
const UEFI_MIB: u32 = 320;
const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f384832";
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";
/// What much firmware has in every machine.
const NO_SERIAL: &str = "To be filled by O.E.M.";
/// Only the pack `storage`, which is not in the image, has the module for this disk's controller.
const PACKED: DiskModel = DiskModel::Piix;
const DISK: &str = "SITED1";
const SECOND_DISK: &str = "SITED2";

pub fn iso(scene: &Scene) -> Result<()> {
    let (by_serial, by_uuid, by_mac, stranger) =
        (Station { number: 1 }, Station { number: 2 }, Station { number: 3 }, Station { number: 4 });
    let registry = scene.registry()?;
    let provisioner = scene.provisioner(Options { no_dhcp: true, packs: true, ..Options::default() })?;
    provisioner.apply(&annotated(&by_serial, "thimble/serial: SITE-1"))?;
    provisioner.apply(&annotated(&by_uuid, &format!("thimble/uuid: {UUID}")))?;
    provisioner.apply(&by_mac.hardware())?;
    let image = make(scene, &provisioner, &scene.setup.cloud)?;

    // OVMF takes longest, so it starts first.
    let ovmf = start(scene, &image, Firmware::Ovmf, &by_serial, (NO_UUID, "site-1"), Vec::new())?;
    let bios = start(scene, &image, Firmware::SeaBios, &by_uuid, (UUID, NO_SERIAL), Vec::new())?;
    let works = |mut machine: Vm, station: &Station, key: &str, script: &str| -> Result<()> {
        let line = format!("thimble: this machine is {}, one of 3 machines of its site, by its {key}", station.name());
        machine.serial.expect(&line, BOOTS_WITHIN)?;
        machine.serial.expect(&format!("network eth0 {}/24", station.address()), BOOTS_WITHIN)?;
        machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
        let step = Step::busybox("hello", &registry, script);
        provisioner.apply(&workflow(&station.name(), station, &[step]))?;
        let ended = provisioner.wait_ended(&station.name(), ACTS_WITHIN)?;
        ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
        let packs = machine.serial.all("driver pack [a-z]+ from http://")?;
        let has_all = packs.iter().any(|line| line.text.contains("driver pack storage"));
        ensure!(has_all || !script.contains(DISK), "the machine did not fetch its driver pack: {packs:#?}");
        let agent = provisioner.machine(&station.mac())?.agent;
        ensure!(agent.as_ref().is_some_and(|agent| agent.encrypted == Some(true)), "the agent did not speak TLS: {agent:?}");
        Ok(())
    };
    works(bios, &by_uuid, "UUID", "echo hello").context("by UUID")?;
    let disk = Disk::new(PACKED, scene.disk(&by_mac)?, DISK);
    let mac = start(scene, &image, Firmware::SeaBios, &by_mac, (NO_UUID, NO_SERIAL), vec![disk])?;
    works(mac, &by_mac, "MAC address", &format!("[ -b /dev/disk/by-id/{} ]", PACKED.by_id(DISK))).context("by MAC")?;
    let mut stranger_vm = start(scene, &image, Firmware::SeaBios, &stranger, (NO_UUID, "SITE-9"), Vec::new())?;
    works(ovmf, &by_serial, "serial number", "echo hello").context("by serial number")?;
    let line = format!("this machine is none of the 3 machines.*serial number SITE-9, MAC addresses {}", stranger.mac());
    stranger_vm.serial.expect(&line, BOOTS_WITHIN)?;
    stranger_vm.serial.expect("waiting for a DHCP answer on eth0", BOOTS_WITHIN)?;
    Ok(())
}

/// The profile `media` has drivers for network cards and USB only, so the disks come with packs.
pub fn standard_kernel(scene: &Scene) -> Result<()> {
    let station = Station { number: 1 };
    let kit = &scene.setup.media;
    let registry = scene.registry()?;
    let options = Options { no_dhcp: true, packs: true, kit: Some(kit.clone()), ..Options::default() };
    let provisioner = scene.provisioner(options)?;
    provisioner.apply(&station.hardware())?;
    let image = make(scene, &provisioner, kit)?;
    let disks = vec![
        Disk::new(DiskModel::Nvme, scene.disk(&Station { number: 1 })?, DISK),
        Disk::new(DiskModel::Ahci, scene.disk(&Station { number: 2 })?, SECOND_DISK),
    ];
    let present = format!(
        "[ -b /dev/disk/by-id/{} ] && [ -b /dev/disk/by-id/{} ]",
        DiskModel::Nvme.by_id(DISK),
        DiskModel::Ahci.by_id(SECOND_DISK)
    );
    let boot = Boot::Medium { firmware: Firmware::SeaBios, medium: Medium::Cd(image) };
    let nic = scene.nic(&station, 0, NicModel::E1000e)?;
    let mut machine = scene.start(&station, &Parts { disks, ..Parts::new(boot, METAL_MIB, vec![nic]) })?;
    machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    provisioner.apply(&workflow(&station.name(), &station, &[Step::busybox("disks", &registry, &present)]))?;
    let ended = provisioner.wait_ended(&station.name(), ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    let packs = machine.serial.all("driver pack [a-z]+ from http://")?;
    let has_storage = packs.iter().any(|line| line.text.contains("driver pack storage"));
    ensure!(has_storage, "the disks' drivers did not come with their pack: {packs:#?}");
    Ok(())
}

fn annotated(station: &Station, annotation: &str) -> String {
    station.hardware().replace("metadata:\n  name:", &format!("metadata:\n  annotations: {{{annotation}}}\n  name:"))
}

/// Makes the image from the server's Hardware, and looks at it with another reader.
fn make(scene: &Scene, provisioner: &Provisioner, kit: &Kit) -> Result<PathBuf> {
    let (image, settings) = (scene.folder.join("site.iso"), scene.folder.join("settings.yaml"));
    let text = format!("address: {}\ninsecure-registries: \"{}:5000\"\n", segment::HOST, segment::HOST);
    fs::write(&settings, text).context("cannot write the settings")?;
    let files = kit.kernel.parent().context("the kit has no folder")?;
    let mut build = Command::new(&scene.setup.thimble);
    // The path of a socket must be short.
    let (folder, socket) = (provisioner.socket().with_file_name(""), Path::new("./api.sock"));
    build.current_dir(folder).args(["image", "iso", "--cmdline", "console=ttyS0", "--server"]);
    build.arg(format!("unix:{}", socket.display())).arg("--config").arg(&settings).arg("--files").arg(files);
    build.arg("--server-ca").arg(provisioner.data().join("access/ca.crt")).arg("--output").arg(&image);
    build.arg("--packs-url").arg(format!("http://{}:7080/files", segment::HOST));
    command::run(&mut build, &scene.folder.join("iso.log"), BUILT_WITHIN)?;
    let size = fs::metadata(&image).context("no image was made")?.len();
    ensure!(size <= MOST, "the image has {size} bytes, more than {MOST}");
    reads(scene, &image, &kit.kernel)?;
    Ok(image)
}

/// xorriso finds the kernel, which is a part of the EFI program.
fn reads(scene: &Scene, image: &Path, kernel: &Path) -> Result<()> {
    let found = scene.folder.join("kernel");
    let _ = fs::remove_file(&found); // of an earlier run
    let mut read = Command::new("xorriso");
    read.args(["-osirrox", "on", "-indev"]).arg(image).args(["-extract", "/KERNEL.IMG"]).arg(&found);
    command::run(&mut read, &scene.folder.join("xorriso.log"), BUILT_WITHIN)?;
    let same = fs::read(&found).context("xorriso has extracted no kernel")? == fs::read(kernel).context("no kernel")?;
    ensure!(same, "xorriso reads another kernel than the one that was given");
    Ok(())
}

fn start(
    scene: &Scene,
    image: &Path,
    firmware: Firmware,
    station: &Station,
    identity: (&'static str, &'static str),
    disks: Vec<Disk>,
) -> Result<Vm> {
    let mib = if firmware == Firmware::SeaBios { MEMORY_MIB } else { UEFI_MIB };
    let boot = Boot::Medium { firmware, medium: Medium::Cd(image.to_owned()) };
    let nic = scene.nic(station, 0, NicModel::Virtio)?;
    scene.start(station, &Parts { identity: Some(identity), disks, ..Parts::new(boot, mib, vec![nic]) })
}
