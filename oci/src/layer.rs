//! One layer: bytes as they arrive -> sha256 -> gzip, zstd or nothing -> tar -> files. Nothing is stored compressed.

mod tree;

use std::cell::Cell;
use std::collections::HashSet;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use sha2::Digest as _;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::space::NoSpace;
use tree::{Attributes, Tree};

/// 8 MiB: what `zstd -19` uses. A larger window would cost the machine as much memory while it unpacks.
const ZSTD_WINDOW_LOG: u32 = 23;
const WINDOW: u64 = 1 << ZSTD_WINDOW_LOG;
const ENTRIES_MAX: usize = 2_000_000;
const PATH_MAX: usize = 4096;
/// Long names and extended attributes of one entry, in bytes. They are held in memory, and compressed ones can be huge.
const HEADERS_MAX: u64 = 1 << 20;
/// Zeros become holes, which take no memory but take time. One compressed kilobyte can make a megabyte of them.
const HOLES_MAX: u64 = 64 << 30;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("its content is {actual}, {size} bytes")]
    Mismatch { actual: Digest, size: u64 },
    #[error("not enough memory for its files")]
    NoSpace(#[source] NoSpace),
    #[error("entry {0:?} points outside the image")]
    Escapes(PathBuf),
    #[error("cannot create {path:?}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot decode it")]
    Decode(#[source] io::Error),
    #[error("its zstd window is larger than {} MiB, and all of it would be memory: pack it without --long and --ultra", WINDOW >> 20)]
    Window,
    #[error("it has more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("it has more than {HOLES_MAX} bytes of zeros")]
    Hollow,
    #[error("{0:?} is a sparse file in the PAX form, which is not supported: pack the image with another tar")]
    PaxSparse(PathBuf),
}

/// Says how many bytes may still be written. It is asked again every 4 MiB, because the memory of the machine is shared.
pub trait Budget {
    fn free(&mut self) -> u64;
}

impl<F: FnMut() -> u64> Budget for F {
    fn free(&mut self) -> u64 {
        self()
    }
}

/// Unpacks a layer over the earlier layers below `root`. After an error, nothing below `root` may be used.
///
/// # Errors
/// If the bytes are not those of the digest, cannot be decoded, or do not fit.
pub fn unpack(stream: impl Read, layer: &Descriptor, root: &Path, budget: &mut impl Budget) -> Result<(), LayerError> {
    let mut hashing = Hashing { inner: stream, hash: sha2::Sha256::new(), size: 0 };
    let unpacked = unpack_archive(BufReader::with_capacity(64 << 10, &mut hashing), root, budget);
    if !matches!(unpacked, Err(LayerError::NoSpace(_) | LayerError::File { .. })) {
        // What follows the archive's end belongs to the digest; after a decoding error it separates damaged bytes from a wrong format.
        io::copy(&mut hashing, &mut io::sink()).map_err(LayerError::Decode)?;
        let (actual, size) = (Digest::from_hash(hashing.hash.finalize().as_slice()), hashing.size);
        if actual != layer.digest || size != layer.size {
            return Err(LayerError::Mismatch { actual, size });
        }
    }
    unpacked.map_err(|error| if is_window(&error) { LayerError::Window } else { error })
}

/// Looks through every error between the decoder and this crate.
fn is_window(error: &LayerError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        // An io::Error hides what it wraps from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map_or(error, |inner| inner as &(dyn Error + 'static));
        if let Some(zstd) = inner.downcast_ref::<zstd::Error>() {
            return zstd.is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge);
        }
        cause = inner.source();
    }
    false
}

struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
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

/// Decides by the bytes, not by the media type, which some tools set wrongly.
fn decoder<'a>(mut stream: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    // The first bytes may come one by one.
    let mut first = [0; 4];
    let head = fill(&mut stream, &mut first)?.to_vec();
    let stream = io::Cursor::new(head.clone()).chain(stream);
    if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(stream)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || matches!(head.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(Box::new(decoder))
    } else {
        Ok(Box::new(stream))
    }
}

