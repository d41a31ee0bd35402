//! Which files have the content that their names promise. Each version of a file is read once for it, before it is served
//! for the first time.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, PoisonError};

use oci::Digest;
use tokio::sync::Semaphore;

use super::{Unserved, unreadable};

/// How many files are read at once.
const AT_ONCE: usize = 2;
const PIECE: usize = 256 * 1024;
/// How many results are kept. A machine that pulls an image needs a handful.
const KEPT: usize = 8192;

/// What distinguishes one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub fn of(data: &Metadata) -> Self {
        Self {
            file: (data.dev(), data.ino()),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

/// The digest of the content, by the digest of the name and the version of the file.
type Results = Mutex<HashMap<(Digest, Identity), Digest>>;

pub struct Verified {
    results: Arc<Results>,
    turns: Arc<Semaphore>,
}

impl Default for Verified {
    fn default() -> Self {
        Self { results: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Verified {
    /// Returns the file if its content has the digest. The reading goes on if the caller leaves, so that it is not in vain.
    pub async fn check(&self, digest: &Digest, file: File, identity: Identity, path: String) -> Result<File, Unserved> {
        let key = (digest.clone(), identity);
        if let Some(content) = self.known(&key) {
            return verdict(digest, &content, file, &path);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|error| unreadable(&path, &io::Error::other(error)))?;
        if let Some(content) = self.known(&key) {
            return verdict(digest, &content, file, &path); // another request has read it meanwhile
        }
        let results = Arc::clone(&self.results);
        let read = tokio::task::spawn_blocking(move || {
            let content = digest_of(&file, &key.0).map_err(|error| unreadable(&path, &error))?;
            let checked = verdict(&key.0, &content, file, &path);
            keep(&results, key, content);
            drop(turn);
            checked
        });
        read.await.unwrap_or_else(|error| Err(unreadable("a blob", &io::Error::other(error))))
    }

    fn known(&self, key: &(Digest, Identity)) -> Option<Digest> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

fn verdict(wanted: &Digest, content: &Digest, file: File, path: &str) -> Result<File, Unserved> {
    if wanted == content {
        return Ok(file);
    }
    Err(Unserved::Unusable(format!("{path} is damaged and not served: its digest is {content}; put the image there again")))
}

fn keep(results: &Results, key: (Digest, Identity), content: Digest) {
    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
    if results.len() >= KEPT {
        results.clear();
    }
    results.insert(key, content);
}

/// The digest of the whole file, with the algorithm of `like`. The file's position does not move.
fn digest_of(file: &File, like: &Digest) -> io::Result<Digest> {
    let (mut hasher, mut piece, mut at) = (like.hasher(), vec![0; PIECE], 0);
    loop {
        match file.read_at(&mut piece, at) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => {
                hasher.update(piece.get(..count).unwrap_or_default());
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(verified: &Verified, digest: &Digest, path: &std::path::Path) -> bool {
        let file = File::open(path).unwrap();
        let identity = Identity::of(&file.metadata().unwrap());
        verified.check(digest, file, identity, path.display().to_string()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_each_of_its_versions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, digest, verified) = (folder.path().join("blob"), Digest::of(b"right"), Verified::default());
        std::fs::write(&path, "wrong length").unwrap();
        assert!(!check(&verified, &digest, &path).await);
        assert!(!check(&verified, &digest, &path).await);
        std::fs::write(&path, "right").unwrap();
        assert!(check(&verified, &digest, &path).await);
        assert!(check(&verified, &digest, &path).await);
        assert!(!check(&verified, &Digest::of(b"other"), &path).await, "the result belongs to one digest");
        assert_eq!(verified.results.lock().unwrap().len(), 3);
    }
}
