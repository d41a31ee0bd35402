//! What every run needs, built once: the programs, kernel and ramdisk, the Debian artifacts; handed to the processes inside
//! segments as a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::command::{self, output};
use crate::kit::{Kit, Recipe};
use crate::machine::Accelerator;
use crate::{artifacts, prepare};

pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How the programs of a ramdisk are linked.
const RAMDISK: &str = ".cargo/ramdisk.toml";
/// The words that make the cloud kit; the packs lie beside it.
const CLOUD: &[&str] = &["--packs"];
/// The words that make the metal kit.
const METAL: &[&str] = &["--profile", "metal"];
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// `target/lab`.
    pub lab: PathBuf,
    pub thimble: PathBuf,
    pub init: PathBuf,
    pub actions: PathBuf,
    /// Makes system calls fail.
    pub faults: PathBuf,
    /// Debian's cloud kernel as a package.
    pub kernel_deb: PathBuf,
    /// Virtual machines: Debian's cloud kernel.
    pub cloud: Kit,
    /// Real machines: Debian's standard kernel.
    pub metal: Kit,
    pub disk: PathBuf,
    pub disk_zst: PathBuf,
    pub accelerator: Accelerator,
}

impl Setup {
    /// Builds what is missing or old. `say` hears each step.
    pub fn build(say: &dyn Fn(&str)) -> Result<Self> {
        let root = workspace()?;
        let lab = root.join("target/lab");
        fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
        alone(&lab, say)?;
        prepare::run(say)?;
        say("building thimble");
        cargo(&root, &["build", "-p", "thimble"], &[])?;
        say("building the static /init and actions (some minutes the first time)");
        let profile = profile();
        let words = ["build", "--config", RAMDISK, "--profile", profile, "--target", TARGET];
        let what = ["-p", "init", "-p", "actions", "-p", "faults", "--bin", "init", "--bin", "actions", "--bin", "faults"];
        cargo(&root, &[&words[..], &what[..]].concat(), &[])?;
        let made = artifacts::build(&lab, say)?;
        let statics = root.join("target").join(TARGET).join(profile);
        let (thimble, init) = (root.join("target/debug/thimble"), statics.join("init"));
        let recipe = |kernel_deb, words| Recipe { thimble: &thimble, init: &init, kernel_deb, words };
        let cloud = Kit::build(&lab.join("cloud"), &recipe(&made.kernel_deb, CLOUD), say)?;
        let metal = Kit::build(&lab.join("metal"), &recipe(&made.metal_deb, METAL), say)?;
        let setup = Self {
            actions: statics.join("actions"),
            faults: statics.join("faults"),
            kernel_deb: made.kernel_deb,
            disk: made.disk,
            disk_zst: made.disk_zst,
            accelerator: Accelerator::probe(&cloud.kernel, &lab)?,
            thimble,
            init,
            cloud,
            metal,
            lab,
        };
        setup.save()?;
        Ok(setup)
    }

