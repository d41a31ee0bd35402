//! Cargo, started by the lab: with its own output on the terminal, or as a job on the board.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::board::Job;
use crate::command::{self, Daemon, output, tail};

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
const LOOK: Duration = Duration::from_millis(300);
/// The longest part of a compiler's complaints that is worth a screen.
const COMPLAINTS: usize = 60;

/// Cargo with its own output on the terminal.
pub fn run(root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    run_within(BUILD_LIMIT, root, args, environment)
}

pub fn run_within(limit: Duration, root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = cargo("cargo", root, environment);
    let mut child = command.args(args).spawn().context("cannot start cargo")?;
    let status = command::wait_for("cargo", limit, || child.try_wait().context("cannot wait for cargo"));
    let status = status.inspect_err(|_| drop(child.kill()))?;
    if !status.success() {
        bail!("cargo {} failed ({status})", args.join(" "));
    }
    Ok(())
}

/// `cargo build` beside other work: its output goes to `log`, and the board shows how many crates are compiled.
/// A patient build leaves the processor to the others.
pub fn build(job: &Job, root: &Path, log: &Path, patient: bool, args: &[&str]) -> Result<()> {
    let all = crates(root, args).map_or_else(|_| "?".to_owned(), |count| count.to_string());
    let _from_an_earlier_build = std::fs::remove_file(log);
    let mut command = if patient { cargo("nice", root, &[]) } else { cargo("cargo", root, &[]) };
    if patient {
        command.args(["-n", "5", "cargo"]);
    }
    let mut daemon = Daemon::start(command.arg("build").args(args), log)?;
    let deadline = std::time::Instant::now() + BUILD_LIMIT;
    while daemon.exited()?.is_none() && std::time::Instant::now() < deadline {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let (count, last) = compiled(&text);
        job.at(&format!("crate {count} of {all}, {last}"));
        std::thread::sleep(LOOK);
    }
    match daemon.exited()? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("cargo build {} failed ({status}):\n{}", args.join(" "), complaints(log)),
        None => bail!("cargo build {} was still running after {} s", args.join(" "), BUILD_LIMIT.as_secs()),
    }
}

/// How many crates have begun to compile, and the last one.
fn compiled(log: &str) -> (usize, &str) {
    let lines = log.lines().filter_map(|line| line.trim_start().strip_prefix("Compiling "));
    let names: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    (names.len(), names.last().copied().unwrap_or("starting"))
}

/// The packages that such a build compiles, each once.
fn crates(root: &Path, args: &[&str]) -> Result<usize> {
    let mut tree = cargo("cargo", root, &[]);
    tree.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if ["-p", "--target"].contains(word) {
            tree.arg(word).args(words.next());
        }
    }
    let listing = output(&mut tree)?;
    let mut names: Vec<&str> =
        listing.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.len())
}

/// From the first error on, or else the end.
fn complaints(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let errors: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("error")).take(COMPLAINTS).collect();
    if errors.is_empty() { tail(log, COMPLAINTS) } else { errors.join("\n") }
}

/// Without the variables that `cargo lab` set for this process: they would make build scripts (ring's) run again.
fn cargo(program: &str, root: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| inherited(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.current_dir(root).envs(environment.iter().copied());
    command
}

/// A variable that cargo gives to the program it runs, and that a person does not set.
fn inherited(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || name == "CARGO_BIN_NAME"
        || name == "CARGO_CRATE_NAME"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_cargos_own_lines() {
        let log = "    Updating crates.io index\n   Compiling libc v0.2.191\n   Compiling tonic v0.14.9\n";
        assert_eq!(compiled(log), (2, "tonic"));
        assert_eq!(compiled(""), (0, "starting"));
    }
}
