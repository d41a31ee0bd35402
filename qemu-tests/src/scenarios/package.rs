//! The Debian package on a host without cargo: it makes a ramdisk, serves its own action images, and installs a machine.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clean_host::CleanHost;
use crate::command::{Daemon, output, wait_for};
use crate::machine::Boot;
use crate::objects::{Station, Step, workflow};
use crate::package::{self, Order, Programs};
use crate::provisioner::{HTTP, action_state};
use crate::scene::{ACTS_WITHIN, MEMORY_MIB, Scene};
use crate::setup::workspace;
use crate::{http, segment};

const STATION: Station = Station { number: 1 };
const SYSTEM: &str = "/var/lib/thimble/files/system.raw";
const SYSTEM_BYTES: usize = 24 << 20;
const BUILT_WITHIN: Duration = Duration::from_secs(300);
/// Firmware, iPXE and the downloads come before the boot.
const FIRMWARE_AND_BOOT: Duration = Duration::from_secs(240);
const QUICK: Duration = Duration::from_secs(120);
/// The rights of `thimble.service`.
const RIGHTS: &str = "-all,+net_bind_service,+net_raw";

pub fn installs(scene: &Scene) -> Result<()> {
    let package = package(scene)?;
    let host = CleanHost::new(&scene.place("host")?)?;
    host.copy(&package, "/tmp/thimble.deb")?;
    host.copy(&scene.setup.kernel_deb, "/tmp/linux-image.deb")?;
    host.run(&["dpkg", "-i", "/tmp/thimble.deb"], QUICK)?;
    ensure!(http::get(HTTP, "/healthz").is_err(), "the installation of the package has started a daemon");

    let files = "/var/lib/thimble/files";
    let build = ["thimble", "image", "build", "--kernel", "/tmp/linux-image.deb", "--output", files];
    host.run(&build, BUILT_WITHIN)?;
    host.run(&["thimble", "image", "action", "--into", "/var/lib/thimble/images"], QUICK)?;
    let system = system();
    fs::write(host.path(Path::new(SYSTEM)), &system).context("cannot write the system to install")?;

    let mut daemon = up(&host, scene)?;
    let objects = format!("{}---\n{}", STATION.hardware(), workflow("install", &STATION, &steps()));
    host.write("/tmp/site.yaml", &objects)?;
    host.run(&["thimble", "apply", "--yes", "-f", "/tmp/site.yaml"], QUICK)?;
    let disk = scene.disk(&STATION)?;
    let mut machine = scene.power_on(&STATION, Boot::Bios, MEMORY_MIB, Some(disk.clone()))?;
    machine.serial.expect("thimble: agent .* connected to", FIRMWARE_AND_BOOT)?;
    let socket = host.path(Path::new(machine::files::SERVER_SOCKET));
    wait_for("the machine to be installed", ACTS_WITHIN, || {
        daemon.check()?;
        let state = action_state(&socket, "install", "write-image");
        ensure!(
            state != "FAILED" && state != "TIMEOUT",
            "the installation ended as {state}; see {}",
            machine.serial.log().display()
        );
        Ok((state == "SUCCESS").then_some(()))
    })?;
    let mut written = vec![0; SYSTEM_BYTES];
    File::open(&disk).and_then(|mut disk| disk.read_exact(&mut written)).context("cannot read the machine's disk")?;
    ensure!(written == system, "the disk does not have the system");
    drop(daemon);
    removed(&host)
}

/// The package of the programs that the lab has built.
fn package(scene: &Scene) -> Result<PathBuf> {
    let setup = &scene.setup;
    let programs = Programs { thimble: setup.thimble.clone(), init: setup.init.clone(), actions: setup.actions.clone() };
    let work = scene.place("package")?;
    let order =
        Order { programs: &programs, work: &work, version: "0.1.0+lab", epoch: 1_700_000_000, compression: &["-Zgzip", "-z1"] };
    package::pack(&workspace()?, &order, &scene.place("output")?)
}

/// The action comes from the provisioning host itself, because no registry runs here.
fn steps() -> Vec<Step> {
    let image = format!("{HTTP}/image2disk:v1");
    let step = Step::image("write-image", &image).volume("/dev:/dev");
    vec![step.environment("IMG_URL", &format!("http://{HTTP}/files/system.raw")).environment("DEST_DISK", "/dev/vda")]
}

/// Starts the daemons as `thimble.service` does: with its user and its rights.
fn up(host: &CleanHost, scene: &Scene) -> Result<Daemon> {
    let settings = format!(
        "address: {}\ninterface: {}\nrouter-advertisements: true\nkernel-args: console=ttyS0\n",
        segment::HOST,
        segment::BRIDGE
    );
    host.write("/etc/thimble/thimble.yaml", &settings)?;
    host.run(&["install", "-d", "-m", "0755", "-o", "thimble", "-g", "thimble", "/run/thimble"], QUICK)?;
    let mut up = host.command("setpriv");
    up.args(["--reuid=thimble", "--regid=thimble", "--clear-groups", "--no-new-privs"]);
    up.args([&format!("--inh-caps={RIGHTS}"), &format!("--ambient-caps={RIGHTS}"), &format!("--bounding-set={RIGHTS}")]);
    up.args(["/usr/bin/thimble", "up", "--config", "/etc/thimble/thimble.yaml"]);
    let mut daemon = Daemon::start(&mut up, &scene.folder.join("thimble.log"))?;
    wait_for("thimble up to be healthy", QUICK, || {
        daemon.check()?;
        Ok(http::get(HTTP, "/healthz").ok().filter(|answer| answer.status == 200))
    })?;
    Ok(daemon)
}

/// Without the package the program is gone, and the data is not, also after a purge.
fn removed(host: &CleanHost) -> Result<()> {
    host.run(&["dpkg", "--purge", "thimble"], QUICK)?;
    ensure!(!host.path(Path::new("/usr/bin/thimble")).exists(), "the program is still there");
    ensure!(host.path(Path::new(SYSTEM)).exists(), "the purge has removed data");
    ensure!(output(host.command("getent").args(["passwd", "thimble"])).is_err(), "the purge has left the user");
    Ok(())
}

/// A table with one Linux partition from 1 MiB to 3 MiB, and bytes that are easily told from others.
fn system() -> Vec<u8> {
    let mut system: Vec<u8> = (0..SYSTEM_BYTES).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    let mut table = [0; 512];
    table[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    system.splice(..512, table);
    system
}
