//! Everything that a run needs, built once: the programs, kernel and ramdisk, and the Debian artifacts. The processes
//! inside segments read it from a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::artifacts::{self, Artifacts};
use crate::board::Board;
use crate::cargo::{self, Call};
use crate::command::output;
use crate::kit::{Kit, Recipe};
use crate::machine::Accelerator;
use crate::prepare;
use crate::prepare::Purpose;

pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// How the programs of a ramdisk are linked.
const RAMDISK: &str = ".cargo/ramdisk.toml";
/// The arguments that make the cloud kit. Its packs are beside it.
const CLOUD: &[&str] = &["--packs"];
/// The arguments that make the metal kit.
const METAL: &[&str] = &["--profile", "metal"];
/// The arguments that make the kit for virtual media. Its packs are beside it.
const MEDIA: &[&str] = &["--profile", "media", "--packs"];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The folder `target/lab`.
    pub lab: PathBuf,
    pub thimble: PathBuf,
    pub init: PathBuf,
    pub actions: PathBuf,
    /// The program that makes system calls fail. The demo does not build it.
    pub faults: PathBuf,
    /// Debian's cloud kernel as a package.
    pub kernel_deb: PathBuf,
    /// Virtual machines: Debian's cloud kernel.
    pub cloud: Kit,
    /// Real machines: Debian's standard kernel. The demo does not build it.
    pub metal: Kit,
    pub media: Kit,
    pub disk: PathBuf,
    pub disk_zst: PathBuf,
    /// The files of that disk's system as a tar archive.
    #[serde(default)]
    pub archive: PathBuf,
    pub accelerator: Accelerator,
}

impl Setup {
    /// Everything that the purpose needs, built if missing or outdated. With `reuse` it is taken from the last run.
    pub fn obtain(purpose: Purpose, reuse: bool, board: &Board) -> Result<Self> {
        if !reuse {
            return Self::build(purpose, board);
        }
        let setup = Self::load()?;
        if purpose != Purpose::Demo && !(setup.metal.is_complete() && setup.media.is_complete() && setup.faults.exists()) {
            bail!("the last run has built only what the demo needs; run once without --reuse");
        }
        Ok(setup)
    }

    /// Packages, programs and the Debian image side by side, then kernel and ramdisk from them.
    pub fn build(purpose: Purpose, board: &Board) -> Result<Self> {
        let root = workspace()?;
        let lab = root.join("target/lab");
        fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
        alone(&lab, board)?;
        let statics = root.join("target").join(TARGET).join(profile());
        let (thimble, init) = (root.join("target/debug/thimble"), statics.join("init"));
        board.during(|| {
            let made = programs_and_artifacts(purpose, &root, &lab, board)?;
            let recipe = |kernel_deb, words| Recipe { thimble: &thimble, init: &init, kernel_deb, words };
            let kit = |name: &str, recipe: Recipe| {
                board.job(&format!("kernel and ramdisk, {name}"), |_| Kit::build(&lab.join(name), &recipe))
            };
            let cloud = kit("cloud", recipe(&made.kernel_deb, CLOUD))?;
            let standard = |name: &str, words| match &made.metal_deb {
                Some(package) => kit(name, recipe(package, words)),
                None => Ok(Kit::at(&lab.join(name))),
            };
            let (metal, media) = (standard("metal", METAL)?, standard("media", MEDIA)?);
            let setup = Self {
                actions: statics.join("actions"),
                faults: statics.join("faults"),
                kernel_deb: made.kernel_deb,
                disk: made.debian.raw,
                disk_zst: made.debian.compressed,
                archive: made.debian.archive,
                accelerator: Accelerator::probe(&cloud.kernel, &lab)?,
                thimble: thimble.clone(),
                init: init.clone(),
                cloud,
                metal,
                media,
                lab: lab.clone(),
            };
            setup.save()?;
            Ok(setup)
        })
    }

