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
use sha2::{Digest, Sha256};

use crate::command::{self, output};
use crate::machine::Accelerator;
use crate::{artifacts, prepare};

pub const TARGET: &str = "x86_64-unknown-linux-gnu";
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// `target/lab`.
    pub lab: PathBuf,
    pub thimble: PathBuf,
    pub init: PathBuf,
    pub actions: PathBuf,
    pub kernel_deb: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
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
        cargo(
            &root,
            &[
                "build",
                "--profile",
                "image",
                "--target",
                TARGET,
                "-p",
                "init",
                "-p",
                "actions",
                "--bin",
                "init",
                "--bin",
                "actions",
            ],
            &[("RUSTFLAGS", "-C target-feature=+crt-static")],
        )?;
        let made = artifacts::build(&lab, say)?;
        let statics = root.join("target").join(TARGET).join("image");
        let mut setup = Self {
            thimble: root.join("target/debug/thimble"),
            init: statics.join("init"),
            actions: statics.join("actions"),
            kernel_deb: made.kernel_deb,
            kernel: lab.join("boot/kernel"),
            initrd: lab.join("boot/initramfs.cpio.zst"),
            disk: made.disk,
            disk_zst: made.disk_zst,
            accelerator: Accelerator::Tcg,
            lab,
        };
        setup.ramdisk(say)?;
        setup.accelerator = Accelerator::probe(&setup.kernel, &setup.lab)?;
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

    /// `thimble image build`, when its inputs are not those of last time.
    fn ramdisk(&self, say: &dyn Fn(&str)) -> Result<()> {
        let folder = self.lab.join("boot");
        let mut inputs = Sha256::new();
        for input in [&self.init, &self.thimble] {
            inputs.update(fs::read(input).with_context(|| format!("cannot read {}", input.display()))?);
        }
        inputs.update(self.kernel_deb.display().to_string());
        let key = hex::encode(inputs.finalize());
        let memory = folder.join("inputs");
        if fs::read_to_string(&memory).is_ok_and(|last| last == key) && self.kernel.exists() && self.initrd.exists() {
            return Ok(());
        }
        say("making kernel and ramdisk");
        let mut build = Command::new(&self.thimble);
        build.args(["image", "build", "--kernel"]).arg(&self.kernel_deb).arg("--init").arg(&self.init);
        command::run(build.arg("--output").arg(&folder), &self.lab.join("image-build.log"), Duration::from_secs(300))?;
        for file in [&self.kernel, &self.initrd] {
            if !file.exists() {
                bail!("thimble image build succeeded but left no {}", file.display());
            }
        }
        fs::write(&memory, key).with_context(|| format!("cannot write {}", memory.display()))
    }

    pub fn sizes(&self) -> Result<(u64, u64)> {
        let size =
            |path: &Path| fs::metadata(path).map(|data| data.len()).with_context(|| format!("cannot read {}", path.display()));
        Ok((size(&self.kernel)?, size(&self.initrd)?))
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
    let mut command = Command::new("cargo");
    // What `cargo lab` set for this process would make the build scripts of others (ring's) run again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| inherited(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.args(args).current_dir(root).envs(environment.iter().copied());
    let mut child = command.spawn().context("cannot start cargo")?;
    let status = command::wait_for("cargo", BUILD_LIMIT, || child.try_wait().context("cannot wait for cargo"));
    let status = status.inspect_err(|_| drop(child.kill()))?;
    if !status.success() {
        bail!("cargo {} failed ({status})", args.join(" "));
    }
    Ok(())
}
