//! `cargo lab matrix`: machines of many parts. Each does one boot, one pull, and one action that finds its disk by name,
//! writes to it and reads it back. Then come whole installations.

mod rows;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::board::Board;
use crate::installations;
use crate::kit::Kit;
use crate::machine::{Boot, Disk, Firmware, NicModel, Parts, blank_disk};
use crate::many::{self, Arguments};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, Scene};
use crate::setup::Setup;
pub use rows::Form;
use rows::{Row, Start, rows};

const NAME: &str = "matrix";
const DISK_BYTES: u64 = 64 << 20;
/// Where the action writes: after everything that a partition table or a label uses.
const PLACE: u64 = 8 << 20;
const PULLED: usize = 2 << 20;
const CLOUD_MIB: u32 = 128;
const METAL_MIB: u32 = 256;
/// OVMF needs more memory than the installation.
const UEFI_MIB: u32 = 320;

fn form(arguments: &Arguments) -> Form {
    if arguments.full { Form::Full } else { Form::Pairs }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let machines = || Ok::<Vec<_>, Error>(rows(form(arguments), &NicModel::available()?).iter().map(Row::name).collect());
    let names = || Ok([machines()?, installations::names()].concat());
    let prepare = |setup: &Setup, board: &Board| installations::prepare(&setup.lab, arguments.filter.as_deref(), board);
    many::run_prepared(NAME, arguments, names, prepare, |scene| everything(scene, arguments))
}

fn everything(scene: &Scene, arguments: &Arguments) -> Result<Vec<String>> {
    let (filter, parallel) = (arguments.filter.as_deref(), arguments.machines);
    let registry = scene.registry()?;
    let (mut failed, machines) = machines(scene, &registry, form(arguments), filter, parallel)?;
    let (more, installed) = installations::machines(scene, &registry, filter, parallel)?;
    ensure!(machines + installed > 0, "no row has {:?} in its name", filter.unwrap_or_default());
    failed.extend(more);
    Ok(failed)
}

/// Every part of the matrix in at least one machine.
pub fn short(scene: &Scene) -> Result<()> {
    let (failed, _) = machines(scene, &scene.registry()?, Form::Short, None, 2)?;
    ensure!(failed.is_empty(), "{} machines failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs the rows of one form and prints a line for each. Returns the failed ones and how many ran.
fn machines(
    scene: &Scene,
    registry: &Registry,
    form: Form,
    filter: Option<&str>,
    parallel: usize,
) -> Result<(Vec<String>, usize)> {
    let nics = NicModel::available()?;
    for absent in NicModel::ALL.iter().filter(|model| !nics.contains(model)) {
        println!("SKIP {}: this QEMU does not have it", absent.device());
    }
    let all = rows(form, &nics).into_iter().zip(1_u8..);
    let wanted = all.filter(|(row, _)| filter.is_none_or(|words| row.name().contains(words)));
    let (cloud, metal): (Vec<_>, Vec<_>) = wanted.partition(|(row, _)| row.is_cloud());
    let total = cloud.len() + metal.len();
    if total == 0 {
        return Ok((Vec::new(), 0));
    }
    Image::busybox("echo hello", PULLED)?.push(registry.address(), NAME, "1")?;
    let start = Instant::now();
    let mut failed = Vec::new();
    for (rows, name, kit) in [(cloud, "cloud", &scene.setup.cloud), (metal, "metal", &scene.setup.metal)] {
        if rows.is_empty() {
            continue;
        }
        let options = Options { kit: Some(kit.clone()), ..Options::default() };
        let provisioner = Provisioner::start(&scene.setup, &scene.place(name)?, options)?;
        let bench = Bench { scene, registry, provisioner: &provisioner, kit };
        let title = |(row, _): &(Row, u8)| format!("{} ({name})", row.name());
        failed.extend(many::side_by_side(rows, parallel, title, |(row, number)| bench.run_one(row, *number)));
    }
    let took = start.elapsed().as_secs();
    println!("{} of {total} machines did their work, in {took} s", total - failed.len());
    Ok((failed, total))
}

struct Bench<'a> {
    scene: &'a Scene,
    registry: &'a Registry,
    provisioner: &'a Provisioner,
    kit: &'a Kit,
}

impl Bench<'_> {
    fn run_one(&self, row: &Row, number: u8) -> Result<()> {
        let station = Station { number };
        let name = station.name();
        let serial = format!("TMB{number:03}");
        let disk = Disk::new(row.disk, self.scene.place(&name)?.join("disk.raw"), &serial);
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

/// Waits for the disk's name, because a USB disk appears late. Then writes, reads back without the cache, and shows all
/// names.
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

/// Checks that the file behind the disk has what the action wrote.
fn holds(disk: &Path, mark: &str) -> Result<()> {
    let mut found = vec![0; mark.len()];
    let file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    file.read_exact_at(&mut found, PLACE).context("cannot read the disk's file")?;
    ensure!(found == mark.as_bytes(), "the disk holds {:?}", String::from_utf8_lossy(&found));
    Ok(())
}
