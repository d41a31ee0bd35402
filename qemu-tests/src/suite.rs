//! `cargo lab test`: format, lints, units, fuzz targets, supply chain, then the scenarios; one line each and a summary.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::board::Board;
use crate::cargo;
use crate::command::{Daemon, tail};
use crate::prepare;
use crate::prepare::Purpose;
use crate::scenarios::{self, Scenario, slug};
use crate::scene::Scene;
use crate::segment;
use crate::setup::{Setup, TARGET, workspace};

const SCENARIO_LIMIT: Duration = Duration::from_secs(30 * 60);
const FUZZ_SECONDS: &str = "-max_total_time=10";

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

enum Outcome {
    Passed,
    Skipped(String),
}

impl Tally {
    fn take(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        println!("---- {name}");
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                println!("PASS {took:>6.1} s  {name}");
            }
            Ok(Outcome::Skipped(why)) => {
                self.skipped += 1;
                println!("SKIP {took:>6.1} s  {name}: {why}");
            }
            Err(error) => {
                self.failed.push(name.to_owned());
                println!("FAIL {took:>6.1} s  {name}: {error:#}");
            }
        }
    }

    fn finish(self) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("failed: {name}");
        }
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        println!("{} passed, {} failed{skipped}", self.passed, self.failed.len());
        if self.failed.is_empty() && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Everything, or with a filter only what matches it.
pub fn run(filter: Option<&str>, reuse: bool, awaited: bool) -> Result<ExitCode> {
    let wanted = |name: &str| filter.is_none_or(|words| name.contains(words) || slug(name).contains(words));
    let mut tally = Tally::default();
    let root = workspace()?;
    if !reuse {
        prepare::alone(&[Purpose::Test])?; // the checks want its packages no less than the scenarios
    }
    for (name, check) in CHECKS {
        if wanted(name) && !awaited {
            tally.take(name, || check(&root));
        }
    }
    let chosen: Vec<&Scenario> =
        if awaited { scenarios::AWAITED } else { scenarios::ALL }.iter().filter(|scenario| wanted(scenario.name)).collect();
    if !chosen.is_empty() {
        let mut setup = None;
        tally.take("build the programs, ramdisk and Debian image", || {
            setup = Some(Setup::obtain(Purpose::Test, reuse, &Board::new("     "))?);
            Ok(if reuse { Outcome::Skipped("--reuse".into()) } else { Outcome::Passed })
        });
        if let Some(setup) = setup {
            chosen.iter().for_each(|scenario| tally.take(scenario.name, || scenario_in_segment(&setup, scenario)));
        }
    }
    if tally.passed + tally.failed.len() + tally.skipped == 0 {
        bail!("nothing is called like {:?}; try `cargo lab test --list`", filter.unwrap_or_default());
    }
    Ok(tally.finish())
}

pub fn list() {
    CHECKS.iter().for_each(|(name, _)| println!("{name}"));
    scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.name));
}

type Check = fn(&Path) -> Result<Outcome>;

const CHECKS: &[(&str, Check)] = &[
    ("formatting", |root| cargo::run(root, &["fmt", "--all", "--check"], &[]).map(|()| Outcome::Passed)),
    ("lints", |root| {
        cargo::run(root, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
            .map(|()| Outcome::Passed)
    }),
    ("supply chain: bans, licences, sources", deny),
    ("unit and component tests", |root| cargo::run(root, &["test", "--quiet", "--workspace"], &[]).map(|()| Outcome::Passed)),
    ("the agent on a real containerd", containerd),
    ("fuzz targets, briefly", fuzz),
];

/// Off by default, because its client needs protoc to be built; so neither lints nor tests above see it.
fn containerd(root: &Path) -> Result<Outcome> {
    let protoc = Command::new("protoc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !protoc.is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped("protoc is not installed; `cargo lab prepare` does it".into()));
    }
    let with = ["--quiet", "--package", "agent", "--features", "containerd"];
    cargo::run(root, &[&["clippy"], &with[..], &["--all-targets", "--", "-D", "warnings"]].concat(), &[])?;
    cargo::run(root, &[&["test"], &with[..], &["--test", "containerd"]].concat(), &[])?;
    Ok(Outcome::Passed)
}

fn deny(root: &Path) -> Result<Outcome> {
    let installed = Command::new("cargo").args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped("cargo-deny is not installed".into()));
    }
    cargo::run(root, &["deny", "--offline", "check", "bans", "licenses", "sources"], &[]).map(|()| Outcome::Passed)
}

/// Coverage-guided on stable Rust. The flags are in the folder's own cargo configuration. A file in `src/bin` is a target.
fn fuzz(root: &Path) -> Result<Outcome> {
    let folder = root.join("fuzz");
    let targets = fs::read_dir(folder.join("src/bin"))?.map(|entry| Ok(entry?.path())).collect::<Result<BTreeSet<_>>>()?;
    ensure!(!targets.is_empty(), "{} has no targets", folder.display());
    for name in targets.iter().filter_map(|path| path.file_stem()?.to_str()) {
        let run = ["run", "--quiet", "--release", "--target", TARGET, "--bin", name, "--", FUZZ_SECONDS, "-verbosity=0"];
        cargo::run(&folder, &run, &[])
            .with_context(|| format!("fuzz target {name}; the input that broke it is in {}", folder.display()))?;
    }
    Ok(Outcome::Passed)
}

fn scenario_in_segment(setup: &Setup, scenario: &Scenario) -> Result<Outcome> {
    let name = slug(scenario.name);
    let folder = setup.run_folder(&name)?;
    let log = folder.join("scenario.log");
    let mut inside = Daemon::start(&mut segment::command(&["scenario", &name])?, &log)?;
    let status = inside.wait(SCENARIO_LIMIT)?;
    if status.is_some_and(|status| status.success()) {
        remove_large(&folder)?;
        return Ok(Outcome::Passed);
    }
    let why = if status.is_none() { format!("not done after {} s\n", SCENARIO_LIMIT.as_secs()) } else { String::new() };
    bail!("{why}{}\nlogs: {}", tail(&log, 40), folder.display())
}

/// Disks of a passed scenario are of no use to anybody; its logs are small and stay.
fn remove_large(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            remove_large(&path)?;
        } else if fs::metadata(&path).is_ok_and(|data| data.len() > 4 << 20) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Inside the segment.
pub fn inside(name: &str) -> Result<ExitCode> {
    let scenario = scenarios::known().find(|scenario| slug(scenario.name) == name);
    let scenario = scenario.with_context(|| format!("there is no scenario {name}"))?;
    let scene = Scene::new(name)?;
    let outcome = (scenario.run)(&scene);
    if outcome.is_ok() {
        File::create(scene.folder.join("passed")).context("cannot note the success")?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}
