//! `cargo lab package --try`: the package on a Debian in a virtual machine, with systemd and without cargo. The machine makes
//! a ramdisk, starts the service, and installs a second machine, which boots from it over the segment.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::board::Board;
use crate::command::{self, output};
use crate::disk_image::layout;
use crate::machine::{Boot, Disk, Firmware, NicModel, Parts, Vm};
use crate::objects::Station;
use crate::prepare::Purpose;
use crate::scene::{MEMORY_MIB, Scene};
use crate::segment;
use crate::setup::Setup;

const NAME: &str = "package";
const SCRIPT: &str = include_str!("../../images/host.sh");
const UNIT: &str = "[Unit]
Description=An operator
After=network.target systemd-networkd.service

[Service]
Type=exec
ExecStart=/bin/sh /root/host.sh
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
";
/// The host is the second station, and the machine that it installs is the first one.
const MACHINE: Station = Station { number: 1 };
const HOST: Station = Station { number: 2 };
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const HOST_MIB: u32 = 1024;
/// For the package, the kernel package, the ramdisk and the image to install.
const ROOT_BYTES: u64 = 2 << 30;
/// All limits are for an emulated processor on a busy machine.
const PREPARED_WITHIN: Duration = Duration::from_secs(40 * 60);
const STEP_WITHIN: Duration = Duration::from_secs(20 * 60);

