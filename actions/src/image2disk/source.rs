//! The image's bytes as stored, from a file or by HTTP, counted and hashed.

use super::http::Download;
use super::patience::Patience;
use super::source_error::SourceError;
use crate::variables::{VariableError, unusable};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An http, https or file URL, or an absolute path.
pub fn checked(url: String) -> Result<String, VariableError> {
    let known = ["http://", "https://", "file:///", "/"].iter().any(|start| url.starts_with(start));
    if known { Ok(url) } else { Err(unusable("IMG_URL", &url, "http://, https:// or an absolute path")) }
}

/// What the writing thread sees of the reading one.
#[derive(Debug, Default)]
pub struct Tally {
    pub read: AtomicU64,
    /// 0 if unknown.
    pub total: AtomicU64,
}

enum Origin {
    Http(Box<Download>),
    File { file: File, path: PathBuf, size: u64 },
}

pub struct Source {
    origin: Origin,
    tally: Arc<Tally>,
    hash: Option<Sha256>,
}

impl Source {
    pub fn open(
        url: &str,
        tls: &Arc<ClientConfig>,
        patience: Patience,
        hash: bool,
        tally: Arc<Tally>,
    ) -> Result<Self, SourceError> {
        let origin = if url.starts_with("http") {
            Origin::Http(Box::new(Download::start(url, tls, patience)?))
        } else {
            let path = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
            let failed = |source| SourceError::File { path: path.clone(), source };
            let file = File::open(&path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Origin::File { file, size: metadata.len(), path }
        };
        let source = Self { origin, tally, hash: hash.then(Sha256::new) };
        source.tally.read.store(0, Ordering::Relaxed);
        source.tally.total.store(source.total().unwrap_or(0), Ordering::Relaxed);
        Ok(source)
    }

    pub fn total(&self) -> Option<u64> {
        match &self.origin {
            Origin::Http(download) => download.total(),
            Origin::File { size, .. } => Some(*size),
        }
    }

    /// The download's remaining patience, for a new start.
    pub fn patience(&self) -> Option<&Patience> {
        match &self.origin {
            Origin::Http(download) => Some(download.patience()),
            Origin::File { .. } => None,
        }
    }

    /// The SHA-256 of everything read, if requested.
    pub fn digest(&mut self) -> Option<String> {
        self.hash.take().map(|hash| hex::encode(hash.finalize()))
    }

    fn read_origin(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        match &mut self.origin {
            Origin::Http(download) => download.read(buffer),
            Origin::File { file, path, size } => {
                let got = file.read(buffer).map_err(|source| SourceError::File { path: path.clone(), source })?;
                let before = self.tally.read.load(Ordering::Relaxed);
                if got == 0 && before < *size && !buffer.is_empty() {
                    return Err(SourceError::FileCut { path: path.clone(), expected: *size, got: before });
                }
                Ok(got)
            }
        }
    }
}

/// The error of a read carries a `SourceError`, which passes through a decoder unchanged.
impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.read_origin(buffer).map_err(io::Error::other)?;
        self.tally.read.fetch_add(got as u64, Ordering::Relaxed);
        if let (Some(hash), Some(data)) = (&mut self.hash, buffer.get(..got)) {
            hash.update(data);
        }
        Ok(got)
    }
}
