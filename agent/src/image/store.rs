//! Unpacked images, one directory per manifest digest, kept for the next action that names the same image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::manifest::ImageConfig;

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
}

const PARTIAL: &str = ".partial";

impl Store {
    /// Opens the folder and removes what an interrupted pull left in it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        doing("create", root, fs::create_dir_all(root))?;
        for path in store.entries()? {
            if is_partial(&path) {
                doing("remove", &path, fs::remove_dir_all(&path))?;
            }
        }
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn get(&self, digest: &Digest) -> Option<Image> {
        let directory = self.root.join(digest.hex());
        let config = fs::read(directory.join("config.json")).ok()?;
        let config = serde_json::from_slice(&config).ok()?;
        Some(Image { rootfs: directory.join("rootfs"), config })
    }

    /// A place to unpack into; it vanishes unless it is committed.
    pub fn begin(&self, digest: &Digest) -> Result<Partial, StoreError> {
        let directory = self.root.join(format!("{}{PARTIAL}", digest.hex()));
        if directory.exists() {
            doing("remove", &directory, fs::remove_dir_all(&directory))?;
        }
        let partial = Partial { directory, target: self.root.join(digest.hex()) };
        doing("create", &partial.directory, fs::create_dir_all(partial.rootfs()))?;
        Ok(partial)
    }

    /// Frees the memory of every image except `keep`; how many went.
    pub fn evict_all_but(&self, keep: &Digest) -> Result<usize, StoreError> {
        let mut gone = 0;
        for path in self.entries()? {
            if path.file_name().is_some_and(|n| n != keep.hex()) {
                let path = condemn(path)?;
                doing("remove", &path, fs::remove_dir_all(&path))?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, StoreError> {
        let read = doing("read", &self.root, fs::read_dir(&self.root))?;
        Ok(read.flatten().map(|entry| entry.path()).collect())
    }
}

fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().ends_with(PARTIAL)
}

/// An agent that is killed while it removes an image must not find the rest of it and take that for the whole.
fn condemn(path: PathBuf) -> Result<PathBuf, StoreError> {
    if is_partial(&path) {
        return Ok(path);
    }
    let mut name = path.clone().into_os_string();
    name.push(PARTIAL);
    let condemned = PathBuf::from(name);
    if condemned.exists() {
        doing("remove", &condemned, fs::remove_dir_all(&condemned))?;
    }
    doing("rename", &path, fs::rename(&path, &condemned))?;
    Ok(condemned)
}

pub struct Partial {
    directory: PathBuf,
    target: PathBuf,
}

impl Partial {
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub fn commit(self, config: ImageConfig) -> Result<Image, StoreError> {
        let text = serde_json::to_vec(&config).map_err(io::Error::other);
        let path = self.directory.join("config.json");
        doing("write", &path, text.and_then(|text| fs::write(&path, text)))?;
        doing("rename", &self.directory, fs::rename(&self.directory, &self.target))?;
        Ok(Image { rootfs: self.target.join("rootfs"), config })
    }
}

impl Drop for Partial {
    /// After a commit there is nothing under this name.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {:?}: {error}; its memory stays in use until the agent restarts", self.directory);
        }
    }
}

fn doing<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_image_that_is_half_removed_is_no_image() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let digest = Digest::of(b"image");
        store.begin(&digest).unwrap().commit(ImageConfig::default()).unwrap();
        assert!(store.get(&digest).is_some());
        let condemned = condemn(root.path().join(digest.hex())).unwrap(); // killed here
        assert!(condemned.join("config.json").exists() && store.get(&digest).is_none());
        Store::open(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_image_but_one_can_be_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let digests = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        digests.iter().for_each(|digest| drop(store.begin(digest).unwrap().commit(ImageConfig::default()).unwrap()));
        assert_eq!(store.evict_all_but(&digests[1]).unwrap(), 2);
        assert_eq!(digests.each_ref().map(|digest| store.get(digest).is_some()), [false, true, false]);
    }
}
