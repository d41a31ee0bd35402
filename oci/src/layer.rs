//! One layer: bytes as they arrive -> sha256 -> gzip, zstd or nothing -> tar -> files. Compressed data is not stored.

mod decode;
mod sys;
mod tree;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use crate::archive::{Archive, ArchiveError, Entry, Kind, Part};
use crate::digest::{Digest, Hasher};
use crate::manifest::Descriptor;
use crate::space::{Free, NoSpace, Resource};
use decode::WINDOW;
use tree::Tree;

const ENTRIES_MAX: u64 = 2_000_000;
const PATH_MAX: usize = 4096;
/// Zeros become holes, which take no memory but take time. One compressed kilobyte can expand to a megabyte of zeros.
const HOLES_MAX: u64 = 64 << 30;
/// What a name and an inode cost the kernel. Content is kept in whole pages.
const INODE: u64 = 1 << 10;
const PAGE: u64 = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("its content has the digest {actual} and {size} bytes")]
    Mismatch { actual: Digest, size: u64 },
    #[error("not enough room for its files")]
    NoSpace(#[source] NoSpace),
    #[error("the name {0} is longer than {PATH_MAX} bytes")]
    LongName(String),
    #[error("cannot create {path}")]
    File {
        /// The path, shortened and escaped.
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Archive(ArchiveError),
    #[error("its zstd window is larger than {} MiB, which would all be memory: pack it without --long and --ultra", WINDOW >> 20)]
    Window,
    #[error("it is compressed with {0}: pack it with gzip or zstd")]
    Compression(&'static str),
    #[error("it has more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("it has more than {HOLES_MAX} bytes of zeros")]
    Hollow,
    #[error("the pull was cancelled")]
    Stopped,
}

/// How much a layer may take. It is queried repeatedly, because the memory of the machine is shared.
pub trait Budget {
    fn free(&mut self) -> Free;

    /// Whether the pull was cancelled. A few bytes of an archive can cause much work.
    fn is_stopped(&self) -> bool {
        false
    }
}

impl<F: FnMut() -> Free> Budget for F {
    fn free(&mut self) -> Free {
        self()
    }
}

/// Unpacks a layer over the earlier layers below `root`. After an error, the files below `root` must not be used.
///
/// # Errors
/// If the bytes do not match the digest, cannot be decoded, or do not fit.
pub fn unpack(stream: impl Read, layer: &Descriptor, root: &Path, budget: &mut impl Budget) -> Result<(), LayerError> {
    let mut hashing = Hashing { inner: stream, hash: layer.digest.hasher(), size: 0 };
    let unpacked = unpack_archive(BufReader::with_capacity(64 << 10, &mut hashing), root, budget);
    if !matches!(unpacked, Err(LayerError::NoSpace(_) | LayerError::File { .. } | LayerError::Stopped)) {
        // Bytes after the archive's end are part of the digest. After a decoding error the digest
        // distinguishes damaged bytes from a wrong format.
        io::copy(&mut hashing, &mut io::sink()).map_err(LayerError::Read)?;
        let (actual, size) = (hashing.hash.finish(), hashing.size);
        if actual != layer.digest || size != layer.size {
            return Err(LayerError::Mismatch { actual, size });
        }
    }
    unpacked
}

/// Unpacks a tar archive that is not a layer: names such as `.wh.x` are files like all others. Content after the archive's end
/// stays unread in `stream`.
///
/// # Errors
/// If it is not an archive, or does not fit.
pub fn unpack_plain(stream: impl Read, root: &Path, budget: &mut impl Budget) -> Result<Count, LayerError> {
    let mut archive = Archive::new(stream);
    let mut unpacker = Unpacker::new(root, budget)?;
    unpacker.layered = false;
    while let Some(entry) = archive.next_entry().map_err(archive_error)? {
        unpacker.entry(&entry, &mut archive)?;
    }
    Ok(Count { entries: unpacker.taken.inodes, bytes: unpacker.taken.disk })
}

/// What an archive has become: entries, and bytes of content and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub entries: u64,
    pub bytes: u64,
}

struct Hashing<R> {
    inner: R,
    hash: Hasher,
    size: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }
}

fn unpack_archive(stream: impl io::BufRead, root: &Path, budget: &mut impl Budget) -> Result<(), LayerError> {
    let mut archive = Archive::new(decode::decoder(stream, root)?);
    let mut unpacker = Unpacker::new(root, budget)?;
    while let Some(entry) = archive.next_entry().map_err(archive_error)? {
        unpacker.entry(&entry, &mut archive)?;
    }
    unpacker.forget_bookkeeping()
}

