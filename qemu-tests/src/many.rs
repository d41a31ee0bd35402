//! A lab command with a table of machines, such as `cargo lab matrix` and `cargo lab dhcp`: its arguments, its start
//! outside and inside the segment, and its machines side by side.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::board::Board;
use crate::prepare::Purpose;
use crate::scene::Scene;
use crate::segment;
use crate::setup::Setup;

#[derive(Args, Debug, Clone)]
pub struct Arguments {
    /// Run every row instead of the usual ones
    #[arg(long)]
    pub full: bool,
    /// Only rows with these words in their names
    pub filter: Option<String>,
    /// How many machines run at once
    #[arg(long, default_value_t = 2)]
    pub machines: usize,
    /// Use the programs and images of the last run unchanged
    #[arg(long)]
    reuse: bool,
    /// Show the rows and run nothing
    #[arg(long)]
    list: bool,
    #[arg(long, hide = true)]
    inside: bool,
}

/// Runs the command. `names` are its rows. `machines` runs them in the segment and returns the failed ones.
pub fn run(
    name: &'static str,
    arguments: &Arguments,
    names: impl FnOnce() -> Result<Vec<String>>,
    machines: impl FnOnce(&Scene) -> Result<Vec<String>>,
) -> Result<ExitCode> {
    run_prepared(name, arguments, names, |_, _| Ok(()), machines)
}

/// The same. `prepare` makes outside the segment what only these rows need.
pub fn run_prepared(
    name: &'static str,
    arguments: &Arguments,
    names: impl FnOnce() -> Result<Vec<String>>,
    prepare: impl FnOnce(&Setup, &Board) -> Result<()>,
    machines: impl FnOnce(&Scene) -> Result<Vec<String>>,
) -> Result<ExitCode> {
    if arguments.list {
        names()?.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.inside {
        let failed = machines(&Scene::new(name)?)?;
        return Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let board = Board::new("== ");
    let setup = Setup::obtain(Purpose::Test, arguments.reuse, &board)?;
    board.during(|| prepare(&setup, &board))?;
    setup.run_folder(name)?;
    let count = arguments.machines.to_string();
    let mut words = vec!["--", name, "--inside", "--machines", &count];
    words.extend(arguments.full.then_some("--full"));
    words.extend(arguments.filter.as_deref());
    let status = segment::command(&words)?.status().context("cannot start the lab inside a segment")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the rows, some at a time, and prints a line for each. Returns the names of the failed ones.
pub fn side_by_side<R: Send>(
    rows: Vec<R>,
    parallel: usize,
    name: impl Fn(&R) -> String + Sync,
    run: impl Fn(&R) -> Result<()> + Sync,
) -> Vec<String> {
    let queue = Mutex::new(rows.into_iter());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..parallel.max(1) {
            scope.spawn(|| {
                while let Some(row) = next() {
                    let start = Instant::now();
                    let outcome = run(&row);
                    let (took, name) = (start.elapsed().as_secs_f64(), name(&row));
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn every_row_runs_once_and_the_failed_ones_are_returned() {
        let ran = Mutex::new(Vec::new());
        let failed = side_by_side(
            (0..20).collect(),
            3,
            |row| format!("row {row}"),
            |row| {
                ran.lock().unwrap().push(*row);
                if *row == 7 { bail!("no") } else { Ok(()) }
            },
        );
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        assert_eq!((ran, failed), ((0..20).collect(), vec!["row 7".to_owned()]));
    }
}
