//! `cargo lab storm N`: thousands of simulated machines are switched on at once, and things go wrong. They speak real packets
//! from a network namespace (the package `storm`). What the server has acknowledged must be in its store at the end, no action
//! may run again after its success, and each machine must come to its end.

mod course;
mod host;
mod several;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use storm::faults::{Faults, Outage};
use storm::report::Outcome;
use storm::site;

use crate::board::Board;
use crate::cargo;
use crate::oci::Image;
use crate::prepare::{self, Purpose};
use crate::registry::Registry;
use crate::scene::Scene;
use crate::segment;
use crate::setup::workspace;
use course::Course;
use host::{Host, Load};
use several::Several;

const NAME: &str = "storm";
/// Seconds between two faults of `--in-turn`. Each lasts half of it.
const EVERY: f64 = 8.0;
/// Seconds between two programs of `--upgrade`, and how often each is ended.
const ROLL: f64 = 6.0;
const ROUNDS: usize = 3;
/// The longest that an agent may wait during an upgrade, in seconds.
const PATIENCE: f64 = 20.0;
const MIB: f64 = 1024.0 * 1024.0;
/// The image of all actions.
const IMAGE: &str = "storm:1";

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// How many machines
    machines: u32,
    /// A file with faults: docs/lab.md shows all of them
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// A site in place of one `thimble up`: so many servers, each with a boots, on three members of etcd
    #[arg(long, value_name = "SERVERS")]
    hosts: Option<usize>,
    /// Kill each server, boots and member of etcd in turn, then cut off each host, one every 8 seconds. Wants --hosts
    #[arg(long, requires = "hosts", conflicts_with = "faults")]
    in_turn: bool,
    /// A rolling upgrade, three times: end each server and each boots by SIGTERM and start it again, one every 6 seconds. Wants --hosts
    #[arg(long, requires = "hosts", conflicts_with_all = ["faults", "in_turn"])]
    upgrade: bool,
    /// The program of an earlier version, with which each server and each boots begins. Wants --upgrade
    #[arg(long, value_name = "THIMBLE", requires = "upgrade")]
    from: Option<PathBuf>,
    /// Seconds within which the machines are switched on
    #[arg(long, default_value_t = 10.0)]
    within: f64,
    /// Seconds after which a machine that has not come to its end is stuck
    #[arg(long, default_value_t = 900.0)]
    limit: f64,
    /// Bytes of the boot program
    #[arg(long, default_value_t = 64 << 10)]
    nbp: usize,
    /// Bytes of the kernel
    #[arg(long, default_value_t = 256 << 10)]
    kernel: usize,
    /// Bytes of the ramdisk
    #[arg(long, default_value_t = 1 << 20)]
    ramdisk: usize,
    /// Bytes of the action image
    #[arg(long, default_value_t = 64 << 10)]
    image: usize,
    /// Seconds of each action
    #[arg(long, default_value_t = 1.0)]
    work: f64,
    /// Lines that each action writes
    #[arg(long, default_value_t = 4)]
    lines: u32,
    /// Repeat the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Use the programs of the last run unchanged
    #[arg(long)]
    reuse: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

impl Arguments {
    /// Files and images are small, because their bytes are not what the suite looks for.
    fn of_suite(machines: u32) -> Self {
        Self {
            machines,
            faults: None,
            hosts: None,
            in_turn: false,
            upgrade: false,
            from: None,
            within: 2.0,
            limit: 120.0,
            nbp: 16 << 10,
            kernel: 64 << 10,
            ramdisk: 64 << 10,
            image: 16 << 10,
            work: 1.0,
            lines: 4,
            seed: None,
            reuse: true,
            inside: true,
        }
    }
}