    /// For a process inside a segment: reads what `build` has left.
    pub fn load() -> Result<Self> {
        let path = workspace()?.join("target/lab/setup.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} was not written by the lab", path.display()))
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot write the setup")?;
        fs::write(self.lab.join("setup.json"), text).context("cannot write the setup")
    }

    /// The cloud kit of another commit, built in a separate worktree. The first time everything is compiled.
    pub fn build_revision(&self, revision: &str, board: &Board) -> Result<()> {
        let root = workspace()?;
        let (tree, target) = (self.lab.join("against/tree"), self.lab.join("against/target"));
        let git = |args: &[&str]| output(Command::new("git").args(args).current_dir(&root));
        let commit = git(&["rev-parse", "--short", "--verify", &format!("{revision}^{{commit}}")])?.trim().to_owned();
        board.say(&format!("building {commit} (many minutes the first time)"));
        let place = tree.display().to_string();
        if tree.exists() {
            output(Command::new("git").args(["checkout", "-q", "--detach", &commit]).current_dir(&tree))?;
        } else {
            git(&["worktree", "prune"])?;
            git(&["worktree", "add", "-q", "--detach", &place, &commit])?;
        }
        let target_text = target.display().to_string();
        let own = ("CARGO_TARGET_DIR", target_text.as_str());
        cargo::run(&tree, &["build", "-p", "thimble"], &[own])?;
        let words = ["build", "--profile", profile(), "--target", TARGET, "-p", "init", "--bin", "init"];
        if tree.join(RAMDISK).exists() {
            cargo::run(&tree, &[&words[..], &["--config", RAMDISK]].concat(), &[own])?;
        } else {
            cargo::run(&tree, &words, &[own, ("RUSTFLAGS", "-C target-feature=+crt-static")])?; // older commits
        }
        let (thimble, init) = (target.join("debug/thimble"), target.join(TARGET).join(profile()).join("init"));
        let recipe = Recipe { thimble: &thimble, init: &init, kernel_deb: &self.kernel_deb, words: &[] };
        Kit::build(&self.lab.join("against/kit"), &recipe)?;
        fs::write(self.lab.join("against/commit"), format!("{revision} {commit}")).context("cannot record the commit")
    }

    /// The kit that `build_revision` left, and its commit.
    pub fn revision(&self, revision: &str) -> Result<(Kit, String)> {
        let built = fs::read_to_string(self.lab.join("against/commit")).context("no other commit has been built")?;
        let commit = built.strip_prefix(revision).with_context(|| format!("the last build was {built}, not {revision}"))?;
        Ok((Kit::at(&self.lab.join("against/kit")), commit.trim().to_owned()))
    }

    /// A new folder for one run's files. An earlier one with this name is removed.
    pub fn run_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.lab.join("runs").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// Tests compile the whole workspace with the features that it has together. With one test beside it, the program is the one
/// that `cargo test --workspace` makes, so its dependencies are not compiled twice. The demo compiles less.
fn thimble_words(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Demo | Purpose::Firmware | Purpose::Peers | Purpose::Storm => &["-p", "thimble"],
        Purpose::Test | Purpose::Bench => &["--workspace", "--bin", "thimble", "--bin", "storm", "--test", "frozen"],
    }
}

/// Linking the image profile takes one core for a minute, so the other builds run meanwhile. A suite's checks run
/// meanwhile, too. Then the builds have a low priority, so that tests with time limits get the processor first.
fn programs_and_artifacts(purpose: Purpose, root: &Path, lab: &Path, board: &Board) -> Result<Artifacts> {
    let build = |name: &str, log: &str, patient, args: &[&str]| {
        let args = [&["build"], args].concat();
        board.job(name, |job| cargo::run_as_job(job, &Call { folder: root, log: &lab.join(log), patient, args: &args }))
    };
    let is_demo = purpose == Purpose::Demo;
    let statics = || {
        let words = ["--config", RAMDISK, "--profile", profile(), "--target", TARGET, "-p", "init", "-p", "actions"];
        let faults: &[&str] = if is_demo { &[] } else { &["-p", "faults"] };
        build("/init and actions", "statics.log", !is_demo, &[&words, faults].concat())
    };
    let thimble = || build("thimble", "thimble.log", true, thimble_words(purpose));
    std::thread::scope(|scope| {
        let programs = [scope.spawn(statics), scope.spawn(thimble)];
        let made = board
            .job("Debian packages", |job| prepare::run(&[purpose], lab, job))
            .and_then(|()| artifacts::build(purpose, lab, board));
        for program in programs {
            program.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        made
    })
}

/// `LAB_PROFILE=quick` builds /init in a tenth of the time, larger and slower in the machine. Use it to try a change.
fn profile() -> &'static str {
    if std::env::var_os("LAB_PROFILE").is_some_and(|name| name == "quick") { "quick" } else { "image" }
}

/// Two labs in one checkout would build into the same folders, and clear them. The lock ends with this process.
fn alone(lab: &Path, board: &Board) -> Result<()> {
    static LOCK: OnceLock<File> = OnceLock::new();
    if LOCK.get().is_some() {
        return Ok(());
    }
    let path = lab.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        board.say("another lab runs in this checkout; waiting for its end");
        rustix::fs::flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", path.display()))?;
    }
    LOCK.get_or_init(|| file);
    Ok(())
}

/// The checkout's folder. The lab is always built inside it.
pub fn workspace() -> Result<PathBuf> {
    let manifest = output(Command::new("cargo").args(["locate-project", "--workspace", "--message-format", "plain"]))
        .context("the lab runs in a checkout of Thimble")?;
    Path::new(manifest.trim()).parent().map(Path::to_owned).context("the workspace's Cargo.toml has no folder")
}
