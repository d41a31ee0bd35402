//! `thimble up` for a storm: with stand-ins for its files, killed and started again, and measured.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::paths::APPLY;
use machine::ports;

use super::course::{Blow, Served};
use super::{Arguments, MIB, site};
use crate::command::{Daemon, wait_for};
use crate::{http, segment};

pub const HTTP: SocketAddr = SocketAddr::V4(SocketAddrV4::new(site::HOST, ports::HTTP));
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How many machines one apply has.
const BATCH: usize = 250;
/// Below the host's folder. Its whole path may be longer than that of a socket can be.
const SOCKET: &str = "api.sock";
/// What the firmware of the machines loads.
const PROGRAMS: [&str; 2] = ["undionly.kpxe", "ipxe.efi"];
/// The kernel counts processor time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the daemon has used, over all its processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    pub cpu_seconds: f64,
    pub peak_mib: f64,
}

impl Load {
    /// The peak stays that of the whole life, because the kernel counts no other.
    pub fn since(&self, before: &Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - before.cpu_seconds, peak_mib: self.peak_mib }
    }

    fn read(status: &str, stat: &str) -> Option<Self> {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: f64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
        let fields = stat.rsplit_once(") ")?.1.split(' ');
        let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Some(Self { cpu_seconds: ticks / TICKS_PER_SECOND, peak_mib: kilobytes * 1024.0 / MIB })
    }

    /// Nothing if it does not run.
    pub fn of(daemon: Option<&Daemon>) -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", daemon?.id())).ok();
        let load = || Self::read(&read("status")?, &read("stat")?);
        load().unwrap_or_default()
    }

    pub fn and(self, other: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds + other.cpu_seconds, peak_mib: self.peak_mib.max(other.peak_mib) }
    }
}

pub struct Host {
    thimble: PathBuf,
    folder: PathBuf,
    daemon: Option<Daemon>,
    /// Of processes that were killed.
    before: Load,
    /// How long each start took until it was healthy.
    pub starts: Vec<Duration>,
}

impl Host {
    /// Writes the files that it will serve.
    pub fn prepare(thimble: &Path, folder: &Path, arguments: &Arguments) -> Result<Self> {
        let folder = folder.join("thimble");
        stand_ins(&folder, arguments)?;
        Ok(Self { thimble: thimble.to_owned(), folder, daemon: None, before: Load::default(), starts: Vec::new() })
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// Starts it (again) with the same data and waits until it is healthy.
    pub fn up(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut command = Command::new(&self.thimble);
        command.arg("up").current_dir(&self.folder).arg("--socket").arg(Path::new(".").join(SOCKET));
        for (flag, folder) in [("--data", "data"), ("--files", "files"), ("--nbp", "nbp")] {
            command.arg(flag).arg(self.folder.join(folder));
        }
        command.args(["--address", &site::HOST.to_string(), "--interface", segment::BRIDGE]);
        command.args(["--kernel", "vmlinuz", "--initrd", "initramfs.cpio.zst"]);
        let mut daemon = Daemon::start(&mut command, &self.folder.join("thimble.log"))?;
        wait_for("thimble up to be healthy", STARTS_WITHIN, || {
            daemon.check()?;
            Ok(http::get(HTTP, "/healthz").ok().filter(|response| response.status == 200))
        })?;
        self.starts.push(began.elapsed());
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Sends SIGKILL, so it has no time to shut down.
    pub fn kill(&mut self) {
        self.before = self.load();
        self.daemon = None; // its end is part of the drop
    }

    pub fn load(&self) -> Load {
        self.before.and(Load::of(self.daemon.as_ref()))
    }
}

impl Served for Host {
    fn strike(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::KillServer => self.kill(),
            Blow::StartServer => self.up()?,
            other => bail!("{other:?} is for a site: give --hosts"),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::check)
    }
}

/// The files that a boots serves: `files` and `nbp` below the folder.
pub fn stand_ins(folder: &Path, arguments: &Arguments) -> Result<()> {
    let write = |path: PathBuf, bytes: usize| {
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, vec![7; bytes]).with_context(|| format!("cannot write {}", path.display()))
    };
    write(folder.join("files/vmlinuz"), arguments.kernel)?;
    write(folder.join("files/initramfs.cpio.zst"), arguments.ramdisk)?;
    PROGRAMS.iter().try_for_each(|name| write(folder.join("nbp").join(name), arguments.nbp))
}

/// Creates the Template, and Hardware and Workflow of each machine.
pub fn fill(socket: &Path, machines: u32, image: &str) -> Result<()> {
    apply(socket, &site::template(image))?;
    let numbers: Vec<u32> = (0..machines).collect();
    for batch in numbers.chunks(BATCH) {
        apply(socket, &batch.iter().map(|number| site::objects(*number)).collect::<String>())?;
    }
    Ok(())
}

fn apply(socket: &Path, yaml: &str) -> Result<()> {
    let headers = [("Content-Type", "application/yaml")];
    let answer = http::request(socket, "POST", APPLY, &headers, yaml.as_bytes())?;
    ensure!(answer.status == 200, "the server refused the objects ({}): {}", answer.status, answer.text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_the_kernel_counts() {
        let status = "Name:\tthimble\nVmPeak:\t  9 kB\nVmHWM:\t  2048 kB\n";
        let stat = "7 (a thimble) S 1 7 7 0 -1 4 1 1 1 1 250 50 0 0 20 0 3 0";
        let load = Load::read(status, stat).unwrap();
        assert_eq!(load, Load { cpu_seconds: 3.0, peak_mib: 2.0 });
        assert_eq!(Load::read("", stat), None);
        let both = load.and(Load { cpu_seconds: 1.0, peak_mib: 1.0 });
        assert_eq!((both.cpu_seconds, both.peak_mib), (4.0, 2.0));
        assert_eq!(both.since(&load).cpu_seconds, 1.0);
    }
}