/// How aufs names what is its own. Old layers have its folders, and hard links to the files in them.
const BOOKKEEPING: &[u8] = b".wh..wh.";

fn archive_error(error: ArchiveError) -> LayerError {
    if decode::is_window(&error) { LayerError::Window } else { LayerError::Archive(error) }
}

struct Unpacker<'a, B> {
    tree: Tree,
    budget: &'a mut B,
    /// How much may be taken before the budget is queried again.
    room: Free,
    until_asked: u64,
    /// How much this layer has taken.
    taken: Free,
    /// Hashes of the paths of this layer, because its whiteouts only concern the layers below.
    own: HashSet<u64>,
    /// Hashes of the directories from which everything of the layers below was removed.
    cleared: HashSet<u64>,
    hasher: RandomState,
    /// Whiteouts hide files of the layers below.
    layered: bool,
    /// How many more bytes of zeros may come.
    holes: u64,
    /// It has entries in folders of aufs' own.
    has_bookkeeping: bool,
    /// Content on its way to a file: one for all files.
    buffer: Vec<u8>,
}

const BUFFER: usize = 32 << 10;

const ASK_EVERY: u64 = 4 << 20;

impl<'a, B: Budget> Unpacker<'a, B> {
    fn new(root: &Path, budget: &'a mut B) -> Result<Self, LayerError> {
        let tree = Tree::open(root).map_err(|source| LayerError::File { path: shown(root), source })?;
        let room = budget.free();
        let (own, cleared, hasher) = (HashSet::new(), HashSet::new(), RandomState::new());
        let (holes, buffer) = (HOLES_MAX, vec![0; BUFFER]);
        let (until_asked, taken, has_bookkeeping) = (ASK_EVERY, Free::NONE, false);
        Ok(Self { tree, budget, room, until_asked, taken, own, cleared, hasher, layered: true, holes, has_bookkeeping, buffer })
    }

    fn forget_bookkeeping(&mut self) -> Result<(), LayerError> {
        let gone = if self.has_bookkeeping { self.tree.remove_from_root(BOOKKEEPING) } else { Ok(()) };
        gone.map_err(|error| self.failed(Path::new("/"), error))
    }

    fn entry(&mut self, entry: &Entry, archive: &mut Archive<impl Read>) -> Result<(), LayerError> {
        if self.budget.is_stopped() {
            return Err(LayerError::Stopped);
        }
        if self.taken.inodes >= ENTRIES_MAX {
            return Err(LayerError::TooMany);
        }
        let path = inside(&entry.path)?;
        let Some(name) = path.file_name() else {
            let adorned = if entry.kind == Kind::Directory { self.tree.adorn_root(entry) } else { Ok(()) };
            return adorned.map_err(|error| self.failed(Path::new("/"), error));
        };
        self.spend(INODE, 1)?;
        if let Some(hidden) = name.as_encoded_bytes().strip_prefix(b".wh.").filter(|_| self.layered) {
            return self.whiteout(&path, hidden).map_err(|error| self.failed(&path, error));
        }
        self.has_bookkeeping |= path.as_os_str().as_bytes().starts_with(BOOKKEEPING);
        let made = match entry.kind {
            Kind::File => return self.file(&path, entry, archive),
            Kind::Directory => self.tree.directory(&path, entry),
            Kind::Symlink => self.tree.symlink(&path, entry),
            Kind::HardLink => self.tree.hard_link(&path, &inside(&entry.link)?),
            Kind::Character | Kind::Block | Kind::Fifo => self.tree.node(&path, entry),
            Kind::Other(_) => return Ok(()), // extensions of vendors
        };
        made.map_err(|error| self.failed(&path, error))?;
        self.own(name);
        Ok(())
    }

