//! `cargo lab dhcp`: machines that get their network from each common DHCP server, and from one that is faulty on purpose.
//! A machine walks: its cable moves from one network to the next, and each time it must notice.

mod daemon;
mod faulty;
mod rows;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::effect;
use crate::machine::{Boot, Firmware, Network, Nic, NicModel, Parts, Vm};
use crate::many::{self, Arguments};
use crate::objects::Station;
use crate::scene::{BOOTS_WITHIN, MEMORY_MIB, Scene};
use crate::segment;
use daemon::Lan;
pub use faulty::serve;
use rows::{Form, Row, rows};

const NAME: &str = "dhcp";
/// A machine that was moved has its new address within this time. If the new server refuses nothing, three unanswered
/// questions come first.
const MOVES_WITHIN: Duration = Duration::from_secs(45);

fn form(arguments: &Arguments) -> Form {
    if arguments.full { Form::Full } else { Form::Walks }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let names = || Ok(rows(form(arguments)).iter().map(Row::name).collect());
    many::run(NAME, arguments, names, |scene| machines(scene, form(arguments), arguments.filter.as_deref(), arguments.machines))
}

/// The walks: every server once, one after the other at a machine's cable.
pub fn short(scene: &Scene) -> Result<()> {
    let failed = machines(scene, Form::Walks, None, 2)?;
    ensure!(failed.is_empty(), "{} walks failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs the rows side by side and prints a line for each. Returns the failed ones.
fn machines(scene: &Scene, form: Form, filter: Option<&str>, parallel: usize) -> Result<Vec<String>> {
    let wanted: Vec<(Row, u8)> = rows(form).into_iter().zip(1_u8..).collect();
    let wanted: Vec<_> = wanted.into_iter().filter(|(row, _)| filter.is_none_or(|words| row.name().contains(words))).collect();
    ensure!(!wanted.is_empty(), "no row has {:?} in its name", filter.unwrap_or_default());
    let (total, start) = (wanted.len(), Instant::now());
    let failed = many::side_by_side(wanted, parallel, |(row, _)| row.name(), |(row, number)| walk(scene, row, *number));
    println!("{} of {total} rows passed, in {} s", total - failed.len(), start.elapsed().as_secs());
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
        // On a busy host the emulated timer is too late for the kernel's check, and the kernel panics.
        arguments: format!(
            "console=ttyS0 panic=-1 no_timer_check worker_id={} grpc_authority={}:{}",
            station.mac(),
            daemon::EVERYWHERE,
            machine::ports::GRPC
        ),
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
