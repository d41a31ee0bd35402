//! `cargo lab dhcp`: machines that get their network from every DHCP server of the field, and from one that is faulty on
//! purpose. A machine walks: its cable goes from one network to the next, and each time it has to notice.

mod daemon;
mod faulty;
mod rows;

use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::board::Board;
use crate::command::effect;
use crate::machine::{Boot, Firmware, Network, Nic, NicModel, Parts, Vm};
use crate::objects::Station;
use crate::prepare::Purpose;
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::segment;
use crate::setup::Setup;
use daemon::Lan;
pub use faulty::serve;
use rows::{Form, Row, rows};

const NAME: &str = "dhcp";
/// A machine that is moved has its new address by then. Three questions without an answer come first where the new
/// server refuses nothing.
const MOVES_WITHIN: Duration = Duration::from_secs(45);

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Also a machine of its own for each server
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
        if self.full { Form::Full } else { Form::Walks }
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.list {
        rows(arguments.form()).iter().for_each(|row| println!("{}", row.name()));
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
    let mut words = vec!["--", NAME, "--inside", "--machines", &count];
    words.extend(arguments.full.then_some("--full"));
    words.extend(arguments.filter.as_deref());
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The walks: every server once, in one machine after the other's cable.
pub fn short(scene: &Scene) -> Result<()> {
    let failed = machines(scene, Form::Walks, None, 2)?;
    ensure!(failed.is_empty(), "{} walks failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs the rows side by side and prints a line for each. Those that failed come back.
fn machines(scene: &Scene, form: Form, filter: Option<&str>, parallel: usize) -> Result<Vec<String>> {
    let wanted: Vec<(Row, u8)> = rows(form).into_iter().zip(1_u8..).collect();
    let wanted: Vec<_> = wanted.into_iter().filter(|(row, _)| filter.is_none_or(|words| row.name().contains(words))).collect();
    ensure!(!wanted.is_empty(), "no row is called like {:?}", filter.unwrap_or_default());
    let (total, start) = (wanted.len(), Instant::now());
    let queue = Mutex::new(wanted.into_iter());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..parallel.max(1) {
            scope.spawn(|| {
                while let Some((row, number)) = next() {
                    let start = Instant::now();
                    let outcome = walk(scene, &row, number);
                    let took = start.elapsed().as_secs_f64();
                    match outcome {
                        Ok(()) => println!("ok   {took:>6.1} s  {}", row.name()),
                        Err(error) => {
                            println!("FAIL {took:>6.1} s  {}: {error:#}", row.name());
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(row.name());
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} of {total} rows held, in {} s", total - failed.len(), start.elapsed().as_secs());
    Ok(failed)
}

/// Boots a machine in the first network of the row, and moves its cable through the others.
fn walk(scene: &Scene, row: &Row, number: u8) -> Result<()> {
    let station = Station { number };
    let tap = station.tap(0);
    let folder = scene.place(&station.name())?;
    let mut lans = Vec::new();
    for (stop, server) in (1_u8..).zip(&row.stops) {
        lans.push(Lan::start(number, stop, server, &station.mac(), &folder)?);
    }
    segment::add_loose_tap(&tap)?;
    let nic = Nic { model: NicModel::Virtio, mac: station.mac(), network: Network::Tap(tap.clone()) };
    let boot = Boot::Direct {
        firmware: Firmware::SeaBios,
        kernel: scene.setup.cloud.kernel.clone(),
        initrd: scene.setup.cloud.initrd.clone(),
        arguments: format!("console=ttyS0 panic=-1 worker_id={} grpc_authority={}:42113", station.mac(), daemon::EVERYWHERE),
    };
    let mut machine: Option<Vm> = None;
    for (lan, server) in lans.iter_mut().zip(&row.stops) {
        let failed = || format!("at {}", server.name());
        let plug = || effect(Command::new("ip").args(["link", "set", &tap, "master", lan.bridge(), "up"]));
        let limit = if machine.is_none() { BOOTS_WITHIN } else { MOVES_WITHIN };
        let running = match &mut machine {
            Some(running) => {
                running.set_link(0, false)?;
                running.serial.expect("thimble: eth0 .* has lost its carrier", MOVES_WITHIN).with_context(failed)?;
                plug()?;
                running.set_link(0, true)?;
                running
            }
            None => {
                plug()?;
                machine.insert(scene.start(&station, &Parts::new(boot.clone(), MEMORY_MIB, vec![nic.clone()]))?)
            }
        };
        let start = Instant::now();
        let got = format!("thimble: network eth0 {}/24|FATAL|Kernel panic", lan.address());
        let line = running.serial.expect(&got, limit).with_context(failed)?;
        if !line.text.contains("network eth0") {
            bail!("{}: {}", server.name(), line.text);
        }
        for text in server.says() {
            ensure!(!running.serial.all(text)?.is_empty(), "{}: the console has no line {text:?}", server.name());
        }
        lan.check().with_context(failed)?;
        println!("     {:>6.1} s  {} ({})", start.elapsed().as_secs_f64(), server.name(), station.name());
    }
    Ok(())
}
