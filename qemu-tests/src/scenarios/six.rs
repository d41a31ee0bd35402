//! IPv6 from the firmware's first packet to the last action. No server of the segment answers DHCPv4.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::machine::{Boot, Disk, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::{Options, Provisioner};
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, Scene};

const STATION: Station = Station { number: 1 };
/// OVMF itself needs more than the rest does.
const UEFI_MIB: u32 = 256;
const ADDRESS: &str = "fd00:77::65";
/// boots is the only server, and says so in its router advertisements.
const SETTINGS: &str = "dhcp6: [{subnet: 'fd00:77::/64', mode: reservation, dns: ['fd00:77::1'], advertise: true}]\n";
/// The PXE client goes to IPv6 at once.
const OVMF: &str = "IPv4PXESupport,string=no";
const IMAGE: &str = "small.raw";
/// Bytes of the image. It stands for an operating system.
const SIZE: usize = 4 << 20;

/// The firmware gets its address and iPXE by IPv6, iPXE gets its script, kernel and ramdisk, and the agent its work, its image,
/// and the image for the disk.
pub fn installs(scene: &Scene) -> Result<()> {
    let provisioner = scene.provisioner(Options { only_ipv6: Some(SETTINGS), ..Options::default() })?;
    let mut pack = Command::new(&scene.setup.thimble);
    pack.args(["image", "action", "--binary"]).arg(&scene.setup.actions).arg("--into").arg(provisioner.data().join("images"));
    command::run(&mut pack, &scene.folder.join("pack.log"), Duration::from_secs(120))?;
    let image = disk_image();
    fs::write(scene.folder.join("thimble/files").join(IMAGE), &image).context("cannot write the image")?;
    provisioner.apply(&hardware())?;
    provisioner.apply(&workflow("six", &STATION, &[write()]))?;

    let disk = scene.disk(&STATION)?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { disks: vec![Disk::virtio(&disk)], ovmf: vec![OVMF], ..Parts::new(Boot::Uefi, UEFI_MIB, vec![nic]) };
    let mut machine = scene.start(&STATION, &parts)?;
    machine.serial.expect("Start PXE over IPv6", BOOTS_WITHIN)?;
    machine.serial.expect("iPXE initialising", BOOTS_WITHIN)?;
    machine.serial.expect(&format!("thimble: network .*{ADDRESS}"), BOOTS_WITHIN)?;
    let ended = provisioner.wait_ended("six", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    ensure!(machine.serial.all("thimble: network .* 10[.]77[.]")?.is_empty(), "the machine has an IPv4 address");
    let mut written = vec![0; SIZE];
    File::open(&disk).and_then(|mut disk| disk.read_exact(&mut written)).context("cannot read the disk")?;
    ensure!(written == image, "the disk does not have the image");
    history(&provisioner)
}

/// A table with one Linux partition from 1 MiB to 3 MiB, and bytes that are easily told from others.
fn disk_image() -> Vec<u8> {
    let mut image: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at * 31 % 251).unwrap_or(0)).collect();
    let mut table = [0; 512];
    table[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    image.splice(..512, table);
    image
}

fn hardware() -> String {
    format!(
        "apiVersion: tinkerbell.org/v1alpha1\nkind: Hardware\nmetadata: {{name: {}}}\nspec:\n  disks: [{{device: /dev/vda}}]\n  \
         interfaces:\n    - dhcp: {{mac: {:?}, arch: x86_64, ip: {{address: {ADDRESS:?}, netmask: \"ffff:ffff:ffff:ffff::\", \
         family: 6}}}}\n      netboot: {{allowPXE: true, allowWorkflow: true}}\n",
        STATION.name(),
        STATION.mac()
    )
}

/// Action and image come from the server itself.
fn write() -> Step {
    let step = Step::image("write", "[fd00:77::1]:7080/image2disk:v1").volume("/dev:/dev");
    let step = step.environment("IMG_URL", &format!("http://[fd00:77::1]:7080/files/{IMAGE}"));
    step.environment("DEST_DISK", "/dev/vda").environment("COMPRESSED", "false")
}

/// Every step has been seen, by IPv6.
fn history(provisioner: &Provisioner) -> Result<()> {
    for words in [
        &["DHCPv6", "ADVERTISE fd00:77::65 to SOLICIT of UEFI PXE firmware arch 7 on br0"][..],
        &["DHCPv6", "REPLY fd00:77::65 to REQUEST of iPXE"],
        &["TFTP", "fd00:77::65", "ipxe.efi"],
        &["gets its script: install"],
    ] {
        ensure!(!provisioner.log_lines(words).is_empty(), "the log has no line with {words:?}");
    }
    let explained = provisioner.explained(&STATION.mac())?;
    for text in ["ADVERTISE fd00:77::65", "auto.ipxe", "syslog"] {
        ensure!(explained.contains(text), "the history has no {text:?}:\n{explained}");
    }
    Ok(())
}