    /// For a process inside a segment: what `build` left.
    pub fn load() -> Result<Self> {
        let path = workspace()?.join("target/lab/setup.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not the lab's", path.display()))
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot write the setup")?;
        fs::write(self.lab.join("setup.json"), text).context("cannot write the setup")
    }

    /// The cloud kit of another commit, built in a worktree of its own; everything is compiled anew the first time.
    pub fn build_revision(&self, revision: &str, say: &dyn Fn(&str)) -> Result<()> {
        let root = workspace()?;
        let (tree, target) = (self.lab.join("against/tree"), self.lab.join("against/target"));
        let git = |args: &[&str]| output(Command::new("git").args(args).current_dir(&root));
        let commit = git(&["rev-parse", "--short", "--verify", &format!("{revision}^{{commit}}")])?.trim().to_owned();
        say(&format!("building {commit} (many minutes the first time)"));
        let place = tree.display().to_string();
        if tree.exists() {
            output(Command::new("git").args(["checkout", "-q", "--detach", &commit]).current_dir(&tree))?;
        } else {
            git(&["worktree", "prune"])?;
            git(&["worktree", "add", "-q", "--detach", &place, &commit])?;
        }
        let target_text = target.display().to_string();
        let own = ("CARGO_TARGET_DIR", target_text.as_str());
        cargo(&tree, &["build", "-p", "thimble"], &[own])?;
        let words = ["build", "--profile", profile(), "--target", TARGET, "-p", "init", "--bin", "init"];
        if tree.join(RAMDISK).exists() {
            cargo(&tree, &[&words[..], &["--config", RAMDISK]].concat(), &[own])?;
        } else {
            cargo(&tree, &words, &[own, ("RUSTFLAGS", "-C target-feature=+crt-static")])?; // older commits
        }
        let (thimble, init) = (target.join("debug/thimble"), target.join(TARGET).join(profile()).join("init"));
        let recipe = Recipe { thimble: &thimble, init: &init, kernel_deb: &self.kernel_deb, words: &[] };
        Kit::build(&self.lab.join("against/kit"), &recipe, say)?;
        fs::write(self.lab.join("against/commit"), format!("{revision} {commit}")).context("cannot note the commit")
    }

    /// What `build_revision` left, and its commit.
    pub fn revision(&self, revision: &str) -> Result<(Kit, String)> {
        let built = fs::read_to_string(self.lab.join("against/commit")).context("no other commit has been built")?;
        let commit = built.strip_prefix(revision).with_context(|| format!("{revision} is not what was built: {built}"))?;
        Ok((Kit::at(&self.lab.join("against/kit")), commit.trim().to_owned()))
    }

    /// A new folder for one run's files; an earlier one of this name goes.
    pub fn run_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.lab.join("runs").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// `LAB_PROFILE=quick` builds /init in a tenth of the time, larger and slower in the machine: for trying a change.
fn profile() -> &'static str {
    if std::env::var_os("LAB_PROFILE").is_some_and(|name| name == "quick") { "quick" } else { "image" }
}

/// Two labs in one checkout would build into, and clear, the same folders. The lock ends with this process.
fn alone(lab: &Path, say: &dyn Fn(&str)) -> Result<()> {
    static LOCK: OnceLock<File> = OnceLock::new();
    if LOCK.get().is_some() {
        return Ok(());
    }
    let path = lab.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("another lab runs in this checkout; waiting for its end");
        rustix::fs::flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", path.display()))?;
    }
    LOCK.get_or_init(|| file);
    Ok(())
}

/// The checkout's folder; the lab is always built inside it.
pub fn workspace() -> Result<PathBuf> {
    let manifest = output(Command::new("cargo").args(["locate-project", "--workspace", "--message-format", "plain"]))
        .context("the lab runs in a checkout of Thimble")?;
    Path::new(manifest.trim()).parent().map(Path::to_owned).context("the workspace's Cargo.toml has no folder")
}

/// A variable that cargo gives to the program it runs, and no person sets.
fn inherited(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || name == "CARGO_BIN_NAME"
        || name == "CARGO_CRATE_NAME"
}

/// Cargo with its own output on the terminal.
pub fn cargo(root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    cargo_within(BUILD_LIMIT, root, args, environment)
}

pub fn cargo_within(limit: Duration, root: &Path, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new("cargo");
    // What `cargo lab` set for this process would make the build scripts of others (ring's) run again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| inherited(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.args(args).current_dir(root).envs(environment.iter().copied());
    let mut child = command.spawn().context("cannot start cargo")?;
    let status = command::wait_for("cargo", limit, || child.try_wait().context("cannot wait for cargo"));
    let status = status.inspect_err(|_| drop(child.kill()))?;
    if !status.success() {
        bail!("cargo {} failed ({status})", args.join(" "));
    }
    Ok(())
}