/// The programs of a run.
struct Programs {
    thimble: PathBuf,
    storm: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace()?;
    let (lab, programs) = (root.join("target/lab"), root.join("target/release"));
    if arguments.inside {
        segment::bring_up()?;
        let programs = Programs { thimble: programs.join("thimble"), storm: programs.join("storm") };
        let (folder, json) = (lab.join("runs").join(NAME), lab.join("storm.json"));
        let broken = match arguments.hosts {
            None => blow(&programs, &folder, Some(&json), arguments)?,
            Some(servers) => blow_on_site(&programs, &folder, Some(&json), arguments, servers)?,
        };
        return Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    faults(arguments)?; // a mistake is shown before anything is built
    let board = Board::new("== ");
    fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    board.during(|| board.job("Debian packages", |job| prepare::run(&[Purpose::Storm], &lab, job)))?;
    if !arguments.reuse {
        cargo::run(&root, &["build", "--release", "--package", "thimble", "--package", "storm"], &[])?;
    }
    let folder = lab.join("runs").join(NAME);
    let _from_an_earlier_run = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let words: Vec<String> = std::env::args().skip_while(|word| word != NAME).collect();
    let words: Vec<&str> = ["--"].into_iter().chain(words.iter().map(String::as_str)).chain(["--inside"]).collect();
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn faults(arguments: &Arguments) -> Result<Faults> {
    if arguments.in_turn {
        return Ok(Faults::in_turn(arguments.hosts.unwrap_or(1), several::MEMBERS, EVERY, EVERY, EVERY / 2.0));
    }
    if arguments.upgrade {
        return Ok(Faults::upgrade(arguments.hosts.unwrap_or(1), ROUNDS, ROLL, ROLL, 1.0));
    }
    let Some(path) = &arguments.faults else { return Ok(Faults::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Faults::parse(&text).with_context(|| format!("the faults in {}", path.display()))
}

/// The suite's part: 300 machines, one packet in a hundred is lost, and the server is killed in the middle.
pub fn short(scene: &Scene) -> Result<()> {
    let killed = Outage { at: 6.0, seconds: 0.0 };
    let faults = Faults { loss: 0.01, server_killed: vec![killed], ..Faults::default() };
    let path = scene.folder.join("faults.yaml");
    fs::write(&path, serde_json::to_string(&faults).context("cannot write the faults")?).context("cannot write the faults")?;
    let arguments = Arguments { faults: Some(path), ..Arguments::of_suite(300) };
    let programs = Programs { thimble: scene.setup.thimble.clone(), storm: scene.setup.thimble.with_file_name("storm") };
    let broken = blow(&programs, &scene.folder, None, &arguments)?;
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

fn seed(arguments: &Arguments) -> u64 {
    arguments.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()))
}

/// One storm in this segment. Returns what must not have happened.
fn blow(programs: &Programs, folder: &Path, json: Option<&Path>, arguments: &Arguments) -> Result<Vec<String>> {
    let faults = faults(arguments)?;
    let seed = seed(arguments);
    let course = Course::prepare(folder, &faults)?;
    let image = Image::of_noise(arguments.image)?;
    let mut registry = None;
    let mut host = Host::prepare(&programs.thimble, folder, arguments)?;
    if faults.registry_down.is_empty() {
        image.write(&host.data().join("images/storm"), IMAGE)?;
    } else {
        let place = folder.join("registry");
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let registry = registry.insert(Registry::start(&place)?);
        image.push(registry.address(), "storm", "1")?;
    }
    let served_by = registry.as_ref().map_or(host::HTTP, Registry::address);
    host.up()?;
    let began = Instant::now();
    host::fill(&host.socket(), arguments.machines, &format!("{served_by}/{IMAGE}"))?;
    println!(
        "{} Hardware and Workflows in {:.1} s; to repeat the choices: --seed {seed}",
        arguments.machines,
        began.elapsed().as_secs_f64()
    );
    println!(
        "{} machines, switched on within {} s. A machine is done when the server has acknowledged the success of its third action.\n\
         Its workflow has 3 actions of {} s, and each is reported RUNNING and SUCCESS: 6 reports. Its times count from its first DISCOVER.",
        arguments.machines + faults.twins,
        arguments.within,
        arguments.work
    );
    let load = host.load();
    let outcome = course.run(programs, folder, arguments, seed, &mut host, registry.as_mut())?;
    let load = host.load().since(&load);
    let mut broken = outcome.broken();
    broken.extend(store::lost(&host.socket(), &outcome.acknowledged)?);
    host.kill();
    host.up()?;
    show(&outcome, &load, &course, &host);
    if let Some(path) = json {
        write(path, arguments, seed, &faults, (&outcome, &load), (&course, &host), &broken)?;
    }
    for one in &broken {
        println!("BROKEN: {one}");
    }
    Ok(broken)
}

/// The suite's part of a site: everything is killed or cut off once, while 150 machines are switched on and work.
pub fn short_site(scene: &Scene) -> Result<()> {
    let arguments = Arguments { hosts: Some(2), in_turn: true, within: 80.0, limit: 240.0, ..Arguments::of_suite(150) };
    let programs = Programs { thimble: scene.setup.thimble.clone(), storm: scene.setup.thimble.with_file_name("storm") };
    let broken = blow_on_site(&programs, &scene.folder, None, &arguments, 2)?;
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

/// One storm against a site. Returns what must not have happened.
fn blow_on_site(
    programs: &Programs,
    folder: &Path,
    json: Option<&Path>,
    arguments: &Arguments,
    servers: usize,
) -> Result<Vec<String>> {
    let faults = faults(arguments)?;
    let seed = seed(arguments);
    let course = Course::prepare(folder, &faults)?;
    let place = folder.join("registry");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let mut registry = Registry::start(&place)?;
    Image::of_noise(arguments.image)?.push(registry.address(), "storm", "1")?;
    let mut several = Several::start(&programs.thimble, folder, servers, segment::BRIDGE, arguments)?;
    host::fill(&several.socket()?, arguments.machines, &format!("{}/{IMAGE}", registry.address()))?;
    println!("{servers} servers, {servers} boots, {} members of etcd; to repeat the choices: --seed {seed}", several::MEMBERS);
    let outcome = course.run(programs, folder, arguments, seed, &mut several, Some(&mut registry))?;
    let mut broken = outcome.broken();
    broken.extend(several.lost(&outcome.acknowledged)?);
    let longest = outcome.served.map_or(0.0, |served| served.last);
    if arguments.upgrade && longest > PATIENCE {
        broken.push(format!("an agent waited {longest:.1} s for an answer"));
    }
    print!("\n{}", outcome.table());
    let loads = several.loads();
    for (name, load) in &loads {
        println!("{name:<28}{:>9.1} s of processor, {:.1} MiB at the peak", load.cpu_seconds, load.peak_mib);
    }
    let acknowledged = outcome.acknowledged.len();
    println!(
        "{:<28}{:>9.1} s for {} machines; every server shows {acknowledged} acknowledged reports; the simulator used {:.1} s",
        "in all", outcome.seconds, outcome.machines, outcome.cpu_seconds
    );
    if let Some(path) = json {
        let outcome = Outcome { acknowledged: Vec::new(), ..outcome };
        let loads: serde_json::Map<String, serde_json::Value> = loads
            .into_iter()
            .map(|(name, load)| (name, json!({"cpu_seconds": load.cpu_seconds, "peak_mib": load.peak_mib})))
            .collect();
        let result = json!({
            "servers": servers, "within_seconds": arguments.within, "work_seconds": arguments.work, "seed": seed, "faults": faults,
            "outcome": outcome, "programs": loads, "acknowledged": acknowledged, "broken": broken,
        });
        fs::write(path, serde_json::to_vec_pretty(&result).context("cannot write JSON")?).context("cannot write the result")?;
        println!("also in {}", path.display());
    }
    broken.iter().for_each(|one| println!("BROKEN: {one}"));
    Ok(broken)
}

fn show(outcome: &Outcome, load: &Load, course: &Course, host: &Host) {
    print!("\n{}", outcome.table());
    let acknowledged = outcome.acknowledged.len();
    println!(
        "{:<28}{:>9.1} s of processor, {:.1} MiB at the peak, {:.1} MB sent; the simulator used {:.1} s",
        "thimble up",
        load.cpu_seconds,
        load.peak_mib,
        course.sent_bytes().unwrap_or(0) as f64 / 1e6,
        outcome.cpu_seconds
    );
    let starts: Vec<String> = host.starts.iter().map(|start| format!("{:.2}", start.as_secs_f64())).collect();
    println!("{:<28}{:>9} s until it was healthy; the last one with the whole store", "starts", starts.join(", "));
    println!(
        "{:<28}{:>9.1} s for {} machines; {acknowledged} acknowledged reports are in the store; power was cut {} times",
        "in all", outcome.seconds, outcome.machines, outcome.power_cuts
    );
}

fn write(
    path: &Path,
    arguments: &Arguments,
    seed: u64,
    faults: &Faults,
    (outcome, load): (&Outcome, &Load),
    (course, host): (&Course, &Host),
    broken: &[String],
) -> Result<()> {
    let starts: Vec<f64> = host.starts.iter().map(Duration::as_secs_f64).collect();
    let acknowledged = outcome.acknowledged.len();
    let outcome = Outcome { acknowledged: Vec::new(), ..outcome.clone() };
    let result = json!({
        "definition": "done: the server has acknowledged the success of the third action; times from the machine's first DISCOVER",
        "bytes": {"nbp": arguments.nbp, "kernel": arguments.kernel, "ramdisk": arguments.ramdisk, "image": arguments.image},
        "within_seconds": arguments.within, "work_seconds": arguments.work, "seed": seed, "faults": faults, "outcome": outcome,
        "thimble": {"cpu_seconds": load.cpu_seconds, "peak_mib": load.peak_mib, "sent_bytes": course.sent_bytes()?, "start_seconds": starts},
        "acknowledged": acknowledged, "broken": broken,
    });
    fs::write(path, serde_json::to_vec_pretty(&result).context("cannot write JSON")?).context("cannot write the result")?;
    println!("also in {}", path.display());
    Ok(())
}
