//! The steps that many installations share, and the files that they download.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::check;
use super::row::{Archive, Row};
use super::tools;
use crate::command::output;
use crate::disk_image::layered;
use crate::objects::Step;
use crate::provisioner::Provisioner;
use crate::registry::Registry;
use crate::scene::Scene;
use crate::segment;

/// Of a step that writes a whole system.
pub const LONG: u64 = 900;
const ARCHIVE: &str = "debian.tar.zst";
const LAYERED: &str = "layered.tar.zst";

/// Where an installation's steps come from, and what they may use.
pub struct Site<'a> {
    pub scene: &'a Scene,
    pub registry: &'a Registry,
    pub provisioner: &'a Provisioner,
    pub row: &'a Row,
}

impl Site<'_> {
    /// An action of the small image.
    pub fn action(&self, name: &str, action: &str) -> Step {
        Step::image(name, &self.registry.reference(&format!("{action}:v1")))
    }

    /// An action of the image with the row's tools.
    pub fn with_tools(&self, name: &str, action: &str) -> Step {
        Step::image(name, &self.registry.reference(&format!("{action}:{}", tools::tag(self.row.tools))))
    }

    /// The whole storage of the row's metadata: partitions, then file systems.
    pub fn storage(&self) -> Vec<Step> {
        vec![self.rootio("partition"), self.rootio("format")]
    }

    /// rootio with the row's metadata. `word` is what it does, and the step's name.
    pub fn rootio(&self, word: &str) -> Step {
        let step = if word == "partition" { self.action(word, "rootio") } else { self.with_tools(word, "rootio") };
        step.command(word).environment("MIRROR_HOST", &segment::HOST.to_string())
    }

    /// Debian's files onto a file system.
    pub fn unpack(&self, disk: &str, fs: &str) -> Result<Step> {
        let (archive, name) = match self.row.archive {
            Archive::Plain => (self.scene.setup.archive.clone(), ARCHIVE),
            Archive::Layered => (layered::archive(&self.scene.setup.lab), LAYERED),
        };
        ensure!(archive.exists(), "the last run has built no archive of Debian; run once without --reuse");
        let step = self.action("unpack", "archive2disk").timeout(LONG);
        let step = step.environment("ARCHIVE_URL", &self.provisioner.serve(&archive, name)?);
        let step = step.environment("TARFILE_CHECKSUM", &format!("sha256:{}", sha256(&archive)?));
        Ok(step.environment("DEST_DISK", disk).environment("FS_TYPE", fs))
    }

    /// One file, of root.
    pub fn write(&self, name: &str, (disk, fs): (&str, &str), path: &str, mode: &str, contents: &str) -> Step {
        let step = self.action(name, "writefile").environment("DEST_DISK", disk).environment("FS_TYPE", fs);
        let step = step.environment("DEST_PATH", path).environment("CONTENTS", contents).environment("MODE", mode);
        step.environment("UID", "0").environment("GID", "0").environment("DIRMODE", "0755")
    }

    pub fn hostname(&self, at: (&str, &str), name: &str) -> Step {
        self.write("hostname", at, "/etc/hostname", "0644", &format!("{name}\n"))
    }

    /// The script that prints the row's facts at the boot of the installed system.
    pub fn check(&self, at: (&str, &str)) -> Step {
        self.write("check", at, "/etc/rc.local", "0755", &check::script(&self.row.facts))
    }

    /// A line of shell inside of the installed system.
    pub fn inside(&self, name: &str, (disk, fs): (&str, &str), line: &str) -> Step {
        let step = self.action(name, "cexec").timeout(LONG).environment("BLOCK_DEVICE", disk).environment("FS_TYPE", fs);
        step.environment("CHROOT", "y").environment("DEFAULT_INTERPRETER", "/bin/sh -c").environment("CMD_LINE", line)
    }

    /// GRUB for the system on the partition.
    pub fn grub(&self, disk: &str, (partition, fs): (&str, &str)) -> Step {
        let step = self.with_tools("boot-loader", "grub2disk").timeout(LONG).environment("GRUB_INSTALL_PATH", disk);
        step.environment("GRUB_DISK", partition).environment("FS_TYPE", fs)
    }

    pub fn reboot(&self) -> Step {
        self.action("reboot", "reboot").volume("/worker:/worker")
    }
}

/// A file's SHA-256 in hexadecimal digits.
pub fn sha256(file: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg("--").arg(file))?;
    line.split_whitespace().next().map(str::to_owned).with_context(|| format!("sha256sum says nothing of {}", file.display()))
}
