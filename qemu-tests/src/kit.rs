//! Kernel and ramdisk of one profile. `thimble image build` makes them again if their inputs have changed. The previous
//! ones are kept with their commit, so that the benchmark can compare with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::{names, packs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::{self, output};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kit {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// The inputs of a kit.
pub struct Recipe<'a> {
    pub thimble: &'a Path,
    pub init: &'a Path,
    pub kernel_deb: &'a Path,
    /// Further arguments for `thimble image build`.
    pub words: &'a [&'a str],
}

const INPUTS: &str = "inputs";
const COMMIT: &str = "commit";

impl Kit {
    pub fn at(folder: &Path) -> Self {
        Self { kernel: folder.join(names::KERNEL), initrd: folder.join(names::RAMDISK) }
    }

    pub fn is_complete(&self) -> bool {
        self.kernel.exists() && self.initrd.exists()
    }

    pub fn build(folder: &Path, recipe: &Recipe) -> Result<Self> {
        let kit = Self::at(folder);
        let mut inputs = Sha256::new();
        for input in [recipe.init, recipe.thimble] {
            inputs.update(fs::read(input).with_context(|| format!("cannot read {}", input.display()))?);
        }
        inputs.update(format!("{} {}", recipe.kernel_deb.display(), recipe.words.join(" ")));
        let key = hex::encode(inputs.finalize());
        if fs::read_to_string(folder.join(INPUTS)).is_ok_and(|last| last == key) && kit.is_complete() {
            return Ok(kit);
        }
        keep_previous(folder)?;
        let mut build = Command::new(recipe.thimble);
        build.args(["image", "build", "--kernel"]).arg(recipe.kernel_deb).arg("--init").arg(recipe.init);
        build.args(recipe.words).arg("--output").arg(folder);
        command::run(&mut build, &folder.with_extension("log"), Duration::from_secs(300))?;
        if !kit.is_complete() {
            bail!("thimble image build succeeded but did not leave both files in {}", folder.display());
        }
        fs::write(folder.join(COMMIT), commit()).with_context(|| format!("cannot write into {}", folder.display()))?;
        fs::write(folder.join(INPUTS), key).with_context(|| format!("cannot write into {}", folder.display()))?;
        Ok(kit)
    }

    /// The driver packs beside the ramdisk, with their index.
    pub fn packs(&self) -> Result<Vec<PathBuf>> {
        let folder = self.initrd.parent().context("the ramdisk's path has no folder")?;
        let failed = || format!("cannot list {}", folder.display());
        let entries = fs::read_dir(folder).with_context(failed)?.collect::<Result<Vec<_>, _>>().with_context(failed)?;
        let is_pack = |path: &PathBuf| packs::is_of_packs(&path.file_name().unwrap_or_default().to_string_lossy());
        Ok(entries.into_iter().map(|entry| entry.path()).filter(is_pack).collect())
    }

    /// The sizes of the kernel and of the ramdisk in bytes.
    pub fn sizes(&self) -> Result<(u64, u64)> {
        let size =
            |path: &Path| fs::metadata(path).map(|data| data.len()).with_context(|| format!("cannot read {}", path.display()));
        Ok((size(&self.kernel)?, size(&self.initrd)?))
    }
}

/// The kit of the commit before this one, and that commit's name.
pub fn previous(folder: &Path) -> Option<(Kit, String)> {
    let place = previous_place(folder);
    let kit = Kit::at(&place);
    let commit = fs::read_to_string(place.join(COMMIT)).ok()?;
    kit.is_complete().then_some((kit, commit))
}

fn previous_place(folder: &Path) -> PathBuf {
    folder.with_extension("previous")
}

/// Moves a kit of another commit aside. A kit of the same commit is replaced.
fn keep_previous(folder: &Path) -> Result<()> {
    let made_at = fs::read_to_string(folder.join(COMMIT)).unwrap_or_default();
    let place = previous_place(folder);
    if made_at.is_empty() || made_at == commit() || !Kit::at(folder).is_complete() {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    fs::rename(folder, &place).with_context(|| format!("cannot keep {}", folder.display()))
}

/// The checkout's commit. With uncommitted changes it counts as another one.
fn commit() -> String {
    let git = |args: &[&str]| output(Command::new("git").args(args)).map(|text| text.trim().to_owned()).unwrap_or_default();
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { "+" };
    format!("{}{changed}", git(&["rev-parse", "--short", "HEAD"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kit_of_another_commit_is_kept_and_one_of_this_commit_is_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("cloud");
        let make = |commit: &str| {
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in [(names::KERNEL, "k"), (names::RAMDISK, "i"), (COMMIT, commit)] {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        make(&commit());
        keep_previous(&folder).unwrap();
        assert!(previous(&folder).is_none());
        make("older");
        keep_previous(&folder).unwrap();
        assert_eq!(previous(&folder).map(|(_, commit)| commit).as_deref(), Some("older"));
        assert!(!folder.exists(), "it was moved, not copied");
    }
}
