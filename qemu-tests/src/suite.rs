//! `cargo lab test`: the checks while the lab builds what the scenarios need, then the scenarios, several at once. Each
//! prints a line at its start and at its end, and a summary follows.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::checks::{BESIDE, CHECKS, Check, Outcome};
use crate::command::{Daemon, tail};
use crate::crowd::Crowd;
use crate::prepare::{self, Purpose};
use crate::scenarios::{self, Scenario, slug};
use crate::scene::Scene;
use crate::segment;
use crate::setup::{Setup, workspace};

const SCENARIO_LIMIT: Duration = Duration::from_secs(30 * 60);
/// On two cores that have built nothing yet. Every capability that is added may take three minutes of it.
const BUDGET_MINUTES: u32 = 50;
/// How often the moving line is printed if it cannot be replaced.
const PLAIN_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

struct Suite {
    board: Board,
    tally: Mutex<Tally>,
}

impl Suite {
    fn new() -> Self {
        Self { board: Board::every("", PLAIN_EVERY), tally: Mutex::default() }
    }

    /// Runs one check or scenario and counts its outcome.
    fn take(&self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        self.board.say(&format!("----           {name}"));
        let start = Instant::now();
        let outcome = work();
        let took = start.elapsed().as_secs_f64();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(Outcome::Passed) => {
                tally.passed += 1;
                self.board.say(&format!("PASS {took:>6.1} s  {name}"));
            }
            Ok(Outcome::Skipped(why)) => {
                tally.skipped += 1;
                self.board.say(&format!("SKIP {took:>6.1} s  {name}: {why}"));
            }
            Err(error) => {
                tally.failed.push(name.to_owned());
                self.board.say(&format!("FAIL {took:>6.1} s  {name}: {error:#}"));
            }
        }
    }
}

impl Tally {
    fn count(&self) -> usize {
        self.passed + self.failed.len() + self.skipped
    }

    fn finish(&self, whole: bool, took: Duration) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("failed: {name}");
        }
        let (what, budget) = if whole { ("whole suite", format!(" of {BUDGET_MINUTES}")) } else { ("took", String::new()) };
        println!("{what} {:.1} min{budget}", took.as_secs_f64() / 60.0);
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped);
        if self.failed.is_empty() && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs everything, or with a filter only the matching tests.
pub fn run(filter: Option<&str>, reuse: bool, awaited: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let wanted = |name: &str| filter.is_none_or(|words| name.contains(words) || slug(name).contains(words));
    let root = workspace()?;
    if !reuse {
        prepare::alone(&[Purpose::Test])?; // the checks need its packages, too
    }
    let chosen: Vec<&Scenario> =
        if awaited { scenarios::AWAITED } else { scenarios::ALL }.iter().filter(|scenario| wanted(scenario.name)).collect();
    let suite = Suite::new();
    let each = |checks: &[(&str, Check)]| {
        for (name, check) in checks.iter().filter(|(name, _)| wanted(name) && !awaited) {
            suite.take(name, || suite.board.track(name, |job| check(&root, job)));
        }
    };
    let setup = suite.board.during(|| {
        std::thread::scope(|scope| {
            let setup = scope.spawn(|| {
                let setup = if chosen.is_empty() { None } else { build(&suite, reuse) };
                each(BESIDE);
                setup
            });
            each(CHECKS);
            setup.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    if let Some(setup) = setup {
        let crowd = Crowd::of_this_machine();
        println!("     scenarios run side by side, {} machines at most", crowd.machines());
        crowd.run(
            &chosen,
            |scenario| scenario.machines,
            |scenario| {
                suite.take(scenario.name, || scenario_in_segment(&setup, scenario));
            },
        );
    }
    let tally = suite.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if tally.count() == 0 {
        bail!("no name contains {:?}; try `cargo lab test --list`", filter.unwrap_or_default());
    }
    Ok(tally.finish(filter.is_none() && !awaited, start.elapsed()))
}

fn build(suite: &Suite, reuse: bool) -> Option<Setup> {
    let mut setup = None;
    suite.take("build the programs, ramdisks and Debian image", || {
        setup = Some(Setup::obtain(Purpose::Test, reuse, &suite.board)?);
        Ok(if reuse { Outcome::Skipped("--reuse".into()) } else { Outcome::Passed })
    });
    setup
}

pub fn list() {
    CHECKS.iter().chain(BESIDE).for_each(|(name, _)| println!("{name}"));
    scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.name));
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

/// Removes the disks of a passed scenario. Its logs are small and stay.
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

/// Runs one scenario inside the segment.
pub fn inside(name: &str) -> Result<ExitCode> {
    let scenario = scenarios::known().find(|scenario| slug(scenario.name) == name);
    let scenario = scenario.with_context(|| format!("{name} is not the name of a scenario"))?;
    let scene = Scene::new(name)?;
    let outcome = (scenario.run)(&scene);
    if outcome.is_ok() {
        File::create(scene.folder.join("passed")).context("cannot record the success")?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}
