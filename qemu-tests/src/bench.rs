//! `cargo lab bench`: the time from kernel start to the first action's output, compared with a kernel and busybox alone.
//!
//! The machine's clock counts instructions (`-icount shift=0`), so the numbers are the same on any host, however busy. One
//! second is 10^9 instructions of one core.

mod actions;
mod agent;
mod boots;
mod floor;
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::board::Board;
use crate::kit::{self, Kit};
use crate::machine::{Boot, Clock, Firmware, Network, Nic, NicModel, Parts, Vm};
use crate::objects::{Station, Step, workflow};
use crate::oci::Image;
use crate::prepare::Purpose;
use crate::provisioner::{Options, Provisioner};
use crate::registry::Registry;
use crate::scene::Scene;
use crate::segment;
use crate::serial::Serial;
use crate::setup::Setup;

const NAME: &str = "bench";
const LIMIT: Duration = Duration::from_secs(180);
/// The host's address in QEMU's user network.
const HOST: &str = "10.0.2.2";
const SCRIPT: &str = "read up idle < /proc/uptime; echo ACTION_OUTPUT $up
for process in /proc/[0-9]*; do
  case $(cat $process/cmdline 2>/dev/null | tr '\\0' ' ') in '/proc/self/exe run '*)
    while read -r key value unit; do case $key in VmHWM:|VmRSS:) echo AGENT $key $value;; esac; done < $process/status;;
  esac
done
while read -r key value unit; do case $key in MemTotal:|MemAvailable:) echo MEMORY $key $value;; esac; done < /proc/meminfo";

/// A marker, and the console line that shows it. The time is the kernel's stamp on that line.
const MARKERS: &[(&str, &str)] = &[
    ("/init", r"thimble: init \S+ started"),
    ("network", r"thimble: network \S+ 10\."),
    ("agent connected", r"thimble: agent \S+ connected to"),
    ("action begins", r"action hello: (pulling|running)"),
    ("first action output", r"A\| ACTION_OUTPUT"),
];
const FLOOR_MARKERS: &[(&str, &str)] = &[("/init", "floor: INIT"), ("network", "floor: NET")];

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Another benchmark instead of the boot
    what: Option<What>,
    /// How many boots; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Find the smallest memory in which the action's output still appears
    #[arg(long)]
    smallest: bool,
    /// With `actions`: in a machine with two processors, whose disk takes data without a copy
    #[arg(long)]
    machine: bool,
    /// Compare with this commit, which is built now, instead of the previous one
    #[arg(long, value_name = "REV")]
    against: Option<String>,
    /// Use the programs and images of the last run unchanged
    #[arg(long)]
    reuse: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// image2disk compared with zstd, dd and qemu-img, onto a RAM disk of this host
    Actions,
    /// The agent compared with crun, runc and containerd, on this host
    Agent,
    /// boots compared with nginx, atftpd and Kea
    Boots,
    /// The server with a large store and many agents, compared with etcd if that is installed
    Server,
}

