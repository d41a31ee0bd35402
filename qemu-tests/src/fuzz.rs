//! The fuzz targets: for seconds in the suite, and for a number of inputs by `cargo lab fuzz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::board::Job;
use crate::cargo::{self, Call};
use crate::command::Daemon;
use crate::setup::{TARGET, workspace};

const BRIEFLY: &str = "-max_total_time=4";
/// How many targets the suite runs at once. Each uses one core.
const AT_ONCE: usize = 2;
/// No run of one target is longer.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const BUILD: [&str; 4] = ["build", "--release", "--target", TARGET];

#[derive(clap::Args)]
pub struct Arguments {
    /// Targets such as dhcpv4; all of them if none is named
    targets: Vec<String>,
    /// Inputs for each target
    #[arg(long, default_value_t = 10_000_000)]
    runs: u64,
    /// Targets at once; each uses one core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Use the programs of the last run unchanged
    #[arg(long)]
    reuse: bool,
}

/// Coverage-guided fuzzing on stable Rust. The flags are in that folder's cargo configuration. Every target of the folder
/// runs.
pub fn briefly(root: &Path, log: &Path, job: &Job) -> Result<()> {
    let folder = root.join("fuzz");
    cargo::run_as_job(job, &Call { folder: &folder, log, patient: true, args: &BUILD })?;
    let names = targets(&folder)?;
    for (index, some) in names.chunks(AT_ONCE).enumerate() {
        job.at(&format!("target {} of {}", index * AT_ONCE + 1, names.len()));
        let run = |name: &String| brief(&folder, &log.with_file_name(format!("fuzz-{name}.log")), name);
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|name| scope.spawn(move || run(name))).collect();
            running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
    }
    Ok(())
}

fn brief(folder: &Path, log: &Path, name: &str) -> Result<()> {
    let _from_an_earlier_run = fs::remove_file(log);
    let mut command = Command::new("nice");
    command.args(["-n", "5"]).arg(built(folder, name)).args([BRIEFLY, "-verbosity=0"]).current_dir(folder);
    crate::command::run(&mut command, log, Duration::from_secs(120))
        .with_context(|| format!("fuzz target {name}; the input that broke it is in {}", folder.display()))
}

fn built(folder: &Path, name: &str) -> PathBuf {
    folder.join("target").join(TARGET).join("release").join(name)
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot list the fuzz targets of {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("src/bin")).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    ensure!(!names.is_empty(), "{} has no fuzz targets", folder.display());
    names.sort();
    Ok(names)
}

/// `cargo lab fuzz`: a line for each target as it ends. Inputs that reached something new are kept, and the next run begins with
/// them.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace()?;
    let folder = root.join("fuzz");
    let all = targets(&folder)?;
    if let Some(name) = arguments.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {name:?}; there are {}", all.join(", "));
    }
    let wanted = if arguments.targets.is_empty() { all } else { arguments.targets.clone() };
    if !arguments.reuse {
        let named: Vec<&str> = wanted.iter().flat_map(|name| ["--bin", name.as_str()]).collect();
        cargo::run(&folder, &[&BUILD[..], &named].concat(), &[])?;
    }
    let kept = root.join("target/lab/fuzz");
    println!("{:<14} {:>12} {:>10} {:>9} {:>8}  crash", "target", "inputs", "each s", "slowest s", "peak MB");
    let (waiting, crashes) = (Mutex::new(wanted.iter()), Mutex::new(0_usize));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<()> {
        while let Some(name) = next() {
            let row = long(&folder, &kept, name, arguments.runs)?;
            println!("{}", row.line(name));
            *crashes.lock().unwrap_or_else(PoisonError::into_inner) += usize::from(row.crash.is_some());
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let crashes = *crashes.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} targets, {crashes} crashes; logs and inputs are in {}", wanted.len(), kept.display());
    Ok(if crashes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn long(folder: &Path, kept: &Path, name: &str, runs: u64) -> Result<Row> {
    let inputs = kept.join(name);
    fs::create_dir_all(&inputs).with_context(|| format!("cannot make {}", inputs.display()))?;
    let log = kept.join(format!("{name}.log"));
    let _from_an_earlier_run = fs::remove_file(&log);
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(built(folder, name)).current_dir(folder);
    command.args([&format!("-runs={runs}"), "-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=2048"]);
    command.arg(format!("-artifact_prefix={}/{name}-", kept.display())).arg(&inputs);
    let begun = Instant::now();
    let ended = Daemon::start(&mut command, &log)?.wait(LONGEST)?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    let mut row = Row::of(&text);
    if row.rate == 0 {
        row.rate = row.inputs.saturating_mul(1000) / u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    }
    if !ended.is_some_and(|status| status.success()) {
        row.crash = Some(crash(&text).unwrap_or_else(|| format!("it did not end well; see {}", log.display())));
    }
    Ok(row)
}

/// What libFuzzer counts at its end. It has no rate for a run below a second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    inputs: u64,
    rate: u64,
    /// Seconds.
    slowest: u64,
    peak_mb: u64,
    /// Where the input is.
    crash: Option<String>,
}

impl Row {
    fn of(log: &str) -> Self {
        let stat = |name: &str| {
            let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            inputs: stat("number_of_executed_units"),
            rate: stat("average_exec_per_sec"),
            slowest: stat("slowest_unit_time_sec"),
            peak_mb: stat("peak_rss_mb"),
            crash: None,
        }
    }

    fn line(&self, name: &str) -> String {
        let Self { inputs, rate, slowest, peak_mb, crash } = self;
        format!("{name:<14} {inputs:>12} {rate:>10} {slowest:>9} {peak_mb:>8}  {}", crash.as_deref().unwrap_or("none"))
    }
}

/// The file that libFuzzer wrote.
fn crash(log: &str) -> Option<String> {
    log.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_from_what_the_fuzzer_prints() {
        let log = "INFO: seed 1\nDone 10000000 runs in 95 second(s)\nstat::number_of_executed_units: 10000000\n\
                   stat::average_exec_per_sec:     105263\nstat::new_units_added:          812\nstat::slowest_unit_time_sec:    0\n\
                   stat::peak_rss_mb:              431\n";
        let row = Row { inputs: 10_000_000, rate: 105_263, slowest: 0, peak_mb: 431, crash: None };
        assert_eq!(Row::of(log), row);
        assert_eq!(Row::of(""), Row::default());
        assert!(row.line("dhcpv4").ends_with("  none"));
        assert_eq!(
            crash("==7== ERROR\nartifact_prefix='/x/'; Test unit written to /x/dhcpv4-crash-1\n").unwrap(),
            "/x/dhcpv4-crash-1"
        );
    }
}
