//! `cargo lab peers`: `thimble boots` with the firmware, DHCP clients, relays and fetching programs of the field, in every mode of
//! DHCP, alone and beside dnsmasq and Kea. Each row has a segment of its own, so that a row cannot help another one.

mod boots;
mod client;
mod firmware;
mod hosts;
mod rows;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::board::Board;
use crate::cargo;
use crate::command;
use crate::many::side_by_side;
use crate::prepare::{self, Purpose};
use crate::scenarios::slug;
use crate::scene::Scene;
use crate::segment;
use crate::setup::workspace;
use boots::Boots;
use hosts::Host;
use rows::{Form, Peer, Row, rows};

/// One row, with firmware that is emulated on a busy host.
const LIMIT: Duration = Duration::from_secs(400);

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Only rows with these words in their names
    pub filter: Option<String>,
    /// Only the rows of the suite, which take seconds
    #[arg(long)]
    quick: bool,
    /// How many rows run at once
    #[arg(long, default_value_t = 2)]
    machines: usize,
    /// Show the rows and run nothing
    #[arg(long)]
    list: bool,
    #[arg(long, hide = true)]
    row: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(name) = &arguments.row {
        return inside(name).map(|()| ExitCode::SUCCESS);
    }
    let wanted = |row: &Row| arguments.filter.as_deref().is_none_or(|words| row.name().contains(words));
    let form = if arguments.quick { Form::Quick } else { Form::All };
    let rows: Vec<Row> = rows(form).into_iter().filter(wanted).collect();
    ensure!(!rows.is_empty(), "no row has {:?} in its name", arguments.filter.as_deref().unwrap_or_default());
    if arguments.list {
        rows.iter().for_each(|row| println!("{}", row.name()));
        return Ok(ExitCode::SUCCESS);
    }
    let (root, board) = (workspace()?, Board::new("== "));
    let lab = root.join("target/lab");
    std::fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    let purpose = if arguments.quick { Purpose::Test } else { Purpose::Firmware };
    board.during(|| board.job("Debian packages", |job| prepare::run(&[purpose], &lab, job)))?;
    cargo::run(&root, &["build", "--package", "thimble"], &[])?;
    let failed = side_by_side_in_segments(rows, arguments.machines)?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows that take seconds. What this host does not have is named and left out.
pub fn short(_: &Scene) -> Result<()> {
    let (present, absent): (Vec<Row>, Vec<Row>) = rows(Form::Quick).into_iter().partition(|row| row.lacks().is_none());
    absent.iter().for_each(|row| println!("SKIP {}: no {}", row.name(), row.lacks().unwrap_or_default()));
    let failed = side_by_side_in_segments(present, 4)?;
    ensure!(failed.is_empty(), "{} rows failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// Runs the rows and prints a line for each. Returns the failed ones.
fn side_by_side_in_segments(rows: Vec<Row>, parallel: usize) -> Result<Vec<String>> {
    let (total, start) = (rows.len(), Instant::now());
    let folder = workspace()?.join("target/lab/runs/peers");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let skipped = Mutex::new(0);
    let failed = side_by_side(rows, parallel, Row::name, |row| {
        if let Some(program) = row.lacks() {
            println!("SKIP {}: no {program}", row.name());
            *skipped.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
            return Ok(());
        }
        let log = folder.join(format!("{}.log", slug(&row.name())));
        let mut lab = segment::command(&["--", "peers", "--row", &row.name()])?;
        command::run(&mut lab, &log, LIMIT)
    });
    let skipped = skipped.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{} of {total} rows passed, {skipped} skipped, in {} s", total - failed.len() - skipped, start.elapsed().as_secs());
    Ok(failed)
}

/// One row, in its segment.
fn inside(name: &str) -> Result<()> {
    let all = rows(Form::All).into_iter().chain(rows(Form::Quick));
    let row = all.into_iter().find(|row| row.name() == name).with_context(|| format!("there is no row {name:?}"))?;
    segment::bring_up()?;
    let folder = workspace()?.join("target/lab/runs/peers").join(slug(name));
    let _from_an_earlier_run = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut boots = Boots::start(&folder, &row)?;
    let beside = row
        .beside
        .map(|server| Host::start(&folder, "other", hosts::OTHER)?.serving(server, row.wants_next_server()))
        .transpose()?;
    let done = match row.peer {
        Peer::Client(client) => client::gets_its_address(&row, client, &boots, &folder),
        Peer::Client6(client) => client::gets_its_address6(&row, client, &folder),
        Peer::Relay(relay) => client::is_relayed(relay, &folder),
        Peer::Fetcher(fetcher) => client::fetches(fetcher, &folder),
        Peer::Firmware(machine) => firmware::boots(&row, machine, &mut boots, &folder),
    };
    drop(beside);
    match done {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error:#}\n{}", boots.said()),
    }
}
