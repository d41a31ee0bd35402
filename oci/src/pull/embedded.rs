//! Images that came with the machine: an OCI image layout in the ramdisk, or on a disk that its settings allow.

pub mod disk;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cmdline::EmbeddedImages;
use machine::Chain;
use rustix::fs::OFlags;

use crate::digest::Digest;
use crate::layout::{self, Index};
use crate::reference::{Reference, Version};
use crate::registry::{DOCUMENT_MAX, RequestError, Said};

use disk::Mounted;
pub use disk::{Disk, Turn, Why};

/// The places of embedded images, and when they are used.
#[derive(Debug, Clone)]
pub struct Embedded {
    pub when: EmbeddedImages,
    /// A layout in the ramdisk. It is as trustworthy as the agent, which is there, too.
    pub folder: PathBuf,
    /// `None` if the settings do not allow images from a disk.
    pub disk: Option<Disk>,
}

/// A folder of blobs, with an index that has the requested image.
#[derive(Debug)]
pub struct Layout {
    place: Place,
    index: Index,
}

#[derive(Debug)]
enum Place {
    Ramdisk(PathBuf),
    Disk(Mounted),
}

impl Embedded {
    pub fn nowhere() -> Self {
        Self { when: EmbeddedImages::Never, folder: PathBuf::new(), disk: None }
    }

    /// The ramdisk's layout, if it has the image.
    pub fn in_ramdisk(&self, image: &Reference) -> Option<Layout> {
        let place = Place::Ramdisk(self.folder.clone());
        if self.when == EmbeddedImages::Never { None } else { Layout::open(place).filter(|layout| layout.has(image)) }
    }

    /// The disk's layout, if it has the image. Mounts the disk, which may take some time.
    pub fn on_disk(&self, image: &Reference) -> Option<Layout> {
        let disk = self.disk.as_ref().filter(|disk| disk.is_there())?;
        log::info!("looking for image {image} on the disk {}", disk.device().display());
        let mounted = disk.mount().inspect_err(|error| log::warn!("{}: its images are not used", Chain(error))).ok()?;
        let layout = Layout::open(Place::Disk(mounted))?;
        if !layout.has(image) {
            log::info!("image {image} is not on the disk {}", disk.device().display());
            return None;
        }
        Some(layout)
    }

    pub fn turn_of_disk(&self, image: &Reference, signed: bool) -> Turn {
        Turn::of(image, self.when, self.disk.is_some(), signed)
    }

    pub fn has_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::is_there)
    }

    /// Which of the places exist. They must be read to know whether they have the image.
    pub fn places(&self) -> [bool; 2] {
        [self.when != EmbeddedImages::Never && self.folder.join(layout::INDEX).exists(), self.has_disk()]
    }
}

impl Layout {
    fn open(place: Place) -> Option<Self> {
        let refused = |error: &dyn std::fmt::Display| log::warn!("cannot use {} of {place}: {error}", layout::INDEX);
        let text = match read_small(|| place.open(Path::new(layout::INDEX))) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    refused(&error);
                }
                return None;
            }
        };
        match Index::parse(&text) {
            Ok(index) => Some(Self { place, index }),
            Err(error) => {
                refused(&error);
                None
            }
        }
    }

    fn has(&self, image: &Reference) -> bool {
        self.index.digest_of(image).is_some()
    }

    /// Whether only the builder of the ramdisk can have put it there.
    pub fn is_trusted(&self) -> bool {
        matches!(self.place, Place::Ramdisk(_))
    }

    pub fn name(&self) -> String {
        format!("({})", self.place)
    }

    /// A small document by its path in the registry's API: `manifests/TAG`, `manifests/DIGEST` or `blobs/DIGEST`.
    pub fn document(&self, image: &Reference, path: &str) -> Result<Vec<u8>, RequestError> {
        let missing = || RequestError::NotFound { registry: self.name(), what: path.to_owned(), said: Said::default() };
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let tagged = |tag: &str| {
            let image = Reference { version: Version::Tag(tag.to_owned()), ..image.clone() };
            self.index.digest_of(&image).cloned()
        };
        let digest = name.parse::<Digest>().ok().or_else(|| tagged(name)).ok_or_else(missing)?;
        read_small(|| self.blob(&digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            io::ErrorKind::FileTooLarge => {
                RequestError::TooLarge { registry: self.name(), what: path.to_owned(), limit: DOCUMENT_MAX }
            }
            _ => RequestError::Disk { registry: self.name(), what: path.to_owned(), source: error },
        })
    }

    pub fn blob(&self, digest: &Digest) -> io::Result<File> {
        self.place.open(Path::new(&layout::blob_path(digest)))
    }

    /// The last four bytes of a blob.
    pub fn trailer(&self, digest: &Digest) -> Option<[u8; 4]> {
        use std::os::unix::fs::FileExt;
        let file = self.blob(digest).ok()?;
        let mut last = [0; 4];
        file.read_exact_at(&mut last, file.metadata().ok()?.len().checked_sub(4)?).ok()?;
        Some(last)
    }
}

impl Place {
    /// A pipe or device in place of a file is an error, and does not block.
    fn open(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Ramdisk(folder) => {
                let nonblock = OFlags::NONBLOCK.bits() as i32;
                regular(OpenOptions::new().read(true).custom_flags(nonblock).open(folder.join(path))?)
            }
            Self::Disk(mounted) => mounted.open(path),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ramdisk(folder) => write!(f, "images in {}", folder.display()),
            Self::Disk(mounted) => write!(f, "images on the disk {}", mounted.device.display()),
        }
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Reads a document. A huge file in its place does not fill the memory.
fn read_small(open: impl FnOnce() -> io::Result<File>) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    open()?.take(DOCUMENT_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > DOCUMENT_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}
