//! `cargo lab matrix`: machines of many parts, each with one boot, one pull, and one action that finds its disk by name,
//! writes to it and reads it back.

mod rows;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::board::Board;
use crate::kit::Kit;
use crate::machine::{Boot, Disk, Firmware, NicModel, Parts, blank_disk};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::prepare::Purpose;
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, Scene};
use crate::segment;
use crate::setup::Setup;
pub use rows::Form;
use rows::{Row, Start, rows};

const NAME: &str = "matrix";
const DISK_BYTES: u64 = 64 << 20;
/// Where the action writes: behind what a partition table or a label would use.
const PLACE: u64 = 8 << 20;
const PULLED: usize = 2 << 20;
const CLOUD_MIB: u32 = 128;
const METAL_MIB: u32 = 256;
/// OVMF itself needs more than the installation does.
const UEFI_MIB: u32 = 320;

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Every combination instead of every pair
    #[arg(long)]
    full: bool,
    /// Only rows with these words in their name
    filter: Option<String>,
    /// How many machines run at once
    #[arg(long, default_value_t = 2)]
    machines: usize,
    /// Use the programs and images of the last run as they are
    #[arg(long)]
    reuse: bool,
    /// Show the rows and run nothing
    #[arg(long)]
    list: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

impl Arguments {
    fn form(&self) -> Form {
        if self.full { Form::Full } else { Form::Pairs }
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        rows(arguments.form(), &NicModel::available()?).iter().for_each(|row| println!("{}", row.name()));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.inside {
        let scene = Scene::new(NAME)?;
        let failed = machines(&scene, arguments.form(), arguments.filter.as_deref(), arguments.machines)?;
        return Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let setup = Setup::obtain(Purpose::Test, arguments.reuse, &Board::new("== "))?;
    setup.run_folder(NAME)?;
    let count = arguments.machines.to_string();
    let mut words = vec!["--", "matrix", "--inside", "--machines", &count];
    words.extend(arguments.full.then_some("--full"));
    words.extend(arguments.filter.as_deref());
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every part of the matrix in one machine at least.
pub fn short(scene: &Scene) -> Result<()> {
    let failed = machines(scene, Form::Short, None, 2)?;
    ensure!(failed.is_empty(), "{} machines failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs the rows of one form and prints a line for each; what failed comes back.
fn machines(scene: &Scene, form: Form, filter: Option<&str>, parallel: usize) -> Result<Vec<String>> {
    let nics = NicModel::available()?;
    for absent in NicModel::ALL.iter().filter(|model| !nics.contains(model)) {
        println!("SKIP {}: this QEMU does not have it", absent.device());
    }
    let all = rows(form, &nics).into_iter().zip(1_u8..);
    let wanted = all.filter(|(row, _)| filter.is_none_or(|words| row.name().contains(words)));
    let (cloud, metal): (Vec<_>, Vec<_>) = wanted.partition(|(row, _)| row.is_cloud());
    ensure!(!cloud.is_empty() || !metal.is_empty(), "no row is called like {:?}", filter.unwrap_or_default());
    let registry = scene.registry()?;
    Image::busybox("echo hello", PULLED)?.push(registry.address(), NAME, "1")?;
    let start = Instant::now();
    let total = cloud.len() + metal.len();
    let mut failed = Vec::new();
    for (rows, name, kit) in [(cloud, "cloud", &scene.setup.cloud), (metal, "metal", &scene.setup.metal)] {
        if rows.is_empty() {
            continue;
        }
        let options = Options { kit: Some(kit.clone()), ..Options::default() };
        let provisioner = Provisioner::start(&scene.setup, &scene.place(name)?, options)?;
        let bench = Bench { scene, registry: &registry, provisioner: &provisioner, kit, name };
        failed.extend(bench.run_all(rows, parallel));
    }
    let took = start.elapsed().as_secs();
    println!("{} of {total} machines did their work, in {took} s", total - failed.len());
    Ok(failed)
}

struct Bench<'a> {
    scene: &'a Scene,
    registry: &'a Registry,
    provisioner: &'a Provisioner,
    kit: &'a Kit,
    name: &'a str,
}

impl Bench<'_> {
    /// Runs a few at a time and returns the names of those that failed.
    fn run_all(&self, rows: Vec<(Row, u8)>, parallel: usize) -> Vec<String> {
        let queue = Mutex::new(rows.into_iter());
        let failed = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..parallel.max(1) {
                scope.spawn(|| {
                    while let Some((row, number)) = next() {
                        let start = Instant::now();
                        let outcome = self.run_one(&row, number);
                        let took = start.elapsed().as_secs_f64();
                        let name = format!("{} ({})", row.name(), self.name);
                        match outcome {
                            Ok(()) => println!("ok   {took:>6.1} s  {name}"),
                            Err(error) => {
                                println!("FAIL {took:>6.1} s  {name}: {error:#}");
                                failed.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                            }
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_one(&self, row: &Row, number: u8) -> Result<()> {
        let station = Station { number };
        let name = station.name();
        let serial = format!("TMB{number:03}");
        let disk = Disk { model: row.disk, file: self.scene.place(&name)?.join("disk.raw"), serial };
        blank_disk(&disk.file, DISK_BYTES)?;
        self.provisioner.apply(&station.hardware())?;
        let mark = format!("written by {}", station.mac());
        let step = Step::image("disk", &self.registry.reference(&format!("{NAME}:1"))).shell(&script(&disk, &mark));
        self.provisioner.apply(&workflow(&name, &station, &[step]))?;
        let nic = self.scene.nic(&station, 0, row.nic)?;
        let boot = self.boot(row, &station)?;
        let file = disk.file.clone();
        let parts = Parts { disks: vec![disk], ..Parts::new(boot, self.memory(row), vec![nic]) };
        let mut machine = self.scene.start(&station, &parts)?;
        machine.serial.expect("action disk: (running|pulling)|FATAL|Kernel panic", BOOTS_WITHIN)?;
        let ended = self.provisioner.wait_ended(&name, BOOTS_WITHIN)?;
        if ended.state() != "SUCCESS" {
            bail!("ended as {}: {}; console:\n{}", ended.state(), ended.message("disk"), machine.serial.last_lines());
        }
        drop(machine);
        holds(&file, &mark)
    }

    fn memory(&self, row: &Row) -> u32 {
        match (row.firmware, row.is_cloud()) {
            (Firmware::Ovmf | Firmware::OvmfSecure, _) => UEFI_MIB,
            (Firmware::SeaBios, true) => CLOUD_MIB,
            (Firmware::SeaBios, false) => METAL_MIB,
        }
    }

    fn boot(&self, row: &Row, station: &Station) -> Result<Boot> {
        Ok(match (row.start, row.firmware) {
            (Start::Network, Firmware::SeaBios) => Boot::Bios,
            (Start::Network, Firmware::Ovmf | Firmware::OvmfSecure) => Boot::Uefi,
            (Start::Direct, firmware) => Boot::Direct {
                firmware,
                kernel: self.kit.kernel.clone(),
                initrd: self.kit.initrd.clone(),
                arguments: self.provisioner.kernel_arguments(&station.mac())?,
            },
        })
    }
}

/// Waits for the disk's name, since a USB disk comes late; writes, reads back past the cache, and shows all names.
fn script(disk: &Disk, mark: &str) -> String {
    let (name, block) = (disk.model.by_id(&disk.serial), PLACE / 4096);
    format!(
        "disk=/dev/disk/by-id/{name}; tries=0
until [ -b $disk ]; do
  tries=$((tries + 1)); [ $tries -lt 150 ] || {{ echo no $disk, only:; busybox ls -l /dev/disk/by-id; exit 3; }}
  sleep 0.1
done
set -e
busybox ls /dev/disk/by-id
echo {mark} > /text
dd if=/text of=$disk bs=4096 seek={block} conv=notrunc,fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
read -r back < /text
[ \"$(dd if=$disk bs=4096 skip={block} count=1 2>/dev/null | tr -d '\\0')\" = \"$back\" ]
echo DISK OK"
    )
}

/// The file behind the disk has what the action wrote.
fn holds(disk: &Path, mark: &str) -> Result<()> {
    let mut found = vec![0; mark.len()];
    let file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    file.read_exact_at(&mut found, PLACE).context("cannot read the disk's file")?;
    ensure!(found == mark.as_bytes(), "the disk holds {:?}", String::from_utf8_lossy(&found));
    Ok(())
}
