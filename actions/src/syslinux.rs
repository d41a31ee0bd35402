//! `syslinux`: installs the boot loader SYSLINUX on a FAT partition, or EXTLINUX on one with ext, and the boot code that starts
//! it into the MBR. The programs come from the action's image with tools.

use crate::device::{self, DeviceError, Named};
use crate::disks;
use crate::mount::{MountError, Mounted};
use crate::partitions::{self, Table};
use crate::programs::{self, Tool, ToolError};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SYSLINUX: Tool = Tool::new("syslinux", "syslinux");
const EXTLINUX: Tool = Tool::new("extlinux", "extlinux");
/// syslinux writes to FAT by mcopy, which a shell runs.
const OF_SYSLINUX: [Tool; 2] = [Tool::new("sh", "dash"), Tool::new("mcopy", "mtools")];
/// In Debian's package syslinux-common, and in upstream's image.
const MBR: [&str; 3] = ["/usr/lib/syslinux/mbr/mbr.bin", "/usr/lib/EXTLINUX/mbr.bin", "/mbr.bin.386"];
/// Behind it are the disk's signature and the partitions.
const CODE_MAX: usize = 440;

#[derive(Debug, thiserror::Error)]
pub enum SyslinuxError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("{variable}")]
    Device {
        variable: &'static str,
        #[source]
        source: DeviceError,
    },
    #[error("DEST_PARTITION")]
    Mount(#[from] MountError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "mbr.bin is missing: this action's image does not have it. Use the action's image with tools, with syslinux-common among them"
    )]
    NoCode,
    #[error("{0} has {1} bytes, and an MBR has room for {CODE_MAX}")]
    LongCode(PathBuf, usize),
    #[error("DEST_DISK {0} has {1}: SYSLINUX boots from an MBR. rootio makes one with MBR=true")]
    Table(PathBuf, &'static str),
    #[error("DEST_PARTITION {partition} is not a partition of DEST_DISK {disk}; nothing was written")]
    Elsewhere { partition: PathBuf, disk: PathBuf },
    #[error("DEST_PARTITION {0} holds neither FAT nor ext2, ext3 or ext4: format it first")]
    FileSystem(PathBuf),
    #[error("cannot write the boot code to DEST_DISK {disk}")]
    Write {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
}

struct Settings {
    disk: Named,
    partition: Named,
}

impl Settings {
    fn read(variables: &Variables) -> Result<Self, VariableError> {
        const VERSION: &str = "SYSLINUX_VERSION";
        let settings = Self { disk: Named::read(variables, "DEST_DISK")?, partition: Named::read(variables, "DEST_PARTITION")? };
        if variables.optional(VERSION).is_some() {
            let text = variables.text(VERSION)?;
            if !matches!(text.as_str(), "386" | "3.86" | "6" | "6.03" | "6.04") {
                return Err(unusable(VERSION, &text, "386 or 3.86, as upstream, or 6: the image's version is used in any case"));
            }
        }
        Ok(settings)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat,
    Ext,
}

struct Plan {
    disk: PathBuf,
    partition: PathBuf,
    kind: Kind,
    program: PathBuf,
    code: Vec<u8>,
}

impl Plan {
    /// Everything is looked at before anything is written.
    /// `root` is `/`, except in tests.
    fn make(settings: &Settings, root: &Path) -> Result<Self, SyslinuxError> {
        let found = |named: &Named, variable| {
            named.appear(device::APPEARS_WITHIN).map_err(|source| SyslinuxError::Device { variable, source })
        };
        let (disk, partition) = (found(&settings.disk, "DEST_DISK")?, found(&settings.partition, "DEST_PARTITION")?);
        if let Some(problem) = problem(&disk)? {
            return Err(SyslinuxError::Table(disk, problem));
        }
        if !is_part(root, &partition, &disk) {
            return Err(SyslinuxError::Elsewhere { partition, disk });
        }
        for (variable, path) in [("DEST_DISK", &disk), ("DEST_PARTITION", &partition)] {
            drop(device::open(path).map_err(|source| SyslinuxError::Device { variable, source })?);
        }
        let kind = kind(&start(&partition, 2048)?).ok_or_else(|| SyslinuxError::FileSystem(partition.clone()))?;
        let program = if kind == Kind::Fat { SYSLINUX } else { EXTLINUX }.find()?;
        if kind == Kind::Fat {
            OF_SYSLINUX.iter().try_for_each(|tool| tool.find().map(drop))?;
        }
        Ok(Self { disk, partition, kind, program, code: code()? })
    }

    fn words(&self) -> String {
        let (program, partition, disk) = (self.program.display(), self.partition.display(), self.disk.display());
        format!("{program} on {partition}, and {} bytes of boot code on {disk}", self.code.len())
    }
}

/// Why the disk has no MBR whose boot code may be replaced.
fn problem(disk: &Path) -> Result<Option<&'static str>, SyslinuxError> {
    let failed = |source| SyslinuxError::Read { path: disk.to_owned(), source };
    let head = start(disk, 2048)?;
    let mut file = File::open(disk).map_err(failed)?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let sector = rustix::fs::ioctl_blksszget(&file).map_or(512, u64::from);
    let table = partitions::table(&|at, buffer: &mut [u8]| file.read_exact_at(buffer, at), size, sector);
    Ok(match table {
        // Its boot sector has the same signature as an MBR, and its own data where the boot code goes.
        _ if kind(&head).is_some() => Some("a file system, and no partition table"),
        _ if head.get(512..520) == Some(b"EFI PART") => Some("a GPT"),
        Table::Damaged => Some("a damaged GPT"),
        Table::None => Some("no partition table"),
        Table::Partitions(all) if all.iter().any(|part| matches!(part.kind, partitions::Kind::Gpt { .. })) => Some("a GPT"),
        Table::Partitions(_) => None,
    })
}

/// By the kernel's names, whatever links lead to them.
fn is_part(root: &Path, partition: &Path, disk: &Path) -> bool {
    let name = |path: &Path| Some(std::fs::canonicalize(path).ok()?.file_name()?.to_str()?.to_owned());
    let whole = name(partition).and_then(|partition| disks::whole(root, &partition));
    whole.is_some() && whole == name(disk)
}

fn start(device: &Path, length: usize) -> Result<Vec<u8>, SyslinuxError> {
    let mut bytes = vec![0; length];
    let read = File::open(device).and_then(|file| file.read_exact_at(&mut bytes, 0));
    read.map(|()| bytes).map_err(|source| SyslinuxError::Read { path: device.to_owned(), source })
}

fn kind(start: &[u8]) -> Option<Kind> {
    let is_fat = start.get(54..57) == Some(b"FAT") || start.get(82..85) == Some(b"FAT");
    let is_ext = start.get(1080..1082) == Some(&[0x53, 0xef]);
    if is_fat && start.get(510..512) == Some(&[0x55, 0xaa]) { Some(Kind::Fat) } else { is_ext.then_some(Kind::Ext) }
}

fn code() -> Result<Vec<u8>, SyslinuxError> {
    let path = MBR.iter().map(Path::new).find(|path| path.is_file()).ok_or(SyslinuxError::NoCode)?;
    let code = std::fs::read(path).map_err(|source| SyslinuxError::Read { path: path.to_owned(), source })?;
    if code.len() > CODE_MAX { Err(SyslinuxError::LongCode(path.to_owned(), code.len())) } else { Ok(code) }
}

pub fn run(variables: &Variables) -> Result<(), SyslinuxError> {
    let plan = Plan::make(&Settings::read(variables)?, Path::new("/"))?;
    match plan.kind {
        Kind::Fat => programs::run(&plan.program, &["--install".into(), plan.partition.clone().into()])?,
        Kind::Ext => {
            let mounted = Mounted::new(&plan.partition, "ext4")?;
            let result = programs::run(&plan.program, &["--install".into(), mounted.path().into()]);
            let closed = mounted.close();
            result?;
            closed?;
        }
    }
    let opened = device::open(&plan.disk).map_err(|source| SyslinuxError::Device { variable: "DEST_DISK", source })?;
    write(&opened.file, &plan.code).map_err(|source| SyslinuxError::Write { disk: plan.disk.clone(), source })?;
    say(&format!("installed {}", plan.words()));
    Ok(())
}

/// Looks at disk, partition and programs, and says what `run` would do.
pub fn dry_run(variables: &Variables) -> Result<(), SyslinuxError> {
    let plan = Plan::make(&Settings::read(variables)?, Path::new("/"))?;
    say(&format!("would install {}; nothing was written", plan.words()));
    Ok(())
}

fn write(file: &File, code: &[u8]) -> io::Result<()> {
    // Less than a sector, through the page cache.
    let flags = rustix::fs::fcntl_getfl(file)?.difference(OFlags::DIRECT);
    rustix::fs::fcntl_setfl(file, flags)?;
    let mut whole = code.to_vec();
    whole.resize(CODE_MAX, 0);
    file.write_all_at(&whole, 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_code_leaves_the_partitions_alone() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&disk, [7; 1024]).unwrap();
        write(&device::open(disk.path()).unwrap().file, &[1, 2, 3]).unwrap();
        let bytes = std::fs::read(disk.path()).unwrap();
        assert!(bytes.starts_with(&[1, 2, 3, 0]) && bytes[440..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_version_is_upstreams_or_debians() {
        let read = |version: &str| {
            Settings::read(&Variables::of([("DEST_DISK", "/a"), ("DEST_PARTITION", "/b"), ("SYSLINUX_VERSION", version)])).is_ok()
        };
        assert!(read("386") && read("3.86") && read("6.04") && read(""));
        assert!(!read("4"));
    }

    #[test]
    fn a_disk_without_an_mbr_and_a_partition_of_another_disk_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (disk, partition) = (root.join("disk"), root.join("partition"));
        std::fs::write(&partition, [0; 4096]).unwrap();
        let plan = |head: &[u8]| {
            std::fs::write(&disk, head).unwrap();
            let settings = Settings { disk: Named::Path(disk.clone()), partition: Named::Path(partition.clone()) };
            let error = Plan::make(&settings, root).err().unwrap().to_string();
            assert_eq!(std::fs::read(&disk).unwrap(), head);
            error
        };
        assert!(plan(&[0; 4096]).contains("has no partition table"));
        let mut gpt = vec![0; 4096];
        gpt[510..520].copy_from_slice(b"\x55\xaaEFI PART");
        assert!(plan(&gpt).contains("has a GPT: SYSLINUX boots from an MBR"));
        let mut signed = vec![0; 4096];
        signed[510..512].copy_from_slice(b"\x55\xaa");
        assert!(plan(&signed).contains("has no partition table"));
        let mut mbr = signed.clone();
        (mbr[450], mbr[454], mbr[458]) = (0x83, 2, 4);
        let mut fat = mbr.clone();
        fat[54..57].copy_from_slice(b"FAT");
        assert!(plan(&fat).contains("has a file system, and no partition table"));
        assert!(plan(&mbr).contains("is not a partition of DEST_DISK"));
        for whole in ["other", "disk"] {
            let place = root.join("devices").join(whole).join("partition");
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("partition"), "1\n").unwrap();
            std::fs::create_dir_all(root.join("sys/class/block")).unwrap();
            let link = root.join("sys/class/block/partition");
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(place, link).unwrap();
            let expected = if whole == "disk" { "holds neither FAT nor ext2" } else { "is not a partition of DEST_DISK" };
            assert!(plan(&mbr).contains(expected), "{whole}");
        }
    }
}
