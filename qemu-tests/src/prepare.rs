//! The Debian packages that the lab needs. Missing ones are installed if the lab may do that. Packages are never removed,
//! and no service is started or enabled.

mod services;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::board::{Board, Job};
use crate::command::{self, output};
use crate::setup::workspace;
use table::{PACKAGES, Package};

/// What the packages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One machine that installs Debian: `cargo lab demo` and `shell`
    Demo,
    /// Every test; also `matrix`, `soak` and `ladder`
    Test,
    /// `cargo lab bench`
    Bench,
    /// `cargo lab bench boots`
    Peers,
    /// `cargo lab peers`
    Firmware,
    /// `cargo lab storm`
    Storm,
}

const INSTALL: &[&str] = &["install", "-y", "-q", "--no-install-recommends", "--no-remove"];
const APT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Installs packages without building anything, for `cargo lab prepare`.
pub fn alone(purposes: &[Purpose]) -> Result<()> {
    let (board, lab) = (Board::new("== "), workspace()?.join("target/lab"));
    std::fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    board.during(|| board.job("Debian packages", |job| run(purposes, &lab, job)))
}

/// Makes sure that every package for these purposes is installed.
pub fn run(purposes: &[Purpose], lab: &Path, job: &Job) -> Result<()> {
    let missing = missing(purposes)?;
    if missing.is_empty() {
        return fresh_lists(lab);
    }
    let listed: Vec<String> = missing.iter().map(|package| format!("{} ({})", package.name, package.why)).collect();
    job.say(&format!("installing {}", listed.join(", ")));
    job.at("installing");
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let Some(root) = Root::find(lab) else {
        bail!(
            "not root and no password-free sudo; run this once, then start again:\n  sudo apt-get {} {}",
            INSTALL.join(" "),
            names.join(" ")
        );
    };
    // A fresh machine has no package lists, and an old one has outdated ones. An update repairs both.
    let removed = simulate(&names).or_else(|_| {
        root.apt(&["update", "-q"])?;
        simulate(&names)
    });
    refuse_removals(&names, &removed?)?;
    let install = || root.apt(&[INSTALL, names.as_slice()].concat());
    services::keep_disabled(&root, || install().or_else(|_| root.apt(&["update", "-q"]).and_then(|()| install())))
        .with_context(|| format!("cannot install {}", names.join(" ")))?;
    let left = self::missing(purposes)?;
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|package| package.name).collect();
        bail!("apt-get succeeded, but these packages are still missing: {}", names.join(" "));
    }
    fresh_lists(lab)
}

/// The packages that installing `names` would remove.
fn simulate(names: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args(["install", "-s", "-q", "--no-install-recommends"]).args(names).env("LC_ALL", "C");
    Ok(removals(&output(&mut command)?))
}

/// The names of the lines `Remv NAME [VERSION] ...`.
fn removals(simulation: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Remv ")?.split_whitespace().next().map(str::to_owned);
    simulation.lines().filter_map(name).collect()
}

fn refuse_removals(names: &[&str], removed: &[String]) -> Result<()> {
    if removed.is_empty() {
        return Ok(());
    }
    bail!(
        "nothing was installed, because apt would remove {}\n  the lab needs {}\n  \
         use a machine or container without the removed packages, or remove them yourself first",
        removed.join(" "),
        names.join(" ")
    )
}

/// The kernel and the Debian image also need apt's lists, which a fresh machine does not have.
fn fresh_lists(lab: &Path) -> Result<()> {
    let policy = output(Command::new("apt-cache").args(["policy", "linux-image-cloud-amd64"]))?;
    if policy.lines().any(|line| line.contains("Candidate: ") && !line.contains("(none)")) {
        return Ok(());
    }
    match Root::find(lab) {
        Some(root) => root.apt(&["update", "-q"]),
        None => bail!("apt has no package lists; run this once, then start again:\n  sudo apt-get update"),
    }
}

