//! The images with tools: Debian packages, downloaded once into `target/lab/tools`, and packed by `thimble image action --tools`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::row::Row;
use crate::board::Job;
use crate::command::{self, output};
use crate::registry::Registry;
use crate::scene::Scene;

const DOWNLOADS_WITHIN: Duration = Duration::from_secs(600);
const PACKS_WITHIN: Duration = Duration::from_secs(300);

/// The images' tag with these packages.
pub fn tag(packages: &[&str]) -> String {
    format!("v1-{}", packages.join("-"))
}

/// Downloads what these rows need and is not there yet. Inside a segment there is no network for it.
pub fn download(lab: &Path, rows: &[Row], job: &Job) -> Result<()> {
    let folder = folder(lab);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let sets: BTreeSet<_> = rows.iter().map(|row| row.tools).filter(|packages| !packages.is_empty()).collect();
    for packages in sets {
        let all = needed(packages)?;
        let missing: Vec<&Needed> = all.iter().filter(|one| !folder.join(one.file()).exists()).collect();
        if !missing.is_empty() {
            job.at(&format!("downloading {}", packages.join(", ")));
            let mut download = Command::new("apt-get");
            download.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).current_dir(&folder);
            download.args(missing.iter().map(|one| format!("{}={}", one.name, one.version)));
            command::run(&mut download, &lab.join("tools.log"), DOWNLOADS_WITHIN)?;
        }
        let files: String = all.iter().map(|one| one.file() + "\n").collect();
        fs::write(list(lab, packages), files).context("cannot write the list of tools")?;
    }
    Ok(())
}

/// Pushes every action with these packages.
pub fn push(scene: &Scene, registry: &Registry, packages: &[&str]) -> Result<()> {
    let mut push = Command::new(&scene.setup.thimble);
    push.args(["image", "action", "--binary"]).arg(&scene.setup.actions);
    for file in files(&scene.setup.lab, packages)? {
        push.arg("--tools").arg(file);
    }
    push.args(["--tag", &tag(packages), "--push", &format!("http://{}", registry.address())]);
    command::run(&mut push, &scene.folder.join("push-tools.log"), PACKS_WITHIN)
}

/// The packages and all that they depend on, as files.
pub fn files(lab: &Path, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let list = list(lab, packages);
    let text = fs::read_to_string(&list);
    let text = text.with_context(|| format!("{} is missing; run once without --reuse", list.display()))?;
    Ok(text.lines().map(|file| folder(lab).join(file)).collect())
}

pub fn folder(lab: &Path) -> PathBuf {
    lab.join("tools")
}

fn list(lab: &Path, packages: &[&str]) -> PathBuf {
    folder(lab).join(format!("{}.list", packages.join("-")))
}

#[derive(Debug, PartialEq, Eq)]
struct Needed {
    name: String,
    version: String,
    architecture: String,
}

impl Needed {
    /// apt-get's name of the file.
    fn file(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// The packages and all that they depend on, as docs/parts.md finds them.
fn needed(packages: &[&str]) -> Result<Vec<Needed>> {
    let mut simulate = Command::new("apt-get");
    simulate.args(["install", "-s", "--no-install-recommends", "-o", "Dir::State::status=/dev/null"]);
    let text = output(simulate.args(packages).env("LC_ALL", "C"))?;
    let all: Vec<Needed> = text.lines().filter_map(installed).collect();
    ensure!(!all.is_empty(), "apt-get would install nothing for {}: {text}", packages.join(" "));
    Ok(all)
}

/// `Inst NAME (VERSION SOURCE [ARCHITECTURE]) [what is not configured yet]`.
fn installed(line: &str) -> Option<Needed> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let (version, rest) = rest.split_once(' ')?;
    let (_, architecture) = rest.split_once('[')?;
    let architecture = architecture.split(']').next()?;
    Some(Needed { name: name.into(), version: version.into(), architecture: architecture.into() })
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn a_simulation_names_the_files() {
        let line = "Inst libdevmapper1.02.1 (2:1.02.185-2 Debian:12.11/oldstable [amd64]) [libgcc-s1:amd64 ]";
        assert_eq!(installed(line).unwrap().file(), "libdevmapper1.02.1_2%3a1.02.185-2_amd64.deb");
        assert_eq!(installed("Conf dmsetup (2:1.02.185-2 Debian:12.11/oldstable [amd64])"), None);
    }

    #[test]
    fn tags_are_those_of_an_image() {
        for row in rows() {
            let tag = tag(row.tools);
            assert!(tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{tag}");
        }
    }
}