pub fn outside(package: &Path, reuse: bool) -> Result<()> {
    let start = Instant::now();
    let setup = Setup::obtain(Purpose::Demo, reuse, &Board::new("== "))?;
    let folder = setup.run_folder(NAME)?;
    let package = package.canonicalize().with_context(|| format!("cannot find {}", package.display()))?;
    let words = ["--", "package", "--inside", &package.display().to_string()];
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    ensure!(status.success(), "the package did not prove itself; the logs are in {}", folder.display());
    println!("the trial took {:.1} min", start.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// Inside the segment.
pub fn inside(package: &Path) -> Result<()> {
    let scene = Scene::new(NAME)?;
    let mut host = power_on(&scene, package)?;
    host.serial.expect("lab: ready", PREPARED_WITHIN)?;
    let disk = scene.disk(&MACHINE)?;
    let mut machine = scene.power_on(&MACHINE, Boot::Bios, MEMORY_MIB, Some(disk))?;
    for milestone in ["thimble: agent .* connected to", "action write-image: SUCCESS", "announced to .* is up"] {
        let line = machine.serial.expect(milestone, STEP_WITHIN).context("the second machine")?;
        println!("{:>7.1} s  machine: {}", (line.at - host.started).as_secs_f64(), line.text.trim());
    }
    host.serial.expect("lab: .* all is done", STEP_WITHIN)?;
    for line in host.serial.all("lab: ")? {
        println!("{:>7.1} s  host: {}", (line.at - host.started).as_secs_f64(), line.text.trim());
    }
    let exposure = host.serial.all("Overall exposure level")?;
    ensure!(!exposure.is_empty(), "systemd did not rate the unit");
    Ok(())
}

/// A Debian whose operator is a script.
fn power_on(scene: &Scene, package: &Path) -> Result<Vm> {
    let folder = scene.place(&HOST.name())?;
    let system = System { folder: &folder, root: folder.join("root.ext4"), log: folder.join("system.log") };
    system.take(&scene.setup.disk)?;
    let names = system.kernel()?;
    system.write(scene, package, &names)?;
    let arguments = "root=LABEL=debian-root ro console=ttyS0 quiet systemd.mask=serial-getty@ttyS0.service".to_owned();
    let (kernel, initrd) = (folder.join("kernel"), folder.join("initrd"));
    let boot = Boot::Direct { firmware: Firmware::SeaBios, kernel, initrd, arguments };
    let nic = scene.nic(&HOST, 0, NicModel::Virtio)?;
    let disks = vec![Disk::virtio(&system.root)];
    scene.start(&HOST, &Parts { disks, ..Parts::new(boot, HOST_MIB, vec![nic]) })
}

/// The root file system of the host, changed with debugfs, so without root and without a mount.
struct System<'a> {
    folder: &'a Path,
    root: PathBuf,
    log: PathBuf,
}

impl System<'_> {
    /// The root file system of the lab's Debian, made larger.
    fn take(&self, disk: &Path) -> Result<()> {
        let (offset, bytes) = (layout::ROOT.offset(), layout::ROOT.bytes());
        let mut copy = Command::new("dd");
        copy.args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"]);
        copy.arg(format!("if={}", disk.display())).arg(format!("of={}", self.root.display()));
        self.run(copy.arg(format!("skip={offset}")).arg(format!("count={bytes}")))?;
        let grow = File::options().write(true).open(&self.root).and_then(|file| file.set_len(ROOT_BYTES));
        grow.with_context(|| format!("cannot enlarge {}", self.root.display()))?;
        self.run(Command::new("/sbin/e2fsck").arg("-fp").arg(&self.root))?;
        self.run(Command::new("/sbin/resize2fs").arg(&self.root))
    }

    /// The names of its kernel and initrd.
    fn kernel(&self) -> Result<[String; 2]> {
        let listing = output(Command::new("/sbin/debugfs").args(["-R", "ls -p /boot"]).arg(&self.root))?;
        let name = |start: &str| {
            let found = listing.split('/').find(|word| word.starts_with(start));
            found.map(str::to_owned).with_context(|| format!("the lab's Debian has no {start}: {listing}"))
        };
        Ok([name("vmlinuz-")?, name("initrd.img-")?])
    }

    fn write(&self, scene: &Scene, package: &Path, [kernel, initrd]: &[String; 2]) -> Result<()> {
        let address = ADDRESS.to_string();
        let objects = format!("{}---\n{}", MACHINE.hardware(), MACHINE.install());
        // The first machine gets everything from this host, and its images without a registry.
        let objects = objects.replace("10.77.0.1:5000", &format!("{address}:7080")).replace("10.77.0.1:", &format!("{address}:"));
        let objects = objects.replace("[10.77.0.1]", &format!("[{address}]")).replace("to 10.77.0.1", &format!("to {address}"));
        let network =
            format!("[Match]\nType=ether\n\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n");
        let files = [
            ("host.sh", SCRIPT.replace("ADDRESS", &address), "/root/host.sh"),
            ("site.yaml", objects, "/root/site.yaml"),
            ("operator.service", UNIT.to_owned(), "/etc/systemd/system/operator.service"),
            ("10-host.network", network, "/etc/systemd/network/10-host.network"),
        ];
        let mut orders = format!("dump /boot/{kernel} kernel\ndump /boot/{initrd} initrd\n");
        for (name, text, place) in &files {
            fs::write(self.folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
            orders += &format!("write {name} {place}\n");
        }
        let large =
            [("thimble.deb", package), ("linux-image.deb", &scene.setup.kernel_deb), ("debian.raw.zst", &scene.setup.disk_zst)];
        for (name, path) in large {
            fs::hard_link(path, self.folder.join(name)).or_else(|_| fs::copy(path, self.folder.join(name)).map(drop))?;
            orders += &format!("write {name} /root/{name}\n");
        }
        orders += "symlink /etc/systemd/system/multi-user.target.wants/operator.service /etc/systemd/system/operator.service\n";
        fs::write(self.folder.join("orders"), orders).context("cannot write the orders for debugfs")?;
        let mut debugfs = Command::new("/sbin/debugfs");
        self.run(debugfs.args(["-w", "-f", "orders"]).arg(&self.root).current_dir(self.folder))?;
        for (name, ..) in large {
            let found = output(Command::new("/sbin/debugfs").args(["-R", &format!("stat /root/{name}")]).arg(&self.root))?;
            ensure!(found.contains("Type: regular"), "debugfs has not written {name}; see {}", self.log.display());
        }
        Ok(())
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        command::run(command, &self.log, Duration::from_secs(300))
    }
}
