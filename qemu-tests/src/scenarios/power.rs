//! The end of a session: kexec, and unplanned events: the power button, a panic, and a ramdisk that arrived in part.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::links::begin;
use crate::command::wait_for;
use crate::machine::{Boot, Disk, Firmware, NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, MEMORY_MIB, Scene, copy_disk};

const STATION: Station = Station { number: 1 };
const OFF_WITHIN: Duration = Duration::from_secs(60);
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

/// Memory for two kernels and two ramdisks at once, one of them Debian's.
const KEXEC_MIB: u32 = 512;
/// OVMF needs more memory than the installation.
const UEFI_MIB: u32 = 320;

/// The disk has Debian already. The workflow loads its kernel, and the machine does not return to its firmware.
pub fn kexec(scene: &Scene) -> Result<()> {
    let registry = scene.registry()?;
    scene.push_actions(&registry)?;
    let provisioner = scene.provisioner(Options::default())?;
    let step = Step::image("start", &registry.reference("kexec:v1"))
        .environment("BLOCK_DEVICE", "/dev/vda1")
        .environment("FS_TYPE", "ext4");
    provisioner.apply(&STATION.hardware())?;
    provisioner.apply(&workflow("start", &STATION, &[step]))?;
    let disk = scene.folder.join("debian.raw");
    copy_disk(&scene.setup.disk, &disk)?;
    let boot = scene.direct(&provisioner, &STATION)?;
    let mut machine = scene.power_on(&STATION, boot, KEXEC_MIB, Some(disk))?;
    machine.serial.expect("thimble: starting the loaded kernel$", BOOTS_WITHIN)?;
    machine.serial.expect("thimble: starting the loaded kernel in [0-9] s", OFF_WITHIN)?;
    machine.serial.expect("debian login:", BOOTS_WITHIN)?;
    let firmware = machine.serial.all("SeaBIOS|GRUB: booting")?; // the first one comes from the power-on
    ensure!(
        firmware.len() <= 1,
        "the machine went through its firmware: {}",
        firmware.iter().map(|line| line.text.as_str()).collect::<String>()
    );
    let ended = provisioner.wait_ended("start", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

pub fn button(scene: &Scene) -> Result<()> {
    let mut ready = scene.ready(Options::default())?;
    ready.begin("long", &[ready.shell("long", "echo WORKING; sleep 600")])?;
    ready.machine.serial.expect(r"A\| WORKING", ACTS_WITHIN)?;
    wait_for("a listener for the button", ACTS_WITHIN, || {
        Ok((!ready.machine.serial.all("thimble: power button: ")?.is_empty()).then_some(()))
    })?;
    ready.machine.press_power_button()?;
    ready.machine.serial.expect("thimble: powering off", OFF_WITHIN)?;
    wait_for("the machine to switch itself off", OFF_WITHIN, || Ok(ready.machine.is_off()?.then_some(())))
}

/// The restart is immediate, because an operator is present. After the reboot the action starts from its beginning.
pub fn ctrl_alt_del(scene: &Scene) -> Result<()> {
    let mut ready = scene.ready(Options::default())?;
    ready.begin("long", &[ready.shell("long", "echo WORKING; sleep 600")])?;
    ready.machine.serial.expect(r"A\| WORKING", ACTS_WITHIN)?;
    // An emulated keyboard sometimes loses a key. A person would press again, too.
    wait_for("the keys to be noticed", ACTS_WITHIN, || {
        ready.machine.press_ctrl_alt_del()?;
        Ok(ready.machine.serial.expect("thimble: rebooting", NOTICED_WITHIN).ok())
    })?;
    ready.machine.serial.expect("thimble: init .* started", BOOTS_WITHIN)?;
    ready.machine.serial.expect(r"A\| WORKING", BOOTS_WITHIN)?;
    Ok(())
}

/// Panics the kernel the first time.
const CRASH_ONCE: &str = "word=$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\\0')
[ \"$word\" = crashed ] && echo BACK AGAIN && exit 0
echo crashed > /mark; dd if=/mark of=/dev/vda conv=notrunc,fsync 2>/dev/null
echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 60";

/// The first run panics the kernel, and the disk records that. The machine returns by itself and the action runs again.
pub fn panic(scene: &Scene) -> Result<()> {
    let options = Options { kernel_args: "panic=2".into(), ..Options::default() };
    let mut ready = scene.ready(options)?;
    ready.begin("crash", &[ready.shell("crash", CRASH_ONCE)])?;
    ready.machine.serial.expect("Kernel panic", ACTS_WITHIN)?;
    ready.machine.serial.expect("thimble: init .* started", BOOTS_WITHIN)?;
    ready.machine.serial.expect(r"A\| BACK AGAIN", BOOTS_WITHIN)?;
    let ended = ready.provisioner.wait_ended("crash", ACTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// UEFI's variables keep the kernel's last lines over the reset.
pub fn last_words(scene: &Scene) -> Result<()> {
    let options = Options { kernel_args: "panic=2".into(), ..Options::default() };
    let (provisioner, boot) = begin(scene, options)?;
    let registry = scene.registry()?;
    let Boot::Direct { kernel, initrd, arguments, .. } = boot else { anyhow::bail!("not a direct boot") };
    let boot = Boot::Direct { firmware: Firmware::Ovmf, kernel, initrd, arguments };
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let disks = vec![Disk::virtio(&scene.disk(&STATION)?)];
    let mut machine = scene.start(&STATION, &Parts { disks, ..Parts::new(boot, UEFI_MIB, vec![nic]) })?;
    machine.serial.expect("thimble: agent .* connected to", BOOTS_WITHIN)?;
    provisioner.apply(&workflow("crash", &STATION, &[Step::busybox("crash", &registry, CRASH_ONCE)]))?;
    machine.serial.expect("Kernel panic - not syncing: sysrq", ACTS_WITHIN)?;
    machine.serial.expect("thimble: warning: pstore: .*crashed", BOOTS_WITHIN)?;
    machine.serial.expect("thimble: warning: pstore: .*Kernel panic - not syncing: sysrq", BOOTS_WITHIN)?;
    Ok(())
}

/// Whatever part is missing at the end, a program reports it: the kernel if it cannot unpack, /init if it can start.
pub fn truncated_ramdisk(scene: &Scene) -> Result<()> {
    let (_provisioner, boot) = begin(scene, Options::default())?;
    let Boot::Direct { firmware, kernel, initrd, arguments } = boot else { anyhow::bail!("not a direct boot") };
    let whole = fs::read(&initrd).with_context(|| format!("cannot read {}", initrd.display()))?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    for percent in [99, 60] {
        let cut = scene.folder.join(format!("cut-{percent}.cpio.zst"));
        fs::write(&cut, whole.get(..whole.len() / 100 * percent).context("the ramdisk is empty")?).context("cannot write")?;
        let boot = Boot::Direct { firmware, kernel: kernel.clone(), initrd: cut, arguments: arguments.clone() };
        let mut machine = scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic.clone()]))?;
        let line = machine.serial.expect("FATAL.*ramdisk|Kernel panic|agent .* connected", BOOTS_WITHIN)?;
        ensure!(!line.text.contains("connected"), "the machine worked with {percent} % of a ramdisk as if it were complete");
        let said = machine.serial.all("(?i)initramfs unpacking failed|ramdisk is incomplete|ramdisk.*(missing|bytes)")?;
        ensure!(!said.is_empty(), "{percent} %: the console does not say why:\n{}", machine.serial.last_lines());
    }
    Ok(())
}
