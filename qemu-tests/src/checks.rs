//! The checks of `cargo lab test` without a virtual machine. Each check's output is in `target/lab/checks`, and a failure
//! shows its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::board::Job;
use crate::cargo::{self, Call};
use crate::setup::TARGET;

pub enum Outcome {
    Passed,
    Skipped(String),
}

type Check = fn(&Path, &Job) -> Result<Outcome>;

pub const CHECKS: &[(&str, Check)] = &[
    ("formatting", |root, job| passes(root, job, "formatting", &["fmt", "--all", "--check"])),
    ("lints", lints),
    ("supply chain: bans, licences, sources", deny),
    ("supply chain: advisories", advisories),
    ("unit and component tests", |root, job| passes(root, job, "tests", &["test", "--workspace"])),
    ("the agent on a real containerd", containerd),
    ("fuzz targets, briefly", fuzz),
];

/// The second time with the feature that the default build leaves out. Only what it changes is compiled again.
fn lints(root: &Path, job: &Job) -> Result<Outcome> {
    passes(root, job, "lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    let with = ["clippy", "--workspace", "--features", "thimble/otel", "--all-targets", "--", "-D", "warnings"];
    passes(root, job, "lints-otel", &with)
}

fn passes(root: &Path, job: &Job, name: &str, args: &[&str]) -> Result<Outcome> {
    cargo::run_as_job(job, &Call { folder: root, log: &log(root, name)?, patient: false, args })?;
    Ok(Outcome::Passed)
}

fn log(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = root.join("target/lab/checks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("{name}.log")))
}

/// This feature is off by default, because its client needs protoc to build. So the lints and tests above do not include
/// it. The whole workspace is named, so that every dependency is the one compiled for them.
fn containerd(root: &Path, job: &Job) -> Result<Outcome> {
    if !answers("protoc", "--version") {
        return Ok(Outcome::Skipped("protoc is not installed; `cargo lab prepare` does it".into()));
    }
    let with = ["--workspace", "--features", "agent/containerd"];
    passes(root, job, "containerd-lints", &[&["clippy"], &with[..], &["--all-targets", "--", "-D", "warnings"]].concat())?;
    passes(root, job, "containerd", &[&["test"], &with[..], &["--test", "containerd"]].concat())
}

fn deny(root: &Path, job: &Job) -> Result<Outcome> {
    if !answers("cargo-deny", "--version") {
        return Ok(Outcome::Skipped("cargo-deny is not installed".into()));
    }
    passes(root, job, "deny", &["deny", "--offline", "check", "bans", "licenses", "sources"])
}

/// cargo-deny fetches the database of advisories from GitHub. A host that cannot reach it uses the copy it fetched before.
fn advisories(root: &Path, job: &Job) -> Result<Outcome> {
    if !answers("cargo-deny", "--version") {
        return Ok(Outcome::Skipped("cargo-deny is not installed".into()));
    }
    let log = log(root, "advisories-fetch")?;
    let mut fetch = Command::new("cargo");
    fetch.args(["deny", "fetch", "db"]).current_dir(root);
    if let Err(error) = crate::command::run(&mut fetch, &log, FETCHED_WITHIN)
        && !has_database()
    {
        return Ok(Outcome::Skipped(format!("this host has no database of advisories and cannot fetch one: {error:#}")));
    }
    passes(root, job, "advisories", &["deny", "--offline", "check", "advisories"])
}

const FETCHED_WITHIN: std::time::Duration = std::time::Duration::from_secs(120);

/// The folder in which cargo-deny keeps it, by its version.
fn has_database() -> bool {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let entries = |name| cargo.as_ref().and_then(|cargo| fs::read_dir(cargo.join(name)).ok()).into_iter().flatten();
    ["advisory-dbs", "advisory-db"].into_iter().flat_map(entries).next().is_some()
}

/// Whether a program is installed.
fn answers(program: &str, flag: &str) -> bool {
    let status = Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

const FUZZ_SECONDS: &str = "-max_total_time=10";
/// How many fuzz targets run at once. Each uses one core.
const FUZZ_AT_ONCE: usize = 2;

/// Coverage-guided fuzzing on stable Rust. The flags are in that folder's cargo configuration. Every target of the folder
/// runs.
fn fuzz(root: &Path, job: &Job) -> Result<Outcome> {
    let folder = root.join("fuzz");
    let build = ["build", "--release", "--target", TARGET];
    cargo::run_as_job(job, &Call { folder: &folder, log: &log(root, "fuzz")?, patient: false, args: &build })?;
    let targets = fuzz_targets(&folder)?;
    let built = folder.join("target").join(TARGET).join("release");
    for (index, some) in targets.chunks(FUZZ_AT_ONCE).enumerate() {
        job.at(&format!("target {} of {}", index * FUZZ_AT_ONCE + 1, targets.len()));
        let run = |name: &String| fuzz_one(root, &folder, &built, name);
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|name| scope.spawn(move || run(name))).collect();
            running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
    }
    Ok(Outcome::Passed)
}

fn fuzz_one(root: &Path, folder: &Path, built: &Path, name: &str) -> Result<()> {
    let log = log(root, &format!("fuzz-{name}"))?;
    let _from_an_earlier_run = fs::remove_file(&log);
    let mut command = Command::new(built.join(name));
    command.args([FUZZ_SECONDS, "-verbosity=0"]).current_dir(folder);
    crate::command::run(&mut command, &log, std::time::Duration::from_secs(120))
        .with_context(|| format!("fuzz target {name}; the input that broke it is in {}", folder.display()))
}

fn fuzz_targets(folder: &Path) -> Result<Vec<String>> {
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
