//! The Debian that the lab's workflow installs: a raw disk that boots with BIOS and UEFI. It is made from Debian packages,
//! without root and without loop devices.

pub mod layered;
pub mod layout;
pub mod sector;
pub mod write_log;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::board::Job;
use crate::command;

const CUSTOMIZE: &str = include_str!("../images/customize.sh");
const ESSENTIAL: &str = include_str!("../images/essential.sh");
const FILESYSTEM: &str = include_str!("../images/filesystem.sh");
const GRUB_EARLY: &str = include_str!("../images/grub-early.cfg");
const INCLUDE: &str = "linux-image-cloud-amd64,systemd-sysv,udev,kmod,e2fsprogs,initramfs-tools,busybox-static,iproute2,netbase";
/// Documentation, translations and hardware databases. They are a third of the bytes and not needed for the boot.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/bash-completion/*",
    "/usr/lib/udev/hwdb.d/*",
    "/lib/udev/hwdb.d/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/lib/modules/*/kernel/drivers/comedi/*",
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/arch/x86/kvm/*",
];
const GRUB_MODULES: &[&str] = &[
    "part_gpt",
    "ext2",
    "normal",
    "linux",
    "search",
    "search_label",
    "configfile",
    "serial",
    "terminal",
    "echo",
    "boot",
    "minicmd",
];
/// A small machine's decoder keeps the whole window in memory, so it has only 2 MiB.
const ZSTD: &[&str] = &["-q", "-f", "-12", "-T0", "--zstd=wlog=21"];
/// The clusters are as large as the largest sector of a disk, so that image2disk can convert the file system.
const ESP: &[&str] = &["-n", "ESP", "-s", "8"];
/// The archive is for tests only, so it need not be small.
const ARCHIVE_ZSTD: &[&str] = &["-q", "-f", "-3", "-T0", "--zstd=wlog=21"];

/// Everything that determines the image's content, for the cache.
pub fn recipe() -> Vec<String> {
    let mut parts: Vec<String> = [CUSTOMIZE, ESSENTIAL, FILESYSTEM, GRUB_EARLY, INCLUDE].map(str::to_owned).to_vec();
    parts.extend(LEFT_OUT.iter().chain(GRUB_MODULES).chain(ZSTD).chain(ARCHIVE_ZSTD).chain(ESP).map(|part| (*part).to_owned()));
    parts.push(layout::description());
    parts
}

/// The same system in three forms.
#[derive(Debug, Clone)]
pub struct Forms {
    /// The disk.
    pub raw: PathBuf,
    /// The disk, compressed with zstd.
    pub compressed: PathBuf,
    /// Its files as a tar archive, compressed with zstd.
    pub archive: PathBuf,
}

impl Forms {
    pub fn exist(&self) -> bool {
        [&self.raw, &self.compressed, &self.archive].into_iter().all(|path| path.exists())
    }
}

/// Builds all forms, with scratch files in `work`.
pub fn build(work: &Path, forms: &Forms, job: &Job) -> Result<()> {
    let build = Build { work: work.to_owned(), log: work.join("build.log") };
    job.at("installing the packages");
    let tar = build.debootstrap()?;
    job.at("making the file system");
    let root = build.filesystem(&tar)?;
    let (core, efi) = build.boot_loaders()?;
    let esp = build.esp(&efi)?;
    let disk = build.disk(&root, &esp, &core)?;
    job.at("compressing");
    let (packed, archive) = (work.join("disk.raw.zst"), work.join("debian.tar.zst"));
    build.run(Command::new("zstd").args(ZSTD).arg(&disk).arg("-o").arg(&packed), 300)?;
    build.run(Command::new("zstd").args(ARCHIVE_ZSTD).arg(&tar).arg("-o").arg(&archive), 300)?;
    for (made, kept) in [(&archive, &forms.archive), (&disk, &forms.raw), (&packed, &forms.compressed)] {
        fs::rename(made, kept).with_context(|| format!("cannot write {}", kept.display()))?;
    }
    for scratch in [tar, root, esp, core, efi] {
        fs::remove_file(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    }
    Ok(())
}

struct Build {
    work: PathBuf,
    log: PathBuf,
}

impl Build {
    fn run(&self, command: &mut Command, seconds: u64) -> Result<()> {
        command::run(command, &self.log, Duration::from_secs(seconds))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.work.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn debootstrap(&self) -> Result<PathBuf> {
        let tar = self.work.join("debian.tar");
        // The hooks are texts instead of files. Without root they run as users who cannot read a private home folder.
        let hook = |kind: &str, script: &str| format!("--{kind}-hook={script}");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"", "--include", INCLUDE]);
        mmdebstrap.args(LEFT_OUT.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
        mmdebstrap.args([hook("essential", ESSENTIAL), hook("customize", CUSTOMIZE)]);
        mmdebstrap.arg("bookworm").arg(&tar);
        self.run(&mut mmdebstrap, 900).context("cannot make the Debian system from packages")?;
        Ok(tar)
    }

    fn filesystem(&self, tar: &Path) -> Result<PathBuf> {
        let image = self.work.join("root.ext4");
        let script = self.write("filesystem.sh", FILESYSTEM)?;
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("sh")
        } else {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--map-auto", "sh"]);
            command
        };
        command.arg(script).arg(tar).arg(self.work.join("root")).arg(&image).arg(format!("{}k", layout::ROOT.sectors / 2));
        self.run(&mut command, 300).context("cannot make the root file system")?;
        Ok(image)
    }

    /// GRUB for both kinds of firmware, with all modules built in, so it reads none from the disk.
    fn boot_loaders(&self) -> Result<(PathBuf, PathBuf)> {
        let early = self.write("grub-early.cfg", GRUB_EARLY)?;
        let make = |format: &str, name: &str, extra: &[&str]| -> Result<PathBuf> {
            let path = self.work.join(name);
            let mut command = Command::new("grub-mkimage");
            command.args(["-O", format, "-p", "/boot/grub", "-c"]).arg(&early).arg("-o").arg(&path);
            self.run(command.args(extra).args(GRUB_MODULES), 60)?;
            Ok(path)
        };
        Ok((make("i386-pc", "core.img", &["biosdisk"])?, make("x86_64-efi", "BOOTX64.EFI", &[])?))
    }

    fn esp(&self, efi: &Path) -> Result<PathBuf> {
        let esp = self.work.join("esp.img");
        File::create(&esp).and_then(|file| file.set_len(layout::ESP.bytes())).context("cannot make the EFI system partition")?;
        self.run(Command::new("/sbin/mkfs.vfat").args(ESP).arg(&esp), 60)?;
        self.run(Command::new("mmd").arg("-i").arg(&esp).args(["::EFI", "::EFI/BOOT"]), 60)?;
        self.run(Command::new("mcopy").arg("-i").arg(&esp).arg(efi).arg("::EFI/BOOT/"), 60)?;
        Ok(esp)
    }

    fn disk(&self, root: &Path, esp: &Path, core: &Path) -> Result<PathBuf> {
        let disk = self.work.join("disk.raw");
        File::create(&disk).and_then(|file| file.set_len(layout::DISK_BYTES)).context("cannot make the disk image")?;
        let table = self.write("table.sfdisk", &layout::table())?;
        let mut sfdisk = Command::new("sh");
        sfdisk.args(["-c", "/sbin/sfdisk -q \"$1\" < \"$2\"", "sh"]).arg(&disk).arg(&table);
        self.run(&mut sfdisk, 60)?;
        for (image, partition) in [(esp, layout::ESP), (root, layout::ROOT)] {
            let mut dd = Command::new("dd");
            dd.arg(format!("if={}", image.display())).arg(format!("of={}", disk.display()));
            dd.args(["bs=1M", "conv=notrunc,sparse", "oflag=seek_bytes", "status=none"]);
            self.run(dd.arg(format!("seek={}", partition.offset())), 120)?;
        }
        let boot =
            fs::read("/usr/lib/grub/i386-pc/boot.img").context("cannot read GRUB's boot.img; is grub-pc-bin installed?")?;
        let core = fs::read(core).context("cannot read GRUB's core image")?;
        layout::write_boot_code(&disk, &boot, core)?;
        Ok(disk)
    }
}
