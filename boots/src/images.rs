//! The image layouts below a folder, as a registry serves them. [`call`] reads what a path asks for, [`catalogue`] maps
//! names to layouts, [`scan`] finds them, and [`verified`] checks each blob once.

pub mod call;
mod catalogue;
mod scan;
mod verified;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use oci::Digest;
use oci::layout::blob_path;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::beneath::{self, OpenError};
use crate::quota::Seldom;
pub use catalogue::{Catalogue, Repository};
use scan::{Indexes, Scan, scan};
use verified::{Identity, Verified};

/// For so long a request takes the layouts that an earlier one has found. It bounds the work that clients cause.
const FRESH: Duration = Duration::from_millis(100);
const SAME_LINE_EVERY: Duration = Duration::from_secs(60);
/// The largest manifest, as in other registries.
const MANIFEST_MAX: u64 = 4 << 20;

/// A manifest up to this size is read at once, if the page cache has it.
const SMALL: usize = 64 << 10;

/// Why no content is served.
#[derive(Debug)]
pub enum Unserved {
    /// No layout of the repository has it.
    Missing,
    /// The file is damaged or cannot be read. The text is for the log, and names the file.
    Unusable(String),
}

pub struct Images {
    folder: PathBuf,
    /// Locked by the request that looks for layouts.
    found: Mutex<Found>,
    /// What it found last, and when. Thousands of requests read it at once, so they do not queue for the lock.
    latest: watch::Sender<(Option<Instant>, Arc<Catalogue>)>,
    verified: Verified,
    seldom: std::sync::Mutex<Seldom<String>>,
}

#[derive(Default)]
struct Found {
    indexes: Indexes,
    /// What the log already says.
    problems: Vec<String>,
}

impl Images {
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let seldom = std::sync::Mutex::new(Seldom::new(SAME_LINE_EVERY));
        Self { folder, found: Mutex::default(), latest: watch::Sender::default(), verified: Verified::default(), seldom }
    }

    /// The layouts of now. New ones appear without a restart.
    pub async fn catalogue(&self) -> Arc<Catalogue> {
        let mut latest = self.latest.subscribe();
        loop {
            let (at, catalogue) = latest.borrow_and_update().clone();
            if at.is_some_and(|at| at.elapsed() < FRESH) {
                return catalogue;
            }
            let Ok(mut found) = self.found.try_lock() else {
                // Another request looks. What it finds is new enough, however late this one comes to see it.
                if let Ok(Ok(())) = timeout(FRESH, latest.changed()).await {
                    return Arc::clone(&latest.borrow().1);
                }
                continue;
            };
            let (folder, known) = (self.folder.clone(), std::mem::take(&mut found.indexes));
            match tokio::task::spawn_blocking(move || scan(&folder, &known)).await {
                Ok(Scan { catalogue, indexes, problems }) => {
                    for problem in problems.iter().filter(|problem| !found.problems.contains(problem)) {
                        log::warn!("images: {problem}");
                    }
                    let catalogue = Arc::new(catalogue);
                    *found = Found { indexes, problems };
                    self.latest.send_replace((Some(Instant::now()), Arc::clone(&catalogue)));
                    return catalogue;
                }
                Err(error) => {
                    log::error!("images: cannot look for image layouts: {}", Chain(&error));
                    return catalogue;
                }
            }
        }
    }

    /// A manifest of the repository, after a check of its digest.
    pub async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Vec<u8>, Unserved> {
        let file = self.blob(repository, digest).await?;
        let read = match small_cached(&file) {
            Some(bytes) => Ok(bytes),
            None => {
                let read = tokio::task::spawn_blocking(move || read_small(file)).await;
                read.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => Unserved::Missing, // a layer, for example
            _ => self.noted(unreadable(&digest.to_string(), &error)),
        })
    }

    /// An open blob of the repository, whose content has this digest.
    pub async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<File, Unserved> {
        let (folder, layouts, wanted) = (self.folder.clone(), repository.layouts(), digest.clone());
        let opened = match open_cached(&folder, &layouts, digest) {
            Some(opened) => Ok(opened),
            None => {
                let opened = tokio::task::spawn_blocking(move || open(&folder, &layouts, &wanted)).await;
                opened.unwrap_or_else(|error| Err(unreadable("a blob", &io::Error::other(error))))
            }
        };
        let checked = match opened {
            Ok((file, path, identity)) => self.verified.check(digest, file, identity, path).await,
            Err(unserved) => Err(unserved),
        };
        checked.map_err(|unserved| self.noted(unserved))
    }

    /// Logs what an operator has to mend, now and then.
    fn noted(&self, unserved: Unserved) -> Unserved {
        if let Unserved::Unusable(text) = &unserved {
            let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
            if seldom.allows(text.clone(), Instant::now()) {
                log::error!("images: {text}");
            }
        }
        unserved
    }
}

/// `open`, if the first layout has the blob and the kernel knows its path without a look at the disk.
fn open_cached(folder: &Path, layouts: &[Arc<str>], digest: &Digest) -> Option<(File, String, Identity)> {
    let path = join(layouts.first()?, &blob_path(digest));
    let file = beneath::open_cached(folder, &path)?.ok()?;
    let identity = Identity::of(&file.metadata().ok()?);
    Some((file, folder.join(&path).display().to_string(), identity))
}

/// A small document that is in the page cache.
fn small_cached(file: &File) -> Option<Vec<u8>> {
    let length = usize::try_from(file.metadata().ok()?.len()).ok().filter(|length| *length <= SMALL)?;
    let mut bytes = vec![0; length];
    beneath::read_cached(file, &mut bytes, 0).ok()?.then_some(bytes)
}

/// Opens a blob in the first of these layouts that has it.
fn open(folder: &Path, layouts: &[Arc<str>], digest: &Digest) -> Result<(File, String, Identity), Unserved> {
    let mut problem = Unserved::Missing;
    for layout in layouts {
        let path = join(layout, &blob_path(digest));
        match beneath::open(folder, &path) {
            Ok(file) => {
                let path = folder.join(&path).display().to_string();
                let identity = Identity::of(&file.metadata().map_err(|error| unreadable(&path, &error))?);
                return Ok((file, path, identity));
            }
            Err(OpenError::Missing(_)) => {}
            Err(error) => problem = Unserved::Unusable(Chain(&error).to_string()),
        }
    }
    Err(problem)
}

/// A path in a layout, which may be the served folder itself.
fn join(layout: &str, path: &str) -> String {
    if layout.is_empty() { path.to_owned() } else { format!("{layout}/{path}") }
}

fn unreadable(path: &str, error: &io::Error) -> Unserved {
    Unserved::Unusable(format!("cannot read {path}: {}", Chain(error)))
}

/// Reads a document. Larger files are not manifests.
fn read_small(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MANIFEST_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_request_has_what_another_one_has_found_or_finds_and_takes_no_turn() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::new(folder.path().to_owned());
        images.catalogue().await;
        let _another_one_looks = images.found.lock().await;
        images.latest.send_modify(|latest| latest.0 = Some(Instant::now() + Duration::from_secs(600))); // fresh on a busy host, too
        assert!(images.catalogue().now_or_never().is_some());
        images.latest.send_modify(|latest| latest.0 = None);
        let mut waiting = pin!(images.catalogue());
        assert!(waiting.as_mut().now_or_never().is_none());
        let found = Arc::new(Catalogue::default());
        images.latest.send_replace((Some(Instant::now()), Arc::clone(&found)));
        assert!(Arc::ptr_eq(&waiting.await, &found));
    }
}
