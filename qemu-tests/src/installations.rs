//! Whole installations: a machine with empty disks installs Debian by the steps of its row and boots it. The installed system
//! then checks itself. `cargo lab matrix` runs all rows.

mod archive;
mod boot_partition;
mod check;
mod container;
mod images;
mod layers;
mod loaders;
mod metadata;
mod receiver;
mod row;
mod sectors;
mod small;
mod steps;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::board::Board;
use crate::command::wait_for;
use crate::disk_image::layered;
use crate::kit::{Kit, Recipe};
use crate::machine::{Boot, Disk, NicModel, Parts, Vm, blank_disk};
use crate::many;
use crate::objects::{Station, workflow};
use crate::provisioner::{Options, Provisioner, Workflow};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, Scene};
use crate::tpm::Tpm;
use row::{Archive, Ending, Row, Start};
use steps::Site;

/// The numbers of their machines begin after those of the other rows of the matrix.
const FIRST_STATION: u8 = 100;
const INSTALLS_WITHIN: Duration = Duration::from_secs(20 * 60);
const RESETS_WITHIN: Duration = Duration::from_secs(60);

/// Every installation. The first one is the short form.
fn rows() -> Vec<Row> {
    let others = [
        boot_partition::rows(),
        container::rows(),
        loaders::rows(),
        images::rows(),
        layers::rows(),
        sectors::rows(),
        metadata::rows(),
        small::rows(),
    ];
    archive::rows().into_iter().chain(others.into_iter().flatten()).collect()
}

pub fn names() -> Vec<String> {
    rows().iter().map(|row| row.name.to_owned()).collect()
}

/// The first row, which most sites would recognise.
pub fn short(scene: &Scene) -> Result<()> {
    let first = rows().into_iter().take(1).zip(FIRST_STATION..).collect();
    let failed = run_all(scene, &scene.registry()?, first, 1)?;
    ensure!(failed.is_empty(), "the installation failed: {}", failed.join("\n"));
    Ok(())
}

/// Makes what the short form needs.
pub fn prepare_short(lab: &Path, board: &Board) -> Result<()> {
    let first: Vec<Row> = rows().into_iter().take(1).collect();
    board.job("packages of tools", |job| tools::download(lab, &first, job))
}

/// Makes what the rows with these words in their names need and the suite does not.
pub fn prepare(lab: &Path, filter: Option<&str>, board: &Board) -> Result<()> {
    let rows: Vec<Row> = rows().into_iter().filter(|row| filter.is_none_or(|words| row.name.contains(words))).collect();
    if rows.iter().any(|row| !row.tools.is_empty()) {
        board.job("packages of tools", |job| tools::download(lab, &rows, job))?;
    }
    if rows.iter().any(|row| row.archive == Archive::Layered) {
        board.job("layered Debian system", |job| layered::make(lab, job))?;
    }
    Ok(())
}

/// Runs the rows with these words in their names, and prints a line for each. Returns the failed ones and how many ran.
pub fn machines(scene: &Scene, registry: &Registry, filter: Option<&str>, parallel: usize) -> Result<(Vec<String>, usize)> {
    let all = rows().into_iter().zip(FIRST_STATION..);
    let wanted: Vec<_> = all.filter(|(row, _)| filter.is_none_or(|words| row.name.contains(words))).collect();
    let count = wanted.len();
    Ok((run_all(scene, registry, wanted, parallel)?, count))
}

fn run_all(scene: &Scene, registry: &Registry, rows: Vec<(Row, u8)>, parallel: usize) -> Result<Vec<String>> {
    if !rows.is_empty() {
        scene.push_actions(registry)?;
    }
    let sets: BTreeSet<_> = rows.iter().map(|(row, _)| row.tools).filter(|packages| !packages.is_empty()).collect();
    for packages in sets {
        tools::push(scene, registry, packages)?;
    }
    let mut kits: BTreeMap<&[&str], Vec<(Row, u8)>> = BTreeMap::new();
    for (row, number) in rows {
        kits.entry(row.drivers).or_default().push((row, number));
    }
    let mut failed = Vec::new();
    for (drivers, rows) in kits {
        let kit = kit(scene, drivers)?;
        let options = Options { kit: Some(kit.clone()), ..Options::default() };
        let folder = scene.place(&["installations", &drivers.join("-")].join("-"))?;
        let provisioner = Provisioner::start(&scene.setup, &folder, options)?;
        let bench = Bench { scene, registry, provisioner: &provisioner, kit: &kit };
        let title = |(row, _): &(Row, u8)| row.name.to_owned();
        failed.extend(many::side_by_side(rows, parallel, title, |(row, number)| bench.run_one(row, *number)));
    }
    Ok(failed)
}