fn unpack_archive(stream: impl BufRead, root: &Path, budget: &mut impl Budget) -> Result<(), LayerError> {
    let allowance = Rc::new(Cell::new(HEADERS_MAX));
    let metered = Metered { inner: decoder(stream).map_err(LayerError::Decode)?, allowance: allowance.clone() };
    let mut archive = tar::Archive::new(metered);
    let mut unpacker = Unpacker::new(root, budget)?;
    for (count, entry) in archive.entries().map_err(LayerError::Decode)?.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(LayerError::TooMany);
        }
        let mut entry = entry.map_err(LayerError::Decode)?;
        allowance.set(u64::MAX); // content goes to files, which the budget counts
        unpacker.entry(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(LayerError::Decode)?;
        allowance.set(HEADERS_MAX);
    }
    Ok(())
}

/// Refuses to read on when the allowance is used up.
struct Metered<R> {
    inner: R,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = usize::try_from(self.allowance.get()).unwrap_or(usize::MAX).min(buffer.len());
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!("the headers of an entry take more than {HEADERS_MAX} bytes")));
        }
        let count = self.inner.read(buffer.get_mut(..allowed).unwrap_or_default())?;
        self.allowance.set(self.allowance.get() - count as u64);
        Ok(count)
    }
}

struct Unpacker<'a, B> {
    tree: Tree,
    budget: &'a mut B,
    left: u64,
    until_asked: u64,
    /// Hashes of the paths this layer brought: its whiteouts are about the layers below only.
    own: HashSet<u64>,
    hasher: RandomState,
    /// Bytes of zeros that may still come.
    holes: u64,
}

const ASK_EVERY: u64 = 4 << 20;

impl<'a, B: Budget> Unpacker<'a, B> {
    fn new(root: &Path, budget: &'a mut B) -> Result<Self, LayerError> {
        let tree = Tree::open(root).map_err(|e| failed(root, e))?;
        let left = budget.free();
        Ok(Self { tree, budget, left, until_asked: ASK_EVERY, own: HashSet::new(), hasher: RandomState::new(), holes: HOLES_MAX })
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), LayerError> {
        let path = inside(&entry.path().map_err(LayerError::Decode)?)?;
        let Some(name) = path.file_name() else { return self.root(entry) };
        if let Some(hidden) = name.as_encoded_bytes().strip_prefix(b".wh.") {
            return self.whiteout(&path, hidden);
        }
        let kind = entry.header().entry_type();
        let attributes = attributes(entry).map_err(LayerError::Decode)?;
        if attributes.pax_sparse {
            return Err(LayerError::PaxSparse(path));
        }
        let wrong = |source| failed(&path, source);
        match kind {
            tar::EntryType::Directory => self.tree.directory(&path, &attributes).map_err(wrong)?,
            tar::EntryType::Symlink => {
                let target = target(entry)?;
                self.tree.symlink(&path, &target, &attributes).map_err(wrong)?;
            }
            tar::EntryType::Link => {
                let target = inside(&target(entry)?)?;
                self.tree.hard_link(&path, &target).map_err(wrong)?;
            }
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                let device = (entry.header().device_major().ok().flatten(), entry.header().device_minor().ok().flatten());
                self.tree.node(&path, kind, device, &attributes).map_err(wrong)?;
            }
            kind if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => self.file(&path, entry, &attributes)?,
            _ => return Ok(()), // global headers and vendors' extensions
        }
        // Archives may leave parents out. They still belong to this layer.
        for owned in path.ancestors() {
            if !self.own.insert(self.hasher.hash_one(owned)) {
                break;
            }
        }
        Ok(())
    }

    fn owns(&self, path: &Path) -> bool {
        self.own.contains(&self.hasher.hash_one(path))
    }

    fn root(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), LayerError> {
        let attributes = attributes(entry).map_err(LayerError::Decode)?;
        if entry.header().entry_type().is_dir() {
            self.tree.adorn_root(&attributes).map_err(|e| failed(Path::new("/"), e))?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, entry: &mut tar::Entry<'_, impl Read>, attributes: &Attributes) -> Result<(), LayerError> {
        let wrong = |source| failed(path, source);
        let file = self.tree.create(path).map_err(wrong)?;
        self.copy(entry, &file, path)?;
        Tree::adorn(&file, attributes).map_err(wrong)
    }

    fn copy(&mut self, entry: &mut impl Read, file: &std::fs::File, path: &Path) -> Result<(), LayerError> {
        let wrong = |source| failed(path, source);
        let mut buffer = [0; 32 << 10];
        let mut size = 0u64;
        loop {
            let bytes = fill(entry, &mut buffer).map_err(LayerError::Decode)?;
            if bytes.is_empty() {
                return if file.metadata().map_err(wrong)?.len() < size { file.set_len(size).map_err(wrong) } else { Ok(()) };
            }
            let count = bytes.len() as u64;
            if bytes.iter().all(|byte| *byte == 0) {
                self.holes = self.holes.checked_sub(count).ok_or(LayerError::Hollow)?; // a hole costs no memory
            } else {
                self.spend(count)?;
                file.write_all_at(bytes, size).map_err(wrong)?;
            }
            size += count;
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), LayerError> {
        if self.until_asked < bytes {
            self.left = self.budget.free();
            self.until_asked = ASK_EVERY;
        }
        self.until_asked = self.until_asked.saturating_sub(bytes);
        self.left = self.left.checked_sub(bytes).ok_or(LayerError::NoSpace(NoSpace { needed: bytes, free: self.left }))?;
        Ok(())
    }

    fn whiteout(&mut self, path: &Path, hidden: &[u8]) -> Result<(), LayerError> {
        use std::os::unix::ffi::OsStrExt;
        let directory = path.parent().unwrap_or(Path::new(""));
        let wrong = |source| failed(path, source);
        if hidden == b".wh..opq" {
            return self.below(directory).map_err(wrong);
        }
        let victim = directory.join(std::ffi::OsStr::from_bytes(hidden));
        // `.wh..wh.plnk` and similar names are bookkeeping of aufs.
        if hidden.is_empty() || hidden == b"." || hidden == b".." || hidden.starts_with(b".wh.") {
            return Ok(());
        }
        // A layer may hide a path and bring it again, in either order. What the layers below have there goes.
        let hide = match self.owns(&victim) {
            false => self.tree.remove(&victim),
            true if self.tree.is_directory(&victim) => self.below(&victim),
            true => Ok(()),
        };
        hide.map_err(wrong)
    }

    /// Removes what the layers below put into a directory.
    fn below(&mut self, directory: &Path) -> io::Result<()> {
        let (own, hasher) = (&self.own, &self.hasher);
        self.tree.clear(directory, &|path| own.contains(&hasher.hash_one(path)))
    }
}

/// Fills the buffer; only the end of the stream makes it less.
fn fill<'b>(from: &mut impl Read, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

fn failed(path: &Path, source: io::Error) -> LayerError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LayerError::NoSpace(NoSpace { needed: 1, free: 0 }),
        _ => LayerError::File { path: path.to_owned(), source },
    }
}

