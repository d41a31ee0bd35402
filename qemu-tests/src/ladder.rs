//! `cargo lab ladder`: the same work in less and less memory, until it no longer fits.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::board::Board;
use crate::kit::Kit;
use crate::machine::{Boot, Firmware, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::prepare::Purpose;
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::{BOOTS_WITHIN, Scene};
use crate::segment;
use crate::setup::Setup;

const NAME: &str = "ladder";
/// The padding of the image beside busybox, for the size of an ordinary action.
const PULLED: usize = 4 << 20;
const GLANCE: Duration = Duration::from_millis(500);

/// The kernel, the rungs in MiB from the top, and the lowest one that must work.
const LADDERS: &[(&str, &[u32], u32)] = &[("cloud", &[128, 112, 96, 88], 96), ("metal", &[192, 160, 144, 128, 112], 128)];

/// How far a machine gets, according to its console.
const STAGES: &[(&str, &str)] = &[
    ("the kernel", "Linux version|Command line:"),
    ("/init", r"thimble: init \S+ started"),
    ("the network", "thimble: network "),
    ("the server", r"thimble: agent \S+ connected to"),
    ("the pull", r"action rung: pulling"),
    ("the action", r"action rung: running"),
];
const DEAD: &str = "Kernel panic|thimble: .*FATAL|deadlocked on memory|action rung: (FAILED|TIMEOUT)";

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Use the programs and images of the last run unchanged
    #[arg(long)]
    reuse: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

/// The result of one rung.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rung {
    /// It works. The value is the lowest available memory in kB.
    Works(Option<u64>),
    /// It fails. The text says where, and the console's last line.
    Died(String),
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.inside {
        let failed = climb(&Scene::new(NAME)?, |_, _| true)?;
        return Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let setup = Setup::obtain(Purpose::Test, arguments.reuse, &Board::new("== "))?;
    setup.run_folder(NAME)?;
    let status = segment::command(&["--", "ladder", "--inside"])?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks the lowest rungs that must work.
pub fn promised(scene: &Scene) -> Result<()> {
    let failed = climb(scene, |mib, promised| mib == promised)?;
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Prints a line for each wanted rung. Returns those that must work and do not.
fn climb(scene: &Scene, wanted: fn(u32, u32) -> bool) -> Result<Vec<String>> {
    let registry = scene.registry()?;
    Image::busybox("echo hello", PULLED)?.push(registry.address(), NAME, "1")?;
    println!("{:<8}{:>6}  {:>16}  {:>18}", "kernel", "MiB", "", "least available");
    let mut failed = Vec::new();
    let mut numbers = 1_u8..;
    for (name, rungs, promised) in LADDERS {
        let kit = if *name == "cloud" { &scene.setup.cloud } else { &scene.setup.metal };
        let options = Options { kit: Some(kit.clone()), ..Options::default() };
        let provisioner = Provisioner::start(&scene.setup, &scene.place(name)?, options)?;
        for mib in rungs.iter().filter(|mib| wanted(**mib, *promised)) {
            let station = Station { number: numbers.next().context("too many rungs")? };
            match rung(scene, &provisioner, &registry, kit, &station, *mib)? {
                Rung::Works(low) => {
                    let low = low.map_or("not said".to_owned(), |kilobytes| format!("{kilobytes} kB"));
                    println!("{name:<8}{mib:>6}  {:>16}  {low:>18}", "works");
                }
                Rung::Died(place) => {
                    println!("{name:<8}{mib:>6}  {:>16}  {place}", "died");
                    if mib >= promised {
                        failed.push(format!("{name} with {mib} MiB died {place}"));
                    }
                }
            }
        }
    }
    Ok(failed)
}

fn rung(scene: &Scene, provisioner: &Provisioner, registry: &Registry, kit: &Kit, station: &Station, mib: u32) -> Result<Rung> {
    provisioner.apply(&station.hardware())?;
    let image = Step::image("rung", &registry.reference(&format!("{NAME}:1")));
    let step = image.shell("cat /padding | busybox sha256sum; echo DONE");
    provisioner.apply(&workflow(&station.name(), station, &[step]))?;
    let boot = Boot::Direct {
        firmware: Firmware::SeaBios,
        kernel: kit.kernel.clone(),
        initrd: kit.initrd.clone(),
        arguments: provisioner.kernel_arguments(&station.mac())?,
    };
    let nic = scene.nic(station, 0, NicModel::Virtio)?;
    let mut machine = scene.start(station, &Parts::new(boot, mib, vec![nic]))?;
    let deadline = Instant::now() + BOOTS_WITHIN;
    loop {
        if machine.serial.expect("agent memory: VmHWM", GLANCE).is_ok() {
            let ended = provisioner.wait_ended(&station.name(), BOOTS_WITHIN)?;
            let low = machine.serial.all("agent memory: ")?;
            if ended.state() != "SUCCESS" {
                return Ok(Rung::Died(format!("in {}: {}", reached(&machine)?, ended.message("rung"))));
            }
            return Ok(Rung::Works(crate::install::smallest(&low, r"lowest MemAvailable (\d+) kB")?));
        }
        let dead = machine.serial.all(DEAD)?;
        let over = machine.is_off()? || Instant::now() >= deadline;
        if let Some(line) = dead.first() {
            return Ok(Rung::Died(format!("in {}: {}", reached(&machine)?, line.text.trim())));
        }
        if over {
            return Ok(Rung::Died(format!("in {}, without a message", reached(&machine)?)));
        }
    }
}

fn reached(machine: &Vm) -> Result<&'static str> {
    let mut last = "the firmware";
    for (name, pattern) in STAGES {
        if !machine.serial.all(pattern)?.is_empty() {
            last = name;
        }
    }
    Ok(last)
}