/// The cloud kit, or one with further families of drivers, which is built here once.
fn kit(scene: &Scene, drivers: &[&str]) -> Result<Kit> {
    if drivers.is_empty() {
        return Ok(scene.setup.cloud.clone());
    }
    let words: Vec<&str> = drivers.iter().flat_map(|family| ["--with", *family]).collect();
    let folder = scene.setup.lab.join(format!("cloud-{}", drivers.join("-")));
    let setup = &scene.setup;
    Kit::build(&folder, &Recipe { thimble: &setup.thimble, init: &setup.init, kernel_deb: &setup.kernel_deb, words: &words })
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
        let disks = self.disks(row, &station)?;
        self.provisioner.apply(&row.hardware(&station))?;
        let site = Site { scene: self.scene, registry: self.registry, provisioner: self.provisioner, row };
        let steps = (row.steps)(&site).context("cannot prepare the steps")?;
        self.provisioner.apply(&workflow(&name, &station, &steps))?;
        let nic = self.scene.nic(&station, 0, NicModel::Virtio)?;
        // Before the disk, OVMF would wait for an offer by IPv6.
        let ovmf = vec!["IPv6PXESupport,string=no"];
        let mut parts = Parts { disks, ovmf, ..Parts::new(self.boot(row, &station)?, row.memory_mib, vec![nic]) };
        let new_tpm = || Tpm::start(self.scene.place(&name)?.join("swtpm.log"));
        let mut tpm = row.other_tpm.map(|_| new_tpm()).transpose()?;
        parts.tpm = tpm.as_ref().map(Tpm::socket);
        let start = Instant::now();
        let mut machine = self.scene.start(&station, &parts)?;
        machine.serial.expect("thimble: agent .* connected to|FATAL|Kernel panic", BOOTS_WITHIN)?;
        if let Some(boot) = row.restarts() {
            machine.hold_at_reset()?;
            let installed = self.installed(&name, &machine)?;
            machine.wait_held(RESETS_WITHIN)?;
            drop(machine); // it holds its disks
            tpm = tpm.map(Tpm::restart).transpose()?;
            let disks = parts.disks.iter().enumerate().filter(|(index, _)| row.boots_from(*index));
            parts.disks = disks.map(|(_, disk)| disk.clone()).collect();
            parts.boot = boot;
            machine = self.scene.start(&station, &parts)?;
            say(row, &installed, start.elapsed());
        } else {
            say(row, &self.installed(&name, &machine)?, start.elapsed());
        }
        let begins = machine.serial.skip_to_end();
        (row.console)(&mut machine)?;
        check::run(&mut machine, &row.facts)?;
        if row.ending == Ending::Kexec {
            let firmware = machine.serial.last_match("SeaBIOS|iPXE|GRUB|BdsDxe", begins)?;
            ensure!(firmware.is_none(), "the machine went through its firmware after kexec");
        }
        let Some(operator) = row.other_tpm else { return Ok(()) };
        drop((machine, tpm));
        let other = new_tpm()?;
        parts.tpm = Some(other.socket());
        let mut machine = self.scene.start(&station, &parts)?;
        operator(&mut machine).context("with another TPM")?;
        check::run(&mut machine, &row.facts).context("with another TPM")
    }

    fn disks(&self, row: &Row, station: &Station) -> Result<Vec<Disk>> {
        let folder = self.scene.place(&station.name())?;
        let disk = |(index, blank): (usize, &row::Blank)| {
            let serial = format!("INST{}D{index}", station.number);
            let disk = Disk { sector: blank.sector, ..Disk::new(blank.model, folder.join(format!("{index}.raw")), &serial) };
            blank_disk(&disk.file, blank.bytes)?;
            Ok(disk)
        };
        row.disks.iter().enumerate().map(disk).collect()
    }

    fn boot(&self, row: &Row, station: &Station) -> Result<Boot> {
        Ok(match row.start {
            Start::NetworkBios => Boot::Bios,
            Start::NetworkUefi => Boot::Uefi,
            Start::Direct(firmware) => Boot::Direct {
                firmware,
                kernel: self.kit.kernel.clone(),
                initrd: self.kit.initrd.clone(),
                arguments: self.provisioner.kernel_arguments(&station.mac())?,
            }
            .with_arguments(&row.linux_mib.map(|mib| format!("mem={mib}M")).unwrap_or_default()),
        })
    }

    /// Waits for the workflow's success.
    fn installed(&self, name: &str, machine: &Vm) -> Result<Workflow> {
        let ended = wait_for(&format!("the installation of {name}"), INSTALLS_WITHIN, || {
            let fatal = machine.serial.all("FATAL|Kernel panic")?;
            ensure!(fatal.is_empty(), "the console says: {}", fatal.iter().map(|line| line.text.as_str()).collect::<String>());
            let workflow = self.provisioner.workflow(name)?;
            Ok(["SUCCESS", "FAILED", "TIMEOUT"].contains(&workflow.state()).then_some(workflow))
        })
        .with_context(|| format!("last lines of the console:\n{}", machine.serial.last_lines()))?;
        if ended.state() != "SUCCESS" {
            let log = machine.serial.log().display();
            bail!("ended as {}: {}; console, {log}:\n{}", ended.state(), ended.failure(), machine.serial.last_lines());
        }
        Ok(ended)
    }
}

fn say(row: &Row, installed: &Workflow, took: Duration) {
    println!("       {}: installed after {:.0} s: {}", row.name, took.as_secs_f64(), installed.durations());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_rows_differ_and_each_has_a_machine() {
        let mut names = names();
        assert!(names.len() <= usize::from(u8::MAX - FIRST_STATION) && names.len() < 56, "addresses end at 254");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rows().len());
    }

    #[test]
    fn every_row_has_a_disk_to_boot_from_and_checks_its_root() {
        for row in rows() {
            assert!((0..row.disks.len()).any(|index| row.boots_from(index)), "{}", row.name);
            assert!(row.facts.iter().any(|fact| fact.name == "root"), "{}", row.name);
        }
    }
}
