//! Calls that the kernel refuses to /init: it never panics, and reports what failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cpio::{Archive, Node};

use crate::machine::{Boot, Firmware, NicModel, Parts, Vm};
use crate::objects::Station;
use crate::provisioner::Options;
use crate::scene::{MEMORY_MIB, Scene};

/// The refused call, its error, and the line on the console.
const TABLE: &[(&str, &str)] = &[
    ("mount:ENOMEM", "FATAL: make / a mount .*: cannot bind / to /newroot: .*emory"),
    ("create:EROFS", "FATAL: make / a mount .*: cannot make /newroot: Read-only"),
    ("signalfd:EMFILE", "FATAL: take over signals: cannot open a signalfd: .*open files"),
    ("fork:ENOMEM", "cannot be started: .*it starts again in"),
    ("pipe:EMFILE", "cannot be started: .*it starts again in"),
    ("poll:ENOMEM", "cannot wait for signals: .*memory"),
    ("socket:EMFILE", "error: network: .*open files"),
    ("module:ENOMEM", "module virtio.*: the kernel refuses it: .*memory"),
    ("list:ENOMEM", "error: cannot list the devices in /sys/bus: .*emory"),
    ("limit:EPERM", "set kernel and process limits: continued without it: .*permitted"),
    ("mknod:EPERM", r"\] thimble: step 9/12"), // the kernel's log shows it anyway
    ("inotify:EMFILE", "agent .* connected to"),
];
/// From power-on.
const SAID_WITHIN: Duration = Duration::from_secs(90);
const WRONG: &str = "Kernel panic|panicked at|defect in";

pub fn table(scene: &Scene) -> Result<()> {
    let station = Station { number: 1 };
    let provisioner = scene.provisioner(Options { kernel_args: "panic=1".into(), ..Options::default() })?;
    provisioner.apply(&station.hardware())?;
    let arguments = provisioner.kernel_arguments(&station.mac())?;
    let initrd = with_faults(scene)?;
    let nic = scene.nic(&station, 0, NicModel::Virtio)?;
    let mut failed = Vec::new();
    for (faults, said) in TABLE {
        let boot = Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: scene.setup.cloud.kernel.clone(),
            initrd: initrd.clone(),
            arguments: format!("{arguments} rdinit=/faults faults={faults}"),
        };
        let mut machine = scene.start(&station, &Parts::new(boot, MEMORY_MIB, vec![nic.clone()]))?;
        let result = judge(&mut machine, said);
        println!(
            "{:<18}{}",
            faults,
            result.as_ref().map_or_else(|error| format!("FAIL {error:#}"), |line| format!("ok   {line}"))
        );
        failed.extend(result.err().map(|_| *faults));
    }
    ensure!(failed.is_empty(), "these faults have the wrong result: {}", failed.join(", "));
    Ok(())
}

fn judge(machine: &mut Vm, said: &str) -> Result<String> {
    let line = machine.serial.expect(&format!("{said}|{WRONG}"), SAID_WITHIN)?;
    let wrong = machine.serial.all(WRONG)?;
    ensure!(wrong.is_empty(), "{}", wrong.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n"));
    Ok(line.text.trim().to_owned())
}

/// The ramdisk, followed by another segment with the program that sets the faults.
fn with_faults(scene: &Scene) -> Result<PathBuf> {
    let path = scene.folder.join("faults.cpio");
    let mut bytes = read(&scene.setup.cloud.initrd)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0); // the kernel looks for another segment there
    let mut archive = Archive::new(0);
    archive.add("faults", 0o755, Node::File(read(&scene.setup.faults)?))?;
    bytes.extend(archive.to_bytes()?);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
