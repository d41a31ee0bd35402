//! The checks of `cargo lab test` without a virtual machine. Each check's output is in `target/lab/checks`, and a failure
//! shows its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::board::Job;
use crate::cargo::{self, Call};

pub enum Outcome {
    Passed,
    Skipped(String),
}

pub type Check = fn(&Path, &Job) -> Result<Outcome>;

pub const CHECKS: &[(&str, Check)] = &[
    ("formatting", |root, job| passes(root, job, "formatting", &["fmt", "--all", "--check"])),
    ("lints", lints),
    ("supply chain: bans, licences, sources", deny),
    ("supply chain: advisories", advisories),
    ("Debian's packages of cloud-init", cloud_init),
    ("unit and component tests", |root, job| passes(root, job, "tests", &["test", "--workspace", "--no-fail-fast"])),
    ("the agent on a real containerd", containerd),
];

/// These have a build folder of their own. They begin when the programs of the scenarios are built, and leave the processor
/// to the checks above, which often wait.
pub const BESIDE: &[(&str, Check)] = &[("fuzz targets, briefly", fuzz)];

/// With the features that the default build leaves out, as far as they compile here: the client of containerd needs protoc. The
/// tests compile the code without them.
fn lints(root: &Path, job: &Job) -> Result<Outcome> {
    let features = if answers("protoc", "--version") { "thimble/otel,agent/containerd" } else { "thimble/otel" };
    passes(root, job, "lints", &["clippy", "--workspace", "--features", features, "--all-targets", "--", "-D", "warnings"])
}

/// For a test of boots, which is skipped without them.
fn cloud_init(root: &Path, _job: &Job) -> Result<Outcome> {
    match crate::cloud_init::packages(&root.join("target/lab")) {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) => Ok(Outcome::Skipped(format!("apt-get gives no packages of cloud-init: {error:#}"))),
    }
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

/// This feature is off by default, because its client needs protoc to build. So the tests above do not include it. The whole
/// workspace is named, so that every dependency is the one compiled for them.
fn containerd(root: &Path, job: &Job) -> Result<Outcome> {
    if !answers("protoc", "--version") {
        return Ok(Outcome::Skipped("protoc is not installed; `cargo lab prepare` does it".into()));
    }
    passes(root, job, "containerd", &["test", "--workspace", "--features", "agent/containerd", "--test", "containerd"])
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

fn fuzz(root: &Path, job: &Job) -> Result<Outcome> {
    crate::fuzz::briefly(root, &log(root, "fuzz")?, job).map(|()| Outcome::Passed)
}