/// Seconds of guest time by marker, one entry per run, and kB by name.
#[derive(Default)]
struct Series {
    seconds: BTreeMap<&'static str, Vec<f64>>,
    kilobytes: BTreeMap<String, Vec<f64>>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.what == Some(What::Actions) {
        return actions::run(arguments);
    }
    if arguments.what == Some(What::Server) {
        return server::run();
    }
    if arguments.what == Some(What::Boots) {
        let (runs, inside) = (arguments.runs, arguments.inside);
        return if inside { boots::inside(runs).map(|()| ExitCode::SUCCESS) } else { boots::outside(runs) };
    }
    if arguments.what == Some(What::Agent) {
        let (runs, inside) = (arguments.runs, arguments.inside);
        return if inside { agent::inside(runs).map(|()| ExitCode::SUCCESS) } else { agent::outside(runs, arguments.reuse) };
    }
    if arguments.inside {
        return inside(arguments).map(|()| ExitCode::SUCCESS);
    }
    let board = Board::new("== ");
    let setup = Setup::obtain(Purpose::Bench, arguments.reuse, &board)?;
    if let Some(revision) = &arguments.against {
        setup.build_revision(revision, &board)?;
    }
    setup.run_folder(NAME)?;
    let (runs, memory) = (arguments.runs.to_string(), arguments.memory.to_string());
    let mut words = vec!["--", "bench", "--inside", "--runs", &runs, "--memory", &memory];
    words.extend(arguments.smallest.then_some("--smallest"));
    if let Some(revision) = &arguments.against {
        words.extend(["--against", revision]);
    }
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inside(arguments: &Arguments) -> Result<()> {
    let scene = Scene::new(NAME)?;
    let bench = Bench::start(&scene)?;
    let floor = floor::build(&scene.setup, &scene.folder)?;
    let before = match &arguments.against {
        Some(revision) => Some(scene.setup.revision(revision)?),
        None => kit::previous(&scene.setup.lab.join("cloud")),
    };
    let mut table = Table::default();
    for run in 1..=arguments.runs {
        println!("== run {run} of {}", arguments.runs);
        bench.boot_floor(&floor, arguments.memory, run, &mut table.floor)?;
        if let Some((kit, commit)) = &before {
            table.before_name.clone_from(commit);
            bench.boot(kit, arguments.memory, &format!("before-{run}"), &mut table.before)?;
        }
        bench.boot(&scene.setup.cloud, arguments.memory, &format!("run-{run}"), &mut table.ours)?;
    }
    let smallest = if arguments.smallest { Some(bench.smallest()?) } else { None };
    report(&scene, arguments, &table, smallest)
}

/// The kits that one run compares.
#[derive(Default)]
struct Table {
    ours: Series,
    before: Series,
    before_name: String,
    floor: Series,
}

struct Bench<'a> {
    scene: &'a Scene,
    station: Station,
    provisioner: Provisioner,
    _registry: Registry,
}

impl<'a> Bench<'a> {
    fn start(scene: &'a Scene) -> Result<Self> {
        let registry = Registry::start_at(&scene.folder.join("registry"), "127.0.0.1:5000".parse().context("an address")?)?;
        Image::busybox(SCRIPT, 0)?.push(registry.address(), "hello", "1")?;
        let options = Options {
            grpc_authority: Some(format!("{HOST}:{}", machine::ports::GRPC)),
            kernel_args: "quiet".into(),
            ..Options::default()
        };
        let provisioner = scene.provisioner(options)?;
        let station = Station { number: 1 };
        provisioner.apply(&station.hardware())?;
        Ok(Self { scene, station, provisioner, _registry: registry })
    }

    fn power_on(&self, boot: Boot, memory_mib: u32, folder: &Path, clock: Clock) -> Result<Vm> {
        let nic = Nic { model: NicModel::Virtio, mac: self.station.mac(), network: Network::User };
        let parts = Parts { clock, ..Parts::new(boot, memory_mib, vec![nic]) };
        Vm::power_on(&parts, self.scene.setup.accelerator, folder)
    }

    /// Gives the machine new work, and returns what its boot loader would start.
    fn work(&self, name: &str, kit: &Kit) -> Result<Boot> {
        let step = Step::image("hello", &format!("{HOST}:5000/hello:1")).host_pid();
        self.provisioner.apply(&workflow(name, &self.station, &[step]))?;
        Ok(Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: kit.kernel.clone(),
            initrd: kit.initrd.clone(),
            arguments: self.provisioner.kernel_arguments(&self.station.mac())?,
        })
    }

    fn boot(&self, kit: &Kit, memory_mib: u32, name: &str, series: &mut Series) -> Result<()> {
        let boot = self.work(name, kit)?;
        let folder = self.scene.folder.join(name);
        let mut machine = self.power_on(boot, memory_mib, &folder, Clock::Instructions)?;
        series.read(&mut machine.serial, MARKERS)?;
        machine.serial.expect("action hello: SUCCESS", LIMIT)?;
        for line in machine.serial.all(r"A\| (AGENT|MEMORY) ")? {
            let words: Vec<&str> = line.text.split_whitespace().rev().take(3).collect();
            if let [value, key, kind] = words.as_slice() {
                let name = format!("{} {}", kind.to_lowercase(), key.trim_end_matches(':'));
                series.kilobytes.entry(name).or_default().push(value.parse().unwrap_or(0.0));
            }
        }
        self.provisioner.wait_ended(name, LIMIT).map(drop)
    }

    fn boot_floor(&self, floor: &Path, memory_mib: u32, run: usize, series: &mut Series) -> Result<()> {
        let boot = Boot::Direct {
            firmware: Firmware::SeaBios,
            kernel: self.scene.setup.cloud.kernel.clone(),
            initrd: floor.to_owned(),
            arguments: "console=ttyS0 quiet panic=-1".into(),
        };
        let folder = self.scene.folder.join(format!("floor-{run}"));
        let mut machine = self.power_on(boot, memory_mib, &folder, Clock::Instructions)?;
        series.read(&mut machine.serial, FLOOR_MARKERS)
    }

    /// Bisection in steps of 8 MiB. 40 is known to be too little, and 128 is promised.
    fn smallest(&self) -> Result<u32> {
        let (mut low, mut high) = (40, 128);
        while high - low > 8 {
            let middle = (low + high) / 16 * 8;
            let name = format!("memory-{middle}");
            let boot = self.work(&name, &self.scene.setup.cloud)?;
            let mut machine = self.power_on(boot, middle, &self.scene.folder.join(&name), Clock::Host)?;
            let works = machine.serial.expect("action hello: SUCCESS", LIMIT / 3).is_ok();
            println!("== {middle} MiB: {}", if works { "works" } else { "too little" });
            if works { high = middle } else { low = middle }
        }
        Ok(high)
    }
}

