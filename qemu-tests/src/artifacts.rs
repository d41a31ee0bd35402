//! Artifacts that the lab makes once from Debian packages and keeps below `target/lab`: a kernel package and a disk image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::board::{Board, Job};
use crate::command::{self, effect, output};
use crate::disk_image::{self, Forms};
use crate::installations;
use crate::prepare::Purpose;

const KERNEL: &str = "linux-image-cloud-amd64";
const METAL_KERNEL: &str = "linux-image-amd64";
/// The packages whose new versions require a new disk image.
const IMAGE_PACKAGES: &[&str] = &[KERNEL, "systemd", "libc6", "e2fsprogs", "grub-pc-bin"];
const KEY_LENGTH: usize = 16;

#[derive(Debug, Clone)]
pub struct Artifacts {
    /// Debian's cloud kernel as a package.
    pub kernel_deb: PathBuf,
    /// Debian's standard kernel as a package. The demo does not have it.
    pub metal_deb: Option<PathBuf>,
    /// The system that workflows install.
    pub debian: Forms,
}

/// Makes the missing artifacts.
pub fn build(purpose: Purpose, lab: &Path, board: &Board) -> Result<Artifacts> {
    let download = |metapackage| board.job("Debian kernel", |job| kernel_package(lab, metapackage, job));
    let kernel_deb = download(KERNEL)?;
    let metal_deb = if purpose == Purpose::Demo { None } else { Some(download(METAL_KERNEL)?) };
    let debian = board.job("Debian disk image", |job| debian(lab, job))?;
    if purpose == Purpose::Test {
        installations::prepare_short(lab, board)?;
    }
    Ok(Artifacts { kernel_deb, metal_deb, debian })
}

/// The package that the metapackage depends on today.
fn kernel_package(lab: &Path, metapackage: &str, job: &Job) -> Result<PathBuf> {
    let depends = output(Command::new("apt-cache").args(["depends", "--important", metapackage]))?;
    let package = dependency(&depends).with_context(|| format!("{metapackage} is not in apt's lists; run apt-get update"))?;
    let version = candidates(&[package])?.join(" ");
    let key = format!("{package}_{version}").replace(|c: char| !c.is_ascii_alphanumeric() && !"._-+".contains(c), "-");
    let target = lab.join(format!("{key}.deb"));
    if target.exists() {
        return Ok(target);
    }
    job.at(&format!("downloading {package}"));
    let folder = lab.join("download");
    let _from_an_earlier_try = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(&folder);
    command::run(&mut download, &lab.join("download.log"), Duration::from_secs(600))?;
    let entry = fs::read_dir(&folder)?.next().context("apt-get download left no file")??;
    fs::rename(entry.path(), &target).with_context(|| format!("cannot keep {}", target.display()))?;
    Ok(target)
}

fn dependency(depends: &str) -> Option<&str> {
    depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).find(|name| name.starts_with("linux-image-"))
}

/// The versions that apt would install.
pub fn candidates(packages: &[&str]) -> Result<Vec<String>> {
    let policy = output(Command::new("apt-cache").arg("policy").args(packages))?;
    Ok(policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate: ")).map(str::to_owned).collect())
}

fn debian(lab: &Path, job: &Job) -> Result<Forms> {
    let mut parts = disk_image::recipe();
    parts.extend(candidates(IMAGE_PACKAGES)?);
    let key: String = hex::encode(Sha256::digest(parts.join("\n"))).chars().take(KEY_LENGTH).collect();
    let file = |suffix: &str| lab.join(format!("debian-{key}.{suffix}"));
    let forms = Forms { raw: file("raw"), compressed: file("raw.zst"), archive: file("tar.zst") };
    if forms.exist() {
        return Ok(forms);
    }
    let work = lab.join("debian.work");
    if work.exists() {
        // Without root it may have files of mapped users, which only their namespace can remove.
        let mut remove = Command::new(if rustix::process::geteuid().is_root() { "env" } else { "unshare" });
        if !rustix::process::geteuid().is_root() {
            remove.args(["--user", "--map-root-user", "--map-auto"]);
        }
        effect(remove.args(["rm", "-rf"]).arg(&work))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    disk_image::build(&work, &forms, job)?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    forget_others(lab, &key)?;
    Ok(forms)
}

/// Removes images of earlier recipes, which are large and not used again.
fn forget_others(lab: &Path, key: &str) -> Result<()> {
    for entry in fs::read_dir(lab).with_context(|| format!("cannot read {}", lab.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", lab.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_form = [".raw", ".raw.zst", ".tar.zst"].iter().any(|suffix| name.ends_with(suffix));
        if name.starts_with("debian-") && is_form && !name.contains(key) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_names_the_kernel() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(dependency(text), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n"), None);
    }
}
