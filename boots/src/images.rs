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
use tokio::sync::Mutex;

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
    found: Mutex<Found>,
    verified: Verified,
    seldom: std::sync::Mutex<Seldom<String>>,
}

#[derive(Default)]
struct Found {
    catalogue: Arc<Catalogue>,
    at: Option<Instant>,
    indexes: Indexes,
    /// What the log already says.
    problems: Vec<String>,
}

impl Images {
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let seldom = std::sync::Mutex::new(Seldom::new(SAME_LINE_EVERY));
        Self { folder, found: Mutex::default(), verified: Verified::default(), seldom }
    }

    /// The layouts of now. New ones appear without a restart.
    pub async fn catalogue(&self) -> Arc<Catalogue> {
        let mut found = self.found.lock().await; // the others wait for the same scan
        if found.at.is_some_and(|at| at.elapsed() < FRESH) {
            return Arc::clone(&found.catalogue);
        }
        let (folder, known) = (self.folder.clone(), std::mem::take(&mut found.indexes));
        match tokio::task::spawn_blocking(move || scan(&folder, &known)).await {
            Ok(Scan { catalogue, indexes, problems }) => {
                for problem in problems.iter().filter(|problem| !found.problems.contains(problem)) {
                    log::warn!("images: {problem}");
                }
                *found = Found { catalogue: Arc::new(catalogue), at: Some(Instant::now()), indexes, problems };
            }
            Err(error) => log::error!("images: cannot look for image layouts: {}", Chain(&error)),
        }
        Arc::clone(&found.catalogue)
    }

    /// A manifest of the repository, after a check of its digest.
    pub async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Vec<u8>, Unserved> {
        let file = self.blob(repository, digest).await?;
        let read =
            tokio::task::spawn_blocking(move || read_small(file)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => Unserved::Missing, // a layer, for example
            _ => self.noted(unreadable(&digest.to_string(), &error)),
        })
    }

    /// An open blob of the repository, whose content has this digest.
    pub async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<File, Unserved> {
        let (folder, layouts, wanted) = (self.folder.clone(), repository.layouts(), digest.clone());
        let opened = tokio::task::spawn_blocking(move || open(&folder, &layouts, &wanted));
        let opened = opened.await.unwrap_or_else(|error| Err(unreadable("a blob", &io::Error::other(error))));
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
