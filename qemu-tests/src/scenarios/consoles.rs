//! Consoles that do not work.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::OFlags;

use super::links::begin;
use crate::machine::{NicModel, Parts};
use crate::objects::{Station, Step, workflow};
use crate::provisioner::Options;
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene};

const STATION: Station = Station { number: 1 };

/// The last console is a port that this machine does not have, so programs get it as theirs.
pub fn no_such_console(scene: &Scene) -> Result<()> {
    let ready = scene.ready(Options { kernel_args: "console=ttyS3".into(), ..Options::default() })?;
    ready.still_works("works")
}

/// The kernel waits 10 ms for each character. `quiet` shortens its output before `/init`, which this test does not measure.
pub fn dead_serial(scene: &Scene) -> Result<()> {
    let (provisioner, boot) = begin(scene, Options::default())?;
    let pipe = scene.folder.join("dead");
    let _full = [full_pipe(&pipe.with_extension("out"))?, full_pipe(&pipe.with_extension("in"))?];
    // This reads the kernel's log, because no console shows the line.
    let script = "dmesg | grep 'thimble: .*the consoles show nothing' && set -- $(cat /proc/sys/kernel/printk) && [ $1 = 1 ]";
    let registry = scene.registry()?;
    provisioner.apply(&workflow("deaf", &STATION, &[Step::busybox("deaf", &registry, script)]))?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let parts = Parts { dead_serial: Some(pipe), ..Parts::new(boot.with_arguments("quiet"), MEMORY_MIB, vec![nic]) };
    let _machine = scene.start(&STATION, &parts)?;
    let ended = provisioner.wait_ended("deaf", BOOTS_WITHIN)?;
    ensure!(ended.state() == "SUCCESS", "the workflow ended as {}: {}", ended.state(), ended.status());
    Ok(())
}

/// A pipe without room while the file is held.
fn full_pipe(path: &Path) -> Result<File> {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(|| format!("cannot make the pipe {}", path.display()))?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    for piece in [&[0; 4096][..], &[0]] {
        while match pipe.write(piece) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(error).with_context(|| format!("cannot fill the pipe {}", path.display())),
        } {}
    }
    Ok(pipe)
}
