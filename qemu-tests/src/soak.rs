//! `cargo lab soak`: machines lose power at random moments, again and again. No work may be lost or done twice.
//! `cargo lab soak actions`: one agent runs short actions, one after the other, and nothing of them may remain.
//! `cargo lab soak disk`: the power fails while an image is written, and no half of an image may boot.
//! `cargo lab soak server`: the server is killed at random moments under load, and nothing may be lost or repeated.

mod actions;
mod dice;
mod disk;
mod killed;
mod ledger;
mod rider;
mod witness;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::board::Board;
use crate::prepare::Purpose;
use crate::provisioner::Options;
use crate::scene::Scene;
use crate::segment;
use crate::setup::Setup;
use rider::{Rider, Tally};
use witness::Witness;

const NAME: &str = "soak";
const WITNESS_PORT: u16 = 7090;
/// How much the agent may keep for things it has seen, such as connections and image names.
const GROWTH_LIMIT_KB: u64 = 512;

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Another soak instead of power cuts
    what: Option<What>,
    /// How many actions the agent runs (with `actions`, default 10000), or how often the server is killed (with `server`,
    /// default 500)
    #[arg(long)]
    count: Option<u32>,
    /// How often the power is cut, over all machines (default 2000; with `disk` 50)
    #[arg(long)]
    cycles: Option<u32>,
    /// Repeat the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// How many machines run at once
    #[arg(long, default_value_t = 2)]
    machines: u8,
    /// Use the programs and images of the last run unchanged
    #[arg(long)]
    reuse: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// One agent on this host, thousands of actions
    Actions,
    /// Power cuts in the middle of an image write
    Disk,
    /// The server on this host, killed hundreds of times
    Server,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match arguments.what {
        Some(What::Actions) => return actions::run(arguments.count.unwrap_or(10_000)),
        Some(What::Server) => return killed::run(arguments.count.unwrap_or(500), arguments.seed),
        Some(What::Disk) | None => {}
    }
    let is_disk = arguments.what == Some(What::Disk);
    let cycles = arguments.cycles.unwrap_or(if is_disk { 50 } else { 2000 });
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    if arguments.inside {
        let scene = Scene::new(NAME)?;
        let done = if is_disk { disk::run(&scene, cycles, seed) } else { soak(&scene, cycles, seed, arguments.machines) };
        return done.map(|()| ExitCode::SUCCESS);
    }
    let setup = Setup::obtain(Purpose::Test, arguments.reuse, &Board::new("== "))?;
    setup.run_folder(NAME)?;
    let (cycles, seed, machines) = (cycles.to_string(), seed.to_string(), arguments.machines.to_string());
    let what: &[&str] = if is_disk { &["disk"] } else { &[] };
    let words = ["--inside", "--cycles", &cycles, "--seed", &seed, "--machines", &machines];
    let status =
        segment::command(&[&["--", "soak"], what, &words].concat())?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

/// A few cycles, for every run of the tests.
pub fn short(scene: &Scene) -> Result<()> {
    soak(scene, 12, fresh_seed(), 2)
}

/// A few cuts in an image write.
pub fn short_disk(scene: &Scene) -> Result<()> {
    disk::run(scene, 2, fresh_seed())
}

fn soak(scene: &Scene, cycles: u32, seed: u64, machines: u8) -> Result<()> {
    println!("{cycles} power cycles on {machines} machines; to repeat the choices: --seed {seed}");
    let start = Instant::now();
    let registry = scene.registry()?;
    let provisioner = scene.provisioner(Options::default())?;
    let witness = Witness::start(SocketAddr::new(segment::HOST.into(), WITNESS_PORT), provisioner.socket())?;
    let share = |number: u8| (cycles + u32::from(machines - number)) / u32::from(machines.max(1));
    let rider = |number: u8| Rider { scene, registry: &registry, provisioner: &provisioner, witness: &witness, number };
    let tallies: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let ride = |number: u8| {
            let rider = rider(number);
            scope.spawn(move || rider.ride(share(number), seed.wrapping_add(u64::from(number))))
        };
        let running: Vec<_> = (1..=machines).map(ride).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all.add(tally?);
    }
    let ledger = witness.ledger();
    let (actions, again) = ledger.counts();
    println!("power was cut {} times in {} s, by what the machine was doing:", all.cuts(), start.elapsed().as_secs());
    all.stages.iter().for_each(|(stage, count)| println!("  {count:>5}  {stage}"));
    println!(
        "{} workflows with {actions} actions ended well; {again} times an action ran again, because power was cut before its report",
        all.workflows
    );
    println!("zombies {}; agent memory {} kB when warm, {} kB at the end", ledger.zombies, all.warm_kb, all.end_kb);
    ensure!(ledger.broken.is_empty(), "seed {seed}: {}", ledger.broken.join("; "));
    ensure!(ledger.zombies == 0, "seed {seed}: {} dead processes were not reaped", ledger.zombies);
    ensure!(
        all.end_kb <= all.warm_kb + GROWTH_LIMIT_KB,
        "the agent grew from {} to {} kB during uninterrupted work",
        all.warm_kb,
        all.end_kb
    );
    Ok(())
}
