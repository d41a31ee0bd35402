//! Images that came with the machine: an OCI image layout in the ramdisk, or in `images/` on a disk labelled THIMBLE.
//!
//! A disk is mounted read-only, and only while something is read from it, so that it can be pulled out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cmdline::EmbeddedImages;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::digest::Digest;
use crate::layout::{self, Index};
use crate::reference::{Reference, Version};
use crate::registry::{DOCUMENT_MAX, RequestError};

/// Where to look, and when.
#[derive(Debug, Clone)]
pub struct Embedded {
    pub when: EmbeddedImages,
    /// A layout in the ramdisk, as trustworthy as the agent beside it.
    pub folder: PathBuf,
    /// The disk, and where it is mounted.
    pub disk: PathBuf,
    pub mount_point: PathBuf,
}

pub const DISK: &str = "/dev/disk/by-label/THIMBLE";
/// On the disk.
const IMAGES: &str = "images";
const FILE_SYSTEMS: [&str; 3] = ["vfat", "iso9660", "ext4"];

/// A folder of blobs with an index that has the image asked for.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    index: Index,
    /// Only the builder of the ramdisk can have put it there.
    pub trusted: bool,
    _mounted: Option<Mounted>,
}

impl Embedded {
    pub fn nowhere() -> Self {
        Self { when: EmbeddedImages::Never, folder: PathBuf::new(), disk: PathBuf::new(), mount_point: PathBuf::new() }
    }

    /// The first layout that has the image. Blocks: a disk may take its time.
    pub fn find(&self, image: &Reference) -> Option<Layout> {
        if self.when == EmbeddedImages::Never {
            return None;
        }
        let has = |layout: &Layout| layout.index.digest_of(image).is_some();
        Layout::open(&self.folder, None).filter(has).or_else(|| self.on_disk().filter(has))
    }

    /// Which of the places exist. Whether one has the image, only `find` says.
    pub fn places(&self) -> [bool; 2] {
        [self.folder.join(layout::INDEX), self.disk.clone()].map(|place| self.when != EmbeddedImages::Never && place.exists())
    }

    fn on_disk(&self) -> Option<Layout> {
        if !self.disk.exists() {
            return None;
        }
        match Mounted::new(&self.disk, &self.mount_point) {
            Ok(mounted) => Layout::open(&self.mount_point.join(IMAGES), Some(mounted)),
            Err(error) => {
                log::warn!("cannot mount {} for its images: {error}", self.disk.display());
                None
            }
        }
    }
}

impl Layout {
    fn open(folder: &Path, mounted: Option<Mounted>) -> Option<Self> {
        let file = folder.join(layout::INDEX);
        let text = match read_small(&file) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("cannot read {}: {error}", file.display());
                }
                return None;
            }
        };
        match Index::parse(&text) {
            Ok(index) => {
                let (folder, trusted) = (folder.to_owned(), mounted.is_none());
                Some(Self { folder, index, trusted, _mounted: mounted })
            }
            Err(error) => {
                log::warn!("{} is not an index of an OCI image layout: {error}", file.display());
                None
            }
        }
    }

    pub fn name(&self) -> String {
        format!("(images in {})", self.folder.display())
    }

    /// A small document by its path in the registry's API: `manifests/TAG`, `manifests/DIGEST` or `blobs/DIGEST`.
    pub fn document(&self, image: &Reference, path: &str) -> Result<Vec<u8>, RequestError> {
        let missing = || RequestError::NotFound { registry: self.name(), what: path.to_owned() };
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let tagged = |tag: &str| {
            let image = Reference { version: Version::Tag(tag.to_owned()), ..image.clone() };
            self.index.digest_of(&image).cloned()
        };
        let digest = name.parse::<Digest>().ok().or_else(|| tagged(name)).ok_or_else(missing)?;
        read_small(&self.blob(&digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            io::ErrorKind::FileTooLarge => RequestError::TooLarge { registry: self.name(), what: path.to_owned() },
            _ => RequestError::Disk { registry: self.name(), what: path.to_owned(), source: error },
        })
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join(layout::blob_path(digest))
    }

    /// The last four bytes of a blob.
    pub fn trailer(&self, digest: &Digest) -> Option<[u8; 4]> {
        use std::os::unix::fs::FileExt;
        let file = fs::File::open(self.blob(digest)).ok()?;
        let mut last = [0; 4];
        file.read_exact_at(&mut last, file.metadata().ok()?.len().checked_sub(4)?).ok()?;
        Some(last)
    }
}

/// Reads a document. A huge file in its place does not fill the memory.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    fs::File::open(path)?.take(DOCUMENT_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > DOCUMENT_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn new(disk: &Path, at: &Path) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mut error = io::Error::from(io::ErrorKind::Unsupported);
        for kind in FILE_SYSTEMS {
            match mount(Some(disk), at, Some(kind), flags, None::<&str>) {
                Ok(()) => return Ok(Self(at.to_owned())),
                // Another file system, or one that this kernel does not have.
                Err(nix::Error::EINVAL | nix::Error::ENODEV) => {}
                Err(other) => error = other.into(),
            }
        }
        Err(error)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            log::warn!("cannot unmount {}: {error}", self.0.display());
        }
    }
}
