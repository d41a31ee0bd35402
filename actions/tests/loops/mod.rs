//! A loop device over a file, as the disk of an action.
#![allow(dead_code)] // each test uses a part

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Loop {
    pub device: PathBuf,
    pub file: PathBuf,
    folder: tempfile::TempDir,
}

impl Loop {
    /// `None`, with the reason on standard error, if the test may not use loop devices. `sector` is 512 or 4096.
    pub fn new(size: u64, sector: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        File::create(&file).unwrap().set_len(size).unwrap();
        let sector = sector.to_string();
        let output = Command::new("losetup").args(["--find", "--show", "--sector-size", &sector]).arg(&file).output().unwrap();
        if !output.status.success() {
            eprintln!("SKIPPED: no loop device: {}", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Some(Self { device, file, folder })
    }

    pub fn ext4(size: u64) -> Option<Self> {
        let disk = Self::new(size, 512)?;
        must(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.device));
        Some(disk)
    }

    pub fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// A file system of the disk, mounted for the test to look at.
pub struct Look {
    place: tempfile::TempDir,
}

impl Look {
    pub fn at(disk: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        must(Command::new("mount").arg("-o").arg("ro").arg(disk).arg(place.path()));
        Self { place }
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let _ = actions::mount::detach(self.place.path());
    }
}

/// One test at a time: a process that another test is about to start has this test's open folders for a moment, and a file system
/// with open folders cannot be unmounted.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The output of a command that must succeed.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

pub fn is_there(program: &str, package: &str) -> bool {
    let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !there {
        eprintln!("SKIPPED: no {program} (Debian's package {package})");
    }
    there
}

/// Everything that a tree of files is, one line for each entry, for comparing two of them. Hard links show by their count, and
/// extended attributes by their values.
pub fn tree(root: &Path) -> String {
    let script = r#"
        find . -mindepth 1 -not -path './lost+found*' -printf '%P %y %m %U %G %T@ %l ' \
            \( -type f -printf '%n %s ' -exec sha256sum {} \; -o -printf '\n' \) | sed 's/ \.\/.*$//' | LC_ALL=C sort
        find . -mindepth 1 \( -type c -o -type b \) -exec stat -c '%n %t %T' {} + | LC_ALL=C sort
        find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m '^(user|security.capability|trusted)' -e hex 2>/dev/null || true
    "#;
    must(Command::new("sh").args(["-euc", script]).current_dir(root))
}