fn missing(purposes: &[Purpose]) -> Result<Vec<&'static Package>> {
    let names = PACKAGES.iter().flat_map(|package| [Some(package.name), package.or]).flatten();
    let listing = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(names)
        .output()
        .context("cannot start dpkg-query; the lab runs on Debian")?;
    // dpkg-query exits with 1 for an unknown name, but its output is still right.
    Ok(absent(purposes, &String::from_utf8_lossy(&listing.stdout)))
}

fn absent(purposes: &[Purpose], listing: &str) -> Vec<&'static Package> {
    let installed: Vec<&str> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    let is_absent =
        |package: &&Package| !installed.contains(&package.name) && !package.or.is_some_and(|other| installed.contains(&other));
    PACKAGES.iter().filter(|package| package.purposes.iter().any(|one| purposes.contains(one))).filter(is_absent).collect()
}

/// How a command gets root's rights, and where its output goes.
struct Root {
    prefix: &'static [&'static str],
    log: PathBuf,
}

impl Root {
    /// Nothing for root, and sudo if it needs no password.
    fn find(lab: &Path) -> Option<Self> {
        let log = lab.join("apt.log");
        if rustix::process::geteuid().is_root() {
            return Some(Self { prefix: &[], log });
        }
        output(Command::new("sudo").args(["-n", "true"])).is_ok().then_some(Self { prefix: &["sudo", "-n"], log })
    }

    fn apt(&self, args: &[&str]) -> Result<()> {
        let words = [&["env", "DEBIAN_FRONTEND=noninteractive"], services::NOT_STARTED, &["apt-get"], args].concat();
        self.run(&words).with_context(|| format!("apt-get {}", args.join(" ")))
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let words = [self.prefix, words].concat();
        let (program, rest) = words.split_first().context("no command")?;
        command::run(Command::new(program).args(rest), &self.log, APT_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(packages: &[&Package]) -> Vec<&'static str> {
        packages.iter().map(|package| package.name).collect()
    }

    #[test]
    fn only_installed_packages_count() {
        let all: String = PACKAGES.iter().map(|package| format!("{} installed\n", package.name)).collect();
        assert!(absent(&[Purpose::Test], &all).is_empty());
        let removed = all.replace("mtools installed", "mtools config-files").replace("zstd installed\n", "");
        assert_eq!(names(&absent(&[Purpose::Test], &removed)), ["zstd", "mtools"]);
    }

    #[test]
    fn the_demo_does_not_conflict_with_docker_and_the_tests_accept_docker() {
        let demo = names(&absent(&[Purpose::Demo], ""));
        assert!(demo.contains(&"qemu-system-x86") && !demo.contains(&"containerd") && !demo.contains(&"g++"), "{demo:?}");
        let with_docker = names(&absent(&[Purpose::Test], "containerd.io installed\n"));
        assert!(!with_docker.contains(&"containerd") && !with_docker.contains(&"runc"), "{with_docker:?}");
    }

    #[test]
    fn a_simulation_names_the_removed_packages_and_they_are_refused() {
        let simulation = "NOTE: This is only a simulation!\nThe following packages will be REMOVED:\n  containerd.io docker-ce\n\
                          Remv docker-ce [5:28.2.2-1~debian.12~bookworm]\nRemv containerd.io [1.7.27-1]\n\
                          Inst runc (1.1.5+ds1-1+deb12u1 Debian:12.11/stable [amd64])\nConf runc (1.1.5+ds1-1+deb12u1)\n";
        let removed = removals(simulation);
        assert_eq!(removed, ["docker-ce", "containerd.io"]);
        let refused = refuse_removals(&["runc"], &removed).unwrap_err().to_string();
        assert!(refused.contains("docker-ce containerd.io") && refused.contains("needs runc"), "{refused}");
        assert!(refuse_removals(&["runc"], &removals("Inst runc (1.1.5 Debian [amd64])\n")).is_ok());
    }
}
