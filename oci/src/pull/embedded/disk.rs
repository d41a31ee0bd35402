//! A disk with the label THIMBLE as a source of images. A former tenant of the machine may have left it. So it is used only
//! if the settings allow it, and its images only with a digest or a valid signature.
//!
//! It is mounted read-only, and only while it is read, so that it can be pulled out.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use devices::content::{self, Source};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::reference::{Reference, Version};
use cmdline::EmbeddedImages;

pub const LABEL: &str = "THIMBLE";
/// The name of the disk from PID 1 or udev.
pub const BY_LABEL: &str = "/dev/disk/by-label/THIMBLE";
/// The layout on the disk.
const IMAGES: &str = "images";
/// MS_NOSYMFOLLOW of Linux 5.10. Older kernels ignore it, and [`open_below`] refuses links anyway.
const NO_LINKS: MsFlags = MsFlags::from_bits_retain(256);

/// The device of the disk, and its mount point.
#[derive(Debug, Clone)]
pub struct Disk {
    pub link: PathBuf,
    pub mount_point: PathBuf,
}

/// When to search a disk for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    BeforeRegistry,
    /// After the registry was unreachable, or did not have the image.
    AfterRegistry,
    Never(Why),
}

/// Why a disk is not searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("`thimble.image_disk=true` on the kernel command line would allow it")]
    NotAskedFor,
    #[error("`thimble.embedded=never` forbids it")]
    Forbidden,
    #[error("a tag does not identify the content: name the image by digest, or list signers in the policy (`signedBy`)")]
    Tag,
}

impl Turn {
    /// `signed` means that the policy requires signatures.
    pub fn of(image: &Reference, when: EmbeddedImages, asked_for: bool, signed: bool) -> Self {
        match (&image.version, when) {
            _ if !asked_for => Self::Never(Why::NotAskedFor),
            (_, EmbeddedImages::Never) => Self::Never(Why::Forbidden),
            (Version::Digest(_), EmbeddedImages::First) => Self::BeforeRegistry,
            (Version::Digest(_), EmbeddedImages::Fallback) => Self::AfterRegistry,
            (Version::Tag(_), _) if signed => Self::AfterRegistry,
            (Version::Tag(_), _) => Self::Never(Why::Tag),
        }
    }
}

/// Logs why the disk is not used, for an operator who expected it. The disk is not read.
pub fn say_unused(why: Why) {
    if let Ok(device) = fs::canonicalize(BY_LABEL) {
        log::info!("the disk {} has the label {LABEL}, but its images are not used: {why}", device.display());
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot find out which disk {0} is")]
    Find(PathBuf, #[source] io::Error),
    #[error("{0} is not a disk")]
    NotADisk(PathBuf),
    #[error("{0} does not have a vfat, iso9660 or ext4 file system with the label {LABEL}")]
    OtherContent(PathBuf),
    #[error("cannot mount {0}")]
    Mount(PathBuf, #[source] io::Error),
    #[error("cannot open {IMAGES} on {0}")]
    Images(PathBuf, #[source] io::Error),
}

/// A mounted disk.
#[derive(Debug)]
pub struct Mounted {
    pub device: PathBuf,
    images: OwnedFd,
    _mount: Mount,
}

impl Disk {
    pub fn is_there(&self) -> bool {
        self.link.exists()
    }

    /// `/dev/sdb1`, for messages.
    pub fn device(&self) -> PathBuf {
        fs::canonicalize(&self.link).unwrap_or_else(|_| self.link.clone())
    }

    /// Checks the file system's superblock first, so that the kernel mounts only expected ones.
    pub fn mount(&self) -> Result<Mounted, DiskError> {
        let device = fs::canonicalize(&self.link).map_err(|error| DiskError::Find(self.link.clone(), error))?;
        let failed = |error| DiskError::Find(device.clone(), error);
        if !fs::metadata(&device).map_err(failed)?.file_type().is_block_device() {
            return Err(DiskError::NotADisk(device));
        }
        let file = File::open(&device).map_err(failed)?;
        let Some((kind, options)) = expected(&OpenDisk(file)) else { return Err(DiskError::OtherContent(device)) };
        let mounted = Mount::new(&device, &self.mount_point, kind, options);
        let mount = mounted.map_err(|error| DiskError::Mount(device.clone(), error))?;
        let images = File::open(&self.mount_point)
            .and_then(|root| open_below(&root, Path::new(IMAGES), OFlags::DIRECTORY))
            .map_err(|error| DiskError::Images(device.clone(), error))?;
        Ok(Mounted { device, images, _mount: mount })
    }
}

impl Mounted {
    /// Opens a regular file of the layout.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        super::regular(File::from(open_below(&self.images, path, OFlags::NONBLOCK)?))
    }
}

/// Neither `..` nor any link leads out of the folder, or to another file in it.
fn open_below(folder: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(folder, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), inside)?)
}

/// The file system to mount, and its options. A journal is not replayed, and the disk's setting for errors (`errors=panic`)
/// is overridden.
fn expected(disk: &OpenDisk) -> Option<(&'static str, Option<&'static str>)> {
    let volume = content::probe(disk)?;
    let ours = volume.label.as_deref() == Some(LABEL.as_bytes());
    match volume.kind {
        "vfat" if ours => Some(("vfat", None)),
        "iso9660" if ours => Some(("iso9660", None)),
        "ext" if ours => Some(("ext4", Some("noload,errors=continue"))),
        _ => None,
    }
}

struct OpenDisk(File);

impl Source for OpenDisk {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.0.read_exact_at(buffer, offset).is_ok()
    }

    fn size(&self) -> u64 {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::End(0)).unwrap_or(0)
    }
}

#[derive(Debug)]
struct Mount(PathBuf);

impl Mount {
    fn new(device: &Path, at: &Path, kind: &str, options: Option<&str>) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        let _ = umount2(at, MntFlags::MNT_DETACH); // a mount of a killed agent; usually there is none
        let safe = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | NO_LINKS;
        mount(Some(device), at, Some(kind), safe, options)?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            log::warn!("cannot unmount {}: {error}", self.0.display());
        }
    }
}