    fn hash(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path)
    }

    /// Archives may leave parent directories out. They still belong to this layer.
    fn own(&mut self, name: &OsStr) {
        if !self.layered {
            return; // only whiteouts ask
        }
        for owned in self.tree.directory_of_last().join(name).ancestors() {
            let hash = self.hash(owned);
            if !self.own.insert(hash) {
                break;
            }
        }
    }

    fn file(&mut self, path: &Path, entry: &Entry, archive: &mut Archive<impl Read>) -> Result<(), LayerError> {
        let file = self.tree.create(path).map_err(|error| self.failed(path, error))?;
        let whole = [Part { offset: 0, length: entry.size }];
        let mut buffer = std::mem::take(&mut self.buffer);
        for part in entry.parts.as_deref().unwrap_or(&whole) {
            self.copy(archive, &file, part, path, &mut buffer)?;
        }
        self.buffer = buffer;
        let sized = file.metadata().and_then(|now| if now.len() < entry.size { file.set_len(entry.size) } else { Ok(()) });
        sized.and_then(|()| Tree::adorn(&file, entry)).map_err(|error| self.failed(path, error))?;
        if let Some(name) = path.file_name() {
            self.own(name);
        }
        Ok(())
    }

    fn copy(
        &mut self,
        archive: &mut Archive<impl Read>,
        file: &File,
        part: &Part,
        path: &Path,
        buffer: &mut [u8],
    ) -> Result<(), LayerError> {
        let mut done = 0u64;
        while done < part.length {
            let wanted = buffer.len().min(usize::try_from(part.length - done).unwrap_or(usize::MAX));
            let filled = archive.fill_content(buffer.get_mut(..wanted).unwrap_or_default()).map_err(archive_error)?;
            let bytes = buffer.get(..filled).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            let count = filled as u64;
            if bytes.iter().all(|byte| *byte == 0) {
                self.holes = self.holes.checked_sub(count).ok_or(LayerError::Hollow)?; // a hole costs no memory
                if self.budget.is_stopped() {
                    return Err(LayerError::Stopped);
                }
            } else {
                self.spend(count.next_multiple_of(PAGE), 0)?;
                let at = part.offset.saturating_add(done);
                file.write_all_at(bytes, at).map_err(|error| self.failed(path, error))?;
            }
            done += count;
        }
        Ok(())
    }

    fn spend(&mut self, bytes: u64, inodes: u64) -> Result<(), LayerError> {
        if self.until_asked < bytes {
            self.room = self.budget.free();
            self.until_asked = ASK_EVERY;
        }
        self.until_asked = self.until_asked.saturating_sub(bytes);
        self.room = self.room.less(bytes, inodes).map_err(|resource| self.short(resource, self.room.of(resource)))?;
        self.taken =
            Free { memory: self.taken.memory + bytes, disk: self.taken.disk + bytes, inodes: self.taken.inodes + inodes };
        Ok(())
    }

    /// What the layer has taken so far was free, and so is the rest. At least one more entry is needed.
    fn short(&self, resource: Resource, left: u64) -> LayerError {
        let free = self.taken.of(resource).saturating_add(left);
        let entry = if resource == Resource::Inodes { 1 } else { INODE + PAGE };
        LayerError::NoSpace(NoSpace { resource, needed: free.saturating_add(entry), free })
    }

    fn whiteout(&mut self, path: &Path, hidden: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new(""));
        if hidden == b".wh..opq" {
            return self.clear(directory);
        }
        // `.wh..wh.plnk` and similar names are internal to aufs.
        if hidden.is_empty() || hidden == b"." || hidden == b".." || hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if !self.tree.enter(directory)? {
            return Ok(()); // nothing to hide, or a file where the directory was
        }
        let name = OsStr::from_bytes(hidden);
        let victim = self.tree.directory_of_last().join(name);
        // A layer may hide a path and add it again, in either order. The layers below lose theirs.
        match self.own.contains(&self.hash(&victim)) {
            false => self.tree.remove(name),
            true if self.tree.is_directory(name) => self.clear(&victim),
            true => Ok(()),
        }
    }

    /// Removes what the layers below put into a directory. This is done only once per directory.
    fn clear(&mut self, directory: &Path) -> io::Result<()> {
        if !self.tree.enter(directory)? {
            return Ok(());
        }
        let resolved = self.tree.directory_of_last();
        if resolved.ancestors().any(|above| self.cleared.contains(&self.hash(above))) {
            return Ok(());
        }
        let hash = self.hash(resolved);
        self.tree.clear(&|path| self.own.contains(&self.hash(path)))?;
        self.cleared.insert(hash);
        Ok(())
    }

    fn failed(&mut self, path: &Path, source: io::Error) -> LayerError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let left = self.budget.free();
                self.short(if left.inodes == 0 { Resource::Inodes } else { Resource::Disk }, 0)
            }
            _ => LayerError::File { path: shown(path), source },
        }
    }
}

/// The path below the root. `..` cannot leave the root, as if it were the whole file system.
fn inside(path: &Path) -> Result<PathBuf, LayerError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if clean.as_os_str().len() > PATH_MAX { Err(LayerError::LongName(shown(&clean))) } else { Ok(clean) }
}

/// The path for messages, escaped because the image's author has chosen the name.
fn shown(path: &Path) -> String {
    const MOST: usize = 200;
    let text = path.to_string_lossy();
    let start: String = text.chars().take(MOST).collect();
    format!("{start:?}{}", if start.len() < text.len() { "..." } else { "" })
}

#[cfg(test)]
mod tests;
