//! The same Debian for installations on LUKS, md and LVM, as a tar archive. It has GRUB, cloud-init, and the programs of these
//! layers with their parts of the initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{ARCHIVE_ZSTD, CUSTOMIZE, ESSENTIAL, INCLUDE, LEFT_OUT};
use crate::artifacts::candidates;
use crate::board::Job;
use crate::command;

const LAYERED: &str = include_str!("../../images/layered.sh");
const MORE: &[&str] = &[
    "mdadm",
    "lvm2",
    "cryptsetup-initramfs",
    "clevis-initramfs",
    "clevis-tpm2",
    "grub2-common",
    "grub-pc-bin",
    "cloud-init",
    "openssh-server",
    "zstd",
];
/// What it was made of, beside the archive.
const RECIPE: &str = "layered.recipe";

/// Where the archive is, if it has been made.
pub fn archive(lab: &Path) -> PathBuf {
    lab.join("layered.tar.zst")
}

/// Makes the archive if it is missing, or of another recipe or older packages.
pub fn make(lab: &Path, job: &Job) -> Result<()> {
    let recipe = recipe()?;
    if archive(lab).exists() && fs::read_to_string(lab.join(RECIPE)).is_ok_and(|last| last == recipe) {
        return Ok(());
    }
    let (tar, log) = (lab.join("layered.tar"), lab.join("layered.log"));
    job.at("installing the packages");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"", "--include"]);
    mmdebstrap.arg([&[INCLUDE], MORE].concat().join(","));
    mmdebstrap.args(LEFT_OUT.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
    // The first one is the same as in the lab's image.
    mmdebstrap.arg(format!("--essential-hook={ESSENTIAL}"));
    mmdebstrap.args([CUSTOMIZE, LAYERED].map(|script| format!("--customize-hook={script}")));
    let made = command::run(mmdebstrap.arg("bookworm").arg(&tar), &log, Duration::from_secs(1200));
    made.context("cannot make the layered Debian system from packages")?;
    job.at("compressing");
    let mut zstd = Command::new("zstd");
    zstd.args(ARCHIVE_ZSTD).arg("--rm").arg(&tar).arg("-o").arg(archive(lab));
    command::run(&mut zstd, &log, Duration::from_secs(300))?;
    fs::write(lab.join(RECIPE), recipe).context("cannot keep the recipe of the layered Debian system")
}

fn recipe() -> Result<String> {
    let texts = [CUSTOMIZE, ESSENTIAL, LAYERED].map(|text| hex::encode(Sha256::digest(text)));
    let packages = [&["linux-image-cloud-amd64", "systemd", "libc6"], MORE].concat();
    let lists = [LEFT_OUT, ARCHIVE_ZSTD, &packages].map(|list| list.join(" "));
    Ok([&[INCLUDE.to_owned()], &texts[..], &lists[..], &candidates(&packages)?[..]].concat().join("\n"))
}
