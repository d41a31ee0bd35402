//! `rescue` on the kernel command line: a shell for the owner of the key, and for no other client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::links::begin;
use crate::command::{self, wait_for};
use crate::kit::Kit;
use crate::machine::{Boot, NicModel, Parts};
use crate::objects::Station;
use crate::provisioner::Options;
use crate::scene::{ACTS_WITHIN, BOOTS_WITHIN, Scene};

const STATION: Station = Station { number: 1 };
const MEMORY_MIB: u32 = 192;
const CONNECTED: &str = "thimble: agent .* connected to";

pub fn shell(scene: &Scene) -> Result<()> {
    let (_provisioner, boot) = begin(scene, Options::default())?;
    let Boot::Direct { firmware, arguments, .. } = boot else { anyhow::bail!("not a direct boot") };
    let kit = kit(scene)?;
    let (mine, strange) = (key(scene, "mine")?, key(scene, "strange")?);
    let public = fs::read_to_string(mine.with_extension("pub")).context("cannot read the public key")?;
    let key = public.split(' ').nth(1).context("not a public key")?;
    let nic = scene.nic(&STATION, 0, NicModel::Virtio)?;
    let start = |words: &str| {
        let arguments = format!("{arguments} {words}");
        let boot = Boot::Direct { firmware, kernel: kit.kernel.clone(), initrd: kit.initrd.clone(), arguments };
        scene.start(&STATION, &Parts::new(boot, MEMORY_MIB, vec![nic.clone()]))
    };

    let mut machine = start(&format!("rescue ssh_key={key}"))?;
    machine.serial.expect("thimble: rescue: ssh root@.*SHA256:", BOOTS_WITHIN)?;
    let said = wait_for("a shell", ACTS_WITHIN, || ssh(&mine, "cat /proc/1/comm; ls /sys/class/net"))?;
    ensure!(said.contains("init") && said.contains("eth0"), "the shell is not on the machine: {said:?}");
    ensure!(ssh(&strange, "true")?.is_none(), "another key was accepted");
    drop(machine);

    let with_key = format!("ssh_key={key}");
    for (words, line) in [("rescue", "thimble: warning: rescue: no shell: it needs a key"), (with_key.as_str(), CONNECTED)] {
        let mut machine = start(words)?;
        machine.serial.expect(line, BOOTS_WITHIN)?;
        wait_for("a sign of life", ACTS_WITHIN, || Ok((!machine.serial.all(CONNECTED)?.is_empty()).then_some(())))?;
        ensure!(ssh(&mine, "true")?.is_none(), "{words}: a shell runs that was not requested");
    }
    Ok(())
}

fn kit(scene: &Scene) -> Result<Kit> {
    let folder = scene.place("ramdisk")?;
    let mut build = Command::new(&scene.setup.thimble);
    build.args(["image", "build", "--rescue", "--kernel"]).arg(&scene.setup.kernel_deb);
    build.arg("--init").arg(&scene.setup.init).arg("--output").arg(&folder);
    command::run(&mut build, &scene.folder.join("ramdisk.log"), Duration::from_secs(300))?;
    Ok(Kit::at(&folder))
}

fn key(scene: &Scene, name: &str) -> Result<PathBuf> {
    let file = scene.folder.join(name);
    for old in [file.clone(), file.with_extension("pub")] {
        if old.exists() {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let mut make = Command::new("ssh-keygen");
    command::run(make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file), &scene.folder.join("key.log"), ACTS_WITHIN)?;
    Ok(file)
}

/// The command's output, or `None` if the server refused the key.
fn ssh(key: &Path, words: &str) -> Result<Option<String>> {
    let mut ssh = Command::new("ssh");
    for option in ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10"] {
        ssh.args(["-o", option]);
    }
    ssh.args(["-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-i"]).arg(key);
    let output = ssh.arg(format!("root@{}", STATION.address())).arg(words).output().context("cannot execute ssh")?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}
