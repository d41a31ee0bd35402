//! Cargo, started by the lab: with its output on the terminal, or as a job on the board.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::board::Job;
use crate::command::{self, Daemon, output, tail};

const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);
const LOOK: Duration = Duration::from_millis(300);
/// The most lines of a compiler's errors that are shown.
const COMPLAINTS: usize = 60;

/// Runs cargo with its output on the terminal.
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

/// A call of cargo beside other work. Its output goes to `log`, and the board shows its progress.
pub struct Call<'a> {
    pub folder: &'a Path,
    pub log: &'a Path,
    /// Whether to leave the processor to other work.
    pub patient: bool,
    pub args: &'a [&'a str],
}

/// Runs it to its end. An error contains the compiler's errors, or the end of the output.
pub fn run_as_job(job: &Job, call: &Call) -> Result<()> {
    let all = if call.args.first() == Some(&"build") { crates(call.folder, call.args).ok() } else { None };
    let _from_an_earlier_run = std::fs::remove_file(call.log);
    let mut command = cargo(if call.patient { "nice" } else { "cargo" }, call.folder, &[]);
    if call.patient {
        command.args(["-n", "5", "cargo"]);
    }
    let mut daemon = Daemon::start(command.args(call.args), call.log)?;
    let deadline = Instant::now() + BUILD_LIMIT;
    while daemon.exited()?.is_none() && Instant::now() < deadline {
        job.at(&state(&std::fs::read_to_string(call.log).unwrap_or_default(), all));
        std::thread::sleep(LOOK);
    }
    let words = call.args.join(" ");
    match daemon.exited()? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("cargo {words} failed ({status}), see {}:\n{}", call.log.display(), complaints(call.log)),
        None => bail!("cargo {words} was still running after {} s", BUILD_LIMIT.as_secs()),
    }
}

/// What cargo is doing, from its output.
fn state(log: &str, all: Option<usize>) -> String {
    let lines = || log.lines().map(str::trim_start);
    let crates = lines().filter_map(|line| line.strip_prefix("Compiling ").or_else(|| line.strip_prefix("Checking ")));
    let (count, last) = crates.fold((0, ""), |(count, _), line| (count + 1, line));
    let name = last.split_whitespace().next().unwrap_or_default();
    let running = lines().filter_map(|line| line.strip_prefix("Running ")).next_back().and_then(|line| line.split(" (").next());
    match (running, all) {
        (Some(test), _) => format!("running {test}"),
        (None, _) if count == 0 => "starting".to_owned(),
        (None, Some(all)) => format!("crate {count} of {}, {name}", all.max(count)),
        (None, None) => format!("crate {count}, {name}"),
    }
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

/// What failed, from cargo's output: the failed tests' own words, or what follows the first error, or the end.
fn complaints(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let failures = failures(&text);
    if !failures.is_empty() {
        return failures.join("\n");
    }
    let errors: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("error")).take(COMPLAINTS).collect();
    if errors.is_empty() { tail(log, COMPLAINTS) } else { errors.join("\n") }
}

/// What the test harness prints of each failed test, below the name of its program.
fn failures(text: &str) -> Vec<&str> {
    let (mut program, mut inside, mut found) = ("", false, Vec::new());
    for line in text.lines() {
        if let Some(running) = line.trim_start().strip_prefix("Running ") {
            program = running;
        } else if line == "failures:" && !inside {
            inside = true;
            found.push(program);
        } else if line.starts_with("test result: ") {
            inside = false;
        } else if inside && !line.is_empty() && line != "failures:" {
            found.push(line);
        }
    }
    found.truncate(COMPLAINTS);
    found
}

/// Cargo without the variables that `cargo lab` set for this process, because they would make build scripts (ring's) run
/// again.
fn cargo(program: &str, root: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| inherited(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.current_dir(root).envs(environment.iter().copied());
    command
}

/// Whether cargo sets this variable for the program it runs, and a person does not.
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
    fn progress_is_read_from_cargos_lines() {
        let log = "    Updating crates.io index\n   Compiling libc v0.2.191\n    Checking tonic v0.14.9\n";
        assert_eq!(state(log, Some(40)), "crate 2 of 40, tonic");
        assert_eq!(state(log, None), "crate 2, tonic");
        assert_eq!(
            state(&format!("{log}     Running unittests src/lib.rs (target/debug/deps/a-1)\n"), None),
            "running unittests src/lib.rs"
        );
        assert_eq!(state("", None), "starting");
    }

    #[test]
    fn a_failed_test_is_shown_with_its_own_words() {
        let log = "     Running tests/access.rs (target/debug/deps/access-1)\n\nrunning 2 tests\ntest one ... ok\ntest two ... FAILED\n\nfailures:\n\n\
                   ---- two stdout ----\nthread 'two' panicked at tests/access.rs:1:2:\nno token\n\n\nfailures:\n    two\n\ntest result: FAILED. 1 \
                   passed; 1 failed\n\nerror: test failed, to rerun pass `-p thimble --test access`\n     Running tests/agent.rs (x)\n\
                   test result: ok. 1 passed\nerror: 1 target failed:\n    `-p thimble --test access`\n";
        let shown = failures(log);
        assert_eq!(
            shown,
            [
                "tests/access.rs (target/debug/deps/access-1)",
                "---- two stdout ----",
                "thread 'two' panicked at tests/access.rs:1:2:",
                "no token",
                "    two"
            ]
        );
        assert!(failures("   Compiling a v0.1.0\nerror[E0425]: cannot find value\n").is_empty());
    }
}