/// The path below the root. A leading `./` or `/` does not count; `..` is refused.
fn inside(path: &Path) -> Result<PathBuf, LayerError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(LayerError::Escapes(path.to_owned())),
        }
    }
    if clean.as_os_str().len() > PATH_MAX { Err(LayerError::Escapes(clean)) } else { Ok(clean) }
}

fn target(entry: &tar::Entry<'_, impl Read>) -> Result<PathBuf, LayerError> {
    let link = entry.link_name().map_err(LayerError::Decode)?;
    link.map(|l| l.into_owned()).ok_or_else(|| LayerError::Decode(io::Error::other("a link without a target")))
}

fn attributes(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Attributes> {
    let header = entry.header();
    // Builders leave fields empty that are zero; the header's checksum has already excluded damage.
    let id = |value: io::Result<u64>| u32::try_from(value.unwrap_or(0)).map_err(io::Error::other);
    let mut attributes = Attributes {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mtime: header.mtime().unwrap_or(0),
        xattrs: Vec::new(),
        pax_sparse: false,
    };
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions.flatten() {
            let Ok(key) = extension.key() else { continue };
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                attributes.xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
            } else if key == "mtime" {
                let seconds = extension.value().ok().and_then(|v| v.split('.').next()).and_then(|v| v.parse().ok());
                attributes.mtime = seconds.unwrap_or(attributes.mtime);
            } else if key.starts_with("GNU.sparse.") {
                attributes.pax_sparse = true;
            }
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests;
