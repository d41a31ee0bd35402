//! The files of the package, below a folder.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::Programs;
use super::control::{Control, MAINTAINER, unit};
use crate::command::{effect, output};

const LIBRARY: &str = "usr/lib/thimble";
const SHARE: &str = "usr/share/thimble";
const DOC: &str = "usr/share/doc/thimble";
const MAN: &str = "usr/share/man/man1";
/// Each shell with the place where it looks for completion.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/thimble"),
    ("zsh", "usr/share/zsh/vendor-completions/_thimble"),
    ("fish", "usr/share/fish/vendor_completions.d/thimble.fish"),
];
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];
const UNITS: &[&str] = &["thimble.service", "thimble-agent.service"];

pub struct Tree(PathBuf);

impl Tree {
    /// An empty folder. An earlier one is removed.
    pub fn create(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        let tree = Self(root.to_owned());
        tree.folder("")?;
        Ok(tree)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a folder that everyone can read, with those above it.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let mut path = self.0.clone();
        fs::create_dir_all(&path).and_then(|()| readable(&path, 0o755)).with_context(|| cannot_write(&path))?;
        for part in Path::new(name).components() {
            path.push(part);
            fs::create_dir_all(&path).and_then(|()| readable(&path, 0o755)).with_context(|| cannot_write(&path))?;
        }
        Ok(path)
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.path(name);
        self.folder(Path::new(name).parent().and_then(Path::to_str).unwrap_or_default())?;
        fs::write(&path, content).and_then(|()| readable(&path, mode)).with_context(|| cannot_write(&path))
    }

    fn copy(&self, from: &Path, name: &str, mode: u32) -> Result<()> {
        self.write(name, &read(from)?, mode)
    }

    pub fn programs(&self, programs: &Programs) -> Result<()> {
        self.copy(&programs.thimble, "usr/bin/thimble", 0o755)?;
        self.copy(&programs.init, &format!("{LIBRARY}/init"), 0o755)?;
        self.copy(&programs.actions, &format!("{LIBRARY}/actions"), 0o755)?;
        // A program of the debug profile is ten times as large with its symbols. A script, in a test, has none.
        if read(&programs.thimble)?.starts_with(b"\x7fELF") {
            effect(Command::new("strip").arg("--strip-unneeded").arg(self.path("usr/bin/thimble")))?;
        }
        Ok(())
    }

    /// Man pages, completion, the starter folder, the sample of the settings, and the pages of this checkout.
    pub fn documents(&self, root: &Path, programs: &Programs) -> Result<()> {
        let thimble = || Command::new(&programs.thimble);
        effect(thimble().arg("man").arg(self.folder(MAN)?))?;
        for (shell, name) in SHELLS {
            self.write(name, output(thimble().args(["completion", shell]))?.as_bytes(), 0o644)?;
        }
        effect(thimble().arg("init").arg(self.folder(&format!("{SHARE}/starter"))?))?;
        self.copy(&root.join("examples/settings/thimble.yaml"), &format!("{SHARE}/thimble.yaml"), 0o644)?;
        for kind in ["hardware", "templates", "workflows", "rule-sets"] {
            for file in files(&root.join("examples").join(kind))? {
                self.copy(&file, &format!("{SHARE}/examples/{kind}/{}", name(&file)), 0o644)?;
            }
        }
        for page in files(&root.join("docs"))? {
            self.copy(&page, &format!("{DOC}/{}", name(&page)), 0o644)?;
        }
        self.copy(&root.join("README.md"), &format!("{DOC}/README.md"), 0o644)?;
        self.copy(&root.join("CHANGELOG.md"), &format!("{DOC}/CHANGELOG.md"), 0o644)?;
        self.copy(&root.join("packaging/copyright"), &format!("{DOC}/copyright"), 0o644)?;
        self.copy(&root.join("packaging/lintian-overrides"), "usr/share/lintian/overrides/thimble", 0o644)?;
        effect(Command::new("gzip").args(["-9", "-n"]).args(files(&self.path(MAN))?))
    }

    /// The list of changes in Debian's form, which has this version alone.
    pub fn changelog(&self, version: &str, epoch: u64) -> Result<()> {
        let date = output(Command::new("date").args(["-u", "-R", "-d", &format!("@{epoch}")]).env("LC_ALL", "C"))?;
        let text = format!(
            "thimble ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {MAINTAINER}  {}\n",
            date.trim()
        );
        let name = format!("{DOC}/changelog");
        self.write(&name, text.as_bytes(), 0o644)?;
        effect(Command::new("gzip").args(["-9", "-n"]).arg(self.path(&name)))
    }

    pub fn units(&self, root: &Path) -> Result<()> {
        for name in UNITS {
            let text =
                fs::read_to_string(root.join("thimble/systemd").join(name)).with_context(|| format!("cannot read {name}"))?;
            self.write(&format!("usr/lib/systemd/system/{name}"), unit(&text).as_bytes(), 0o644)?;
        }
        self.folder("etc/thimble").map(drop)
    }

    /// The size of all files, in units of 1024 bytes.
    pub fn kib(&self) -> Result<u64> {
        let sizes = everything(&self.0)?.into_iter().map(|path| fs::metadata(path).map(|data| data.len().div_ceil(1024)));
        Ok(sizes.sum::<Result<u64, _>>()?)
    }

    pub fn control(&self, root: &Path, control: &Control) -> Result<()> {
        let mut sums = Command::new("md5sum");
        sums.current_dir(&self.0);
        let mut all: Vec<PathBuf> = everything(&self.0)?.into_iter().filter(|path| path.is_file()).collect();
        all.sort();
        for path in all {
            sums.arg(path.strip_prefix(&self.0).unwrap_or(&path));
        }
        self.write("DEBIAN/md5sums", output(&mut sums)?.as_bytes(), 0o644)?;
        self.write("DEBIAN/control", control.text().as_bytes(), 0o644)?;
        SCRIPTS.iter().try_for_each(|name| self.copy(&root.join("packaging").join(name), &format!("DEBIAN/{name}"), 0o755))
    }

    /// Every file and folder gets the same time, and is readable whatever the umask was.
    pub fn settle(&self, epoch: u64) -> Result<()> {
        let at = UNIX_EPOCH + Duration::from_secs(epoch);
        let times = FileTimes::new().set_modified(at).set_accessed(at);
        let mut all = everything(&self.0)?;
        all.push(self.0.clone());
        for path in all.into_iter().rev() {
            let set = || -> std::io::Result<()> {
                let is_program = path.is_dir() || fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
                readable(&path, if is_program { 0o755 } else { 0o644 })?;
                File::open(&path)?.set_times(times)
            };
            set().with_context(|| format!("cannot set the time of {}", path.display()))?;
        }
        Ok(())
    }
}

fn readable(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut found = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// All files and folders below a folder, each folder before what is in it.
fn everything(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path.clone());
            }
            found.push(path);
        }
    }
    Ok(found)
}