impl Series {
    fn read(&mut self, serial: &mut Serial, markers: &[(&'static str, &str)]) -> Result<()> {
        for (name, pattern) in markers {
            let line = serial.expect(pattern, LIMIT)?;
            // The action reads the clock itself, as the numbers of the other runtimes are taken.
            let own = line.text.split_once("ACTION_OUTPUT ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
            let seconds = own.or_else(|| line.uptime()).with_context(|| format!("{:?} has no time stamp", line.text))?;
            self.seconds.entry(name).or_default().push(seconds);
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get((sorted.len().checked_sub(1)?) / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

fn report(scene: &Scene, arguments: &Arguments, table: &Table, smallest: Option<u32>) -> Result<()> {
    let (ours, before, floor) = (&table.ours, &table.before, &table.floor);
    let (kernel, ramdisk) = scene.setup.cloud.sizes()?;
    let of = |series: &Series, name: &str| series.seconds.get(name).and_then(|values| median(values));
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), |seconds| format!("{seconds:.2}"));
    let before_name = if table.before_name.is_empty() { "(none)" } else { table.before_name.as_str() };
    println!("\n{:<24}{:>10}{before_name:>10}{:>10}   guest seconds, median of {}", "marker", "thimble", "floor", arguments.runs);
    for (name, _) in MARKERS {
        println!("{name:<24}{:>10}{:>10}{:>10}", cell(of(ours, name)), cell(of(before, name)), cell(of(floor, name)));
    }
    let (_, metal) = scene.setup.metal.sizes()?;
    println!("{:<24}{kernel:>10} bytes\n{:<24}{ramdisk:>10} bytes", "kernel", "ramdisk, cloud");
    println!("{:<24}{metal:>10} bytes", "ramdisk, metal");
    for (name, values) in &ours.kilobytes {
        println!("{name:<24}{:>10.0} kB", median(values).unwrap_or(0.0));
    }
    if let Some(mib) = smallest {
        println!("{:<24}{mib:>10} MiB", "smallest memory");
    }
    let medians = |series: &Series| -> BTreeMap<&str, f64> {
        series.seconds.iter().filter_map(|(name, values)| Some((*name, median(values)?))).collect()
    };
    let kilobytes: BTreeMap<&String, f64> =
        ours.kilobytes.iter().filter_map(|(name, values)| Some((name, median(values)?))).collect();
    let result = json!({
        "clock": "icount shift=0,sleep=on", "runs": arguments.runs, "memory_mib": arguments.memory,
        "thimble": {"median_seconds": medians(ours), "all_seconds": ours.seconds, "kilobytes": kilobytes},
        "before": {"commit": table.before_name, "median_seconds": medians(before), "all_seconds": before.seconds},
        "floor": {"median_seconds": medians(floor), "all_seconds": floor.seconds},
        "kernel_bytes": kernel, "ramdisk_bytes": ramdisk, "smallest_memory_mib": smallest,
    });
    let path = scene.setup.lab.join("bench.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&result).context("cannot write JSON")?).context("cannot write the result")?;
    println!("\n{result}\n\nalso in {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        for (values, expected) in
            [(vec![], None), (vec![2.0], Some(2.0)), (vec![3.0, 1.0, 2.0], Some(2.0)), (vec![1.0, 4.0], Some(2.5))]
        {
            assert_eq!(median(&values), expected, "{values:?}");
        }
    }
}
