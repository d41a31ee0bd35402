//! A provisioning host without a compiler: this system below an overlay, in which changes last as long as the scenario. The
//! checkout and everything of cargo are hidden. Only root can make it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};

use crate::command;
use crate::setup::workspace;

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

pub struct CleanHost {
    root: PathBuf,
    log: PathBuf,
}

impl CleanHost {
    /// Call this inside a segment, which has mounts of its own.
    pub fn new(folder: &Path) -> Result<Self> {
        let map = fs::read_to_string("/proc/self/uid_map").context("cannot read the users of this namespace")?;
        if map.split_whitespace().nth(2) == Some("1") {
            bail!("the package makes a user, so this scenario has to be run as root");
        }
        let (changes, root) = (folder.join("changes"), folder.join("root"));
        let parts = ["upper", "work"].map(|name| changes.join(name));
        for path in [&changes, &root] {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        attach("tmpfs", "tmpfs", &changes, None)?;
        parts.iter().try_for_each(fs::create_dir).context("cannot make the folders of the overlay")?;
        let [upper, work] = parts;
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        attach("overlay", "overlay", &root, Some(&options))?;
        for name in ["proc", "dev"] {
            let (from, to) = (Path::new("/").join(name), root.join(name));
            mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
                .with_context(|| format!("cannot show {} to the clean host", from.display()))?;
        }
        attach("tmpfs", "tmpfs", &root.join("run"), None)?;
        let host = Self { root, log: folder.join("host.log") };
        host.hide()?;
        Ok(host)
    }

    /// Covers what a host of an operator does not have.
    fn hide(&self) -> Result<()> {
        let home = PathBuf::from(std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned()));
        let of = |name: &str, other: &str| std::env::var(name).map_or_else(|_| home.join(other), PathBuf::from);
        for hidden in [workspace()?, of("CARGO_HOME", ".cargo"), of("RUSTUP_HOME", ".rustup")] {
            let place = self.path(&hidden);
            if place.is_dir() {
                attach("tmpfs", "tmpfs", &place, None)?;
            }
        }
        let found = command::output(self.command("sh").args(["-c", "command -v cargo rustc || true"]))?;
        ensure!(found.trim().is_empty(), "the clean host still has a compiler: {found}");
        Ok(())
    }

    /// Where a path of the host lies.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.path(Path::new(to))).map(drop).with_context(|| format!("cannot copy {} to {to}", from.display()))
    }

    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.path(Path::new(path)), text).with_context(|| format!("cannot write {path}"))
    }

    /// A command of root on that host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["env", "-i", &format!("PATH={PATH}"), "LC_ALL=C", program]);
        command
    }

    pub fn run(&self, words: &[&str], limit: Duration) -> Result<()> {
        let (program, rest) = words.split_first().context("no command")?;
        command::run(self.command(program).args(rest), &self.log, limit).with_context(|| words.join(" "))
    }
}

fn attach(source: &str, kind: &str, target: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(source), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("cannot mount {kind} at {}", target.display()))
}
