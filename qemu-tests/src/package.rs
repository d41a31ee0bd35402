//! `cargo lab package`: the Debian package of Thimble, made with dpkg-deb. The same programs give the same bytes.

mod control;
mod guest;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo;
use crate::command::{self, output};
use crate::setup::{TARGET, workspace};
use control::{Control, glibc_of};
use tree::Tree;

const PACKED_WITHIN: Duration = Duration::from_secs(600);
/// How the programs of a ramdisk are linked, and optimized.
const STATICS: &[&str] = &[
    "build",
    "--locked",
    "--config",
    ".cargo/ramdisk.toml",
    "--profile",
    "image",
    "--target",
    TARGET,
    "-p",
    "init",
    "-p",
    "actions",
];

#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder for the package
    #[arg(long, value_name = "DIR", default_value = "target/package")]
    pub output: PathBuf,
    /// Take the programs `thimble`, `init` and `actions` from this folder, and build nothing
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Then install the package in a virtual machine with systemd and without cargo, which makes a ramdisk and installs a
    /// second machine
    #[arg(long = "try")]
    pub try_it: bool,
    /// With --try: use the lab's kernel package and Debian image of the last run
    #[arg(long, requires = "try_it")]
    pub reuse: bool,
    #[arg(long, hide = true, value_name = "DEB")]
    inside: Option<PathBuf>,
}

/// The programs of the package.
pub struct Programs {
    pub thimble: PathBuf,
    pub init: PathBuf,
    pub actions: PathBuf,
}

/// What is packed, and how.
pub struct Order<'a> {
    pub programs: &'a Programs,
    /// Scratch files.
    pub work: &'a Path,
    pub version: &'a str,
    /// The time of every file, in seconds since 1970.
    pub epoch: u64,
    /// Options of dpkg-deb for the compression.
    pub compression: &'a [&'a str],
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(package) = &arguments.inside {
        return guest::inside(package);
    }
    let root = workspace()?;
    let programs = match &arguments.programs {
        Some(folder) => Programs { thimble: folder.join("thimble"), init: folder.join("init"), actions: folder.join("actions") },
        None => build(&root)?,
    };
    let git = |args: &[&str]| output(Command::new("git").args(args).current_dir(&root)).map(|text| text.trim().to_owned());
    let committed = git(&["log", "-1", "--format=%ct"])?.parse().context("git gave no time of the commit")?;
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().context("SOURCE_DATE_EPOCH is not a number of seconds")?,
        Err(_) => committed,
    };
    let day = git(&["log", "-1", "--format=%cd", "--date=format:%Y%m%d"])?;
    let version = format!("{}+git{day}.{}", env!("CARGO_PKG_VERSION"), git(&["rev-parse", "--short=8", "HEAD"])?);
    let work = root.join("target/lab/package");
    let order = Order { programs: &programs, work: &work, version: &version, epoch, compression: &["-Zxz"] };
    let package = pack(&root, &order, &arguments.output)?;
    println!("{}", output(Command::new("sha256sum").arg(&package))?.trim());
    if arguments.try_it { guest::outside(&package, arguments.reuse) } else { Ok(()) }
}

/// Builds the programs as they are shipped. No path of this machine is in them.
fn build(root: &Path) -> Result<Programs> {
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let flags = format!(
        "build.rustflags=[\"--remap-path-prefix={}=/usr/src/thimble\",\"--remap-path-prefix={home}=/usr/src/cargo\"]",
        root.display()
    );
    let thimble =
        ["build", "--locked", "--release", "--config", "profile.release.strip=true", "--config", flags.as_str(), "-p", "thimble"];
    cargo::run(root, &thimble, &[])?;
    cargo::run(root, STATICS, &[])?;
    let statics = root.join("target").join(TARGET).join("image");
    Ok(Programs { thimble: root.join("target/release/thimble"), init: statics.join("init"), actions: statics.join("actions") })
}

/// Makes the package and returns its path.
pub fn pack(root: &Path, order: &Order, output_folder: &Path) -> Result<PathBuf> {
    let tree = Tree::create(&order.work.join("tree"))?;
    tree.programs(order.programs)?;
    tree.documents(root, order.programs)?;
    tree.changelog(order.version, order.epoch)?;
    tree.units(root)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let program = fs::read(tree.path("usr/bin/thimble")).context("cannot read the packed program")?;
    let control =
        Control { version: order.version.to_owned(), architecture, glibc: glibc_of(&program), installed_kib: tree.kib()? };
    tree.control(root, &control)?;
    tree.settle(order.epoch)?;
    fs::create_dir_all(output_folder).with_context(|| format!("cannot make {}", output_folder.display()))?;
    let mut deb = Command::new("dpkg-deb");
    deb.args(["--root-owner-group", "--threads-max=1"])
        .args(order.compression)
        .arg("--build")
        .arg(tree.root())
        .arg(output_folder);
    deb.env("SOURCE_DATE_EPOCH", order.epoch.to_string());
    let log = order.work.join("dpkg-deb.log");
    command::run(&mut deb, &log, PACKED_WITHIN)?;
    Ok(output_folder.join(format!("thimble_{}_{}.deb", control.version, control.architecture)))
}

#[cfg(test)]
mod tests;
