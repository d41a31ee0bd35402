//! Unpacked images, one directory per manifest digest. They are kept for the next action with the same image.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::manifest::ImageConfig;
use crate::remove::remove_all;

#[derive(Debug, Clone)]
pub struct Image {
    pub rootfs: PathBuf,
    pub config: ImageConfig,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path:?}")]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StoreError {
    pub fn is_full(&self) -> bool {
        self.source.kind() == io::ErrorKind::StorageFull
    }
}

pub struct Store {
    root: PathBuf,
    held: Arc<Mutex<Vec<PathBuf>>>,
}

/// An image in use: it makes no room for others until this is dropped.
#[derive(Debug)]
pub struct Held {
    folder: PathBuf,
    all: Arc<Mutex<Vec<PathBuf>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = all.iter().position(|folder| *folder == self.folder) {
            all.swap_remove(index);
        }
    }
}

const PARTIAL: &str = ".partial";

/// An unpacked image and the memory it takes.
pub struct Kept {
    path: PathBuf,
    /// When it was last used, or `None` if it is not complete. Incomplete ones are removed first.
    used: Option<SystemTime>,
    pub bytes: u64,
}

impl Kept {
    pub fn remove(self) -> Result<(), StoreError> {
        let path = condemn(self.path)?;
        doing("remove", &path, remove_all(&path))
    }
}

/// How many bytes are freed with the folder. Each hard link counts, and holes do not.
fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below = if metadata.is_dir() { fs::read_dir(path).ok() } else { None };
    let below = below.into_iter().flatten().flatten().map(|entry| allocated(&entry.path()));
    below.fold(metadata.blocks().saturating_mul(512), u64::saturating_add)
}

impl Store {
    /// Opens the folder and removes what an interrupted pull left in it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned(), held: Arc::default() };
        doing("create", root, fs::create_dir_all(root))?;
        for path in store.entries()? {
            if is_partial(&path) {
                doing("remove", &path, remove_all(&path))?;
            }
        }
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn get(&self, digest: &Digest) -> Option<Image> {
        let directory = self.root.join(digest.hex());
        let file = directory.join("config.json");
        let config = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        // The file's time says when the image was last used.
        if let Err(error) = fs::File::options().append(true).open(&file).and_then(|f| f.set_modified(SystemTime::now())) {
            log::debug!("cannot record the use of {file:?}: {error}");
        }
        Some(Image { rootfs: directory.join("rootfs"), config })
    }

    /// A folder to unpack into. Unless it is committed, it is removed when its last owner is dropped.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn begin(&self, digest: &Digest) -> Result<Partial, StoreError> {
        // A cancelled pull may still be removing its folder.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = self.root.join(format!("{}.{}{PARTIAL}", digest.hex(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        if directory.exists() {
            doing("remove", &directory, remove_all(&directory))?;
        }
        let partial = Partial { directory, target: self.root.join(digest.hex()) };
        doing("create", &partial.directory, fs::create_dir_all(partial.rootfs()))?;
        Ok(partial)
    }

    /// A container runs from this image.
    #[must_use]
    pub fn hold(&self, image: &Image) -> Held {
        let folder = image.rootfs.parent().unwrap_or(&image.rootfs).to_owned();
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
        Held { folder, all: Arc::clone(&self.held) }
    }

    /// The images beside `keep` that are not in use, the most recently used first.
    pub fn others(&self, keep: &Digest) -> Result<Vec<Kept>, StoreError> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut others = Vec::new();
        for path in self.entries()? {
            if path.file_name().is_some_and(|n| n != keep.hex()) && !held.contains(&path) {
                let used = fs::metadata(path.join("config.json")).and_then(|m| m.modified()).ok();
                others.push(Kept { bytes: allocated(&path), path, used });
            }
        }
        others.sort_by_key(|other| std::cmp::Reverse(other.used));
        Ok(others)
    }

    /// Removes one image, which must not be in use.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = condemn(self.root.join(digest.hex()))?;
        doing("remove", &path, remove_all(&path))
    }

    /// Removes every image. One that cannot be removed is logged and stays.
    pub fn clear(&self) {
        let remove = |path: PathBuf| {
            let path = condemn(path)?;
            doing("remove", &path, remove_all(&path))
        };
        for error in self.entries().into_iter().flatten().filter_map(|path| remove(path).err()) {
            log::warn!("{}; its memory stays in use", machine::Chain(&error));
        }
    }

    fn entries(&self) -> Result<Vec<PathBuf>, StoreError> {
        let read = doing("read", &self.root, fs::read_dir(&self.root))?;
        Ok(read.flatten().map(|entry| entry.path()).collect())
    }
}

fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().ends_with(PARTIAL)
}

/// Renames it first. If the agent is killed during the removal, the rest must not look like a complete image.
fn condemn(path: PathBuf) -> Result<PathBuf, StoreError> {
    if is_partial(&path) {
        return Ok(path);
    }
    let mut name = path.clone().into_os_string();
    name.push(PARTIAL);
    let condemned = PathBuf::from(name);
    if condemned.exists() {
        doing("remove", &condemned, remove_all(&condemned))?;
    }
    doing("rename", &path, fs::rename(&path, &condemned))?;
    Ok(condemned)
}

pub struct Partial {
    directory: PathBuf,
    target: PathBuf,
}

impl Partial {
    /// The folder for temporary files of the pull.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub fn commit(&self, config: ImageConfig) -> Result<Image, StoreError> {
        let text = serde_json::to_vec(&config).map_err(io::Error::other);
        let path = self.directory.join("config.json");
        doing("write", &path, text.and_then(|text| fs::write(&path, text)))?;
        doing("rename", &self.directory, fs::rename(&self.directory, &self.target))?;
        Ok(Image { rootfs: self.target.join("rootfs"), config })
    }
}

impl Partial {
    /// Removes it at once, in a thread that may block.
    pub fn discard(mut self) {
        Self::remove(&std::mem::take(&mut self.directory));
    }

    /// After a commit this name no longer exists.
    fn remove(directory: &Path) {
        if let Err(error) = remove_all(directory) {
            log::warn!("cannot remove {directory:?}: {error}; its memory stays in use until the agent restarts");
        }
    }
}

impl Drop for Partial {
    /// Removing many files takes time, and the thread that drops this may have other work.
    fn drop(&mut self) {
        if !self.directory.exists() {
            return;
        }
        let directory = std::mem::take(&mut self.directory);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || Self::remove(&directory))),
            Err(_) => Self::remove(&directory),
        }
    }
}

fn doing<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_half_removed_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let digest = Digest::of(b"image");
        store.begin(&digest).unwrap().commit(ImageConfig::default()).unwrap();
        assert!(store.get(&digest).is_some());
        let condemned = condemn(root.path().join(digest.hex())).unwrap(); // the agent is killed here
        assert!(condemned.join("config.json").exists() && store.get(&digest).is_none());
        Store::open(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_image_in_use_makes_no_room_for_others() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let digests = [b"a", b"b"].map(|name| Digest::of(name));
        for digest in &digests {
            store.begin(digest).unwrap().commit(ImageConfig::default()).unwrap();
        }
        let others = || store.others(&Digest::of(b"new")).unwrap().len();
        let [first, twice] = [0, 0].map(|n: usize| store.hold(&store.get(&digests[n]).unwrap()));
        assert_eq!(others(), 1);
        drop(first);
        assert_eq!(others(), 1, "another container runs from it");
        drop(twice);
        assert_eq!(others(), 2);
    }

    #[test]
    fn the_longest_unused_image_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let digests = [b"a", b"b", b"c", b"d"].map(|name| Digest::of(name));
        for (age, digest) in [4, 3, 2, 1].into_iter().zip(&digests) {
            store.begin(digest).unwrap().commit(ImageConfig::default()).unwrap();
            let file = fs::File::options().append(true).open(root.path().join(digest.hex()).join("config.json")).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age * 60)).unwrap();
        }
        store.get(&digests[0]).unwrap();
        let mut others = store.others(&digests[3]).unwrap();
        let order: Vec<_> = others.iter().map(|o| o.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(order, [0, 2, 1].map(|i: usize| digests[i].hex().to_owned()));
        assert!(others.iter().all(|o| o.bytes > 0));
        others.pop().unwrap().remove().unwrap();
        assert_eq!(digests.each_ref().map(|digest| store.get(digest).is_some()), [true, false, true, true]);
    }
}
