//! The image's bytes as stored, from a file or by HTTP, counted and hashed.

use super::checksum::{Checksum, Hasher};
use super::http::{Download, Web};
use super::oci::{self, Artifact};
use super::patience::Patience;
use super::source_error::SourceError;
use crate::variables::{VariableError, unusable, unusable_because};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An http, https, oci or file URL, or an absolute path. Several web URLs, with spaces between them, are mirrors of one file.
pub fn checked(name: &'static str, text: &str) -> Result<Vec<String>, VariableError> {
    const WANTED: &str = "http://, https://, oci:// or an absolute path";
    let wanted = |wanted| Err(unusable(name, text, wanted));
    let urls: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    let is_web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    match urls.as_slice() {
        // A path may have spaces.
        _ if text.starts_with('/') || text.starts_with("file:///") => Ok(vec![text.to_owned()]),
        [] => wanted(WANTED),
        all if all.iter().all(is_web) => Ok(urls),
        [url] if url.starts_with(oci::PREFIX) => match Artifact::parse(url.trim_start_matches(oci::PREFIX)) {
            Ok(_) => Ok(urls),
            Err(error) => Err(unusable_because(name, text, &error)),
        },
        [_] => wanted(WANTED),
        _ => wanted("mirrors that begin with http:// or https://"),
    }
}

/// Whether a checked URL names a file of this machine.
pub fn is_file(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file://")
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
    File { file: File, path: PathBuf, size: u64, at: u64 },
}

pub struct Source {
    origin: Origin,
    tally: Arc<Tally>,
    hash: Option<Hasher>,
}

impl Source {
    pub fn open(
        urls: &[String],
        web: &Web,
        patience: Patience,
        checksum: Option<&Checksum>,
        tally: Arc<Tally>,
    ) -> Result<Self, SourceError> {
        let url = urls.first().ok_or(SourceError::NoUrl)?;
        let origin = if url.starts_with("http") {
            Origin::Http(Box::new(Download::start(urls, web, checksum.is_some(), patience)?))
        } else {
            let path = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
            let failed = |source| SourceError::File { path: path.clone(), source };
            let file = File::open(&path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Origin::File { file, size: metadata.len(), path, at: 0 }
        };
        let source = Self { origin, tally, hash: checksum.map(Checksum::hasher) };
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

    pub fn is_hashed(&self) -> bool {
        self.hash.is_some()
    }

    /// Goes on at this byte of the file. Not for a source that is hashed.
    pub fn seek(&mut self, to: u64) -> Result<(), SourceError> {
        match &mut self.origin {
            Origin::Http(download) => download.seek(to),
            Origin::File { file, path, at, .. } => {
                file.seek(SeekFrom::Start(to)).map_err(|source| SourceError::File { path: path.clone(), source })?;
                *at = to;
            }
        }
        Ok(())
    }

    /// The hash of everything read, if requested.
    pub fn digest(&mut self) -> Option<String> {
        self.hash.take().map(Hasher::finish)
    }

    fn read_origin(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        match &mut self.origin {
            Origin::Http(download) => download.read(buffer),
            Origin::File { file, path, size, at } => {
                let got = file.read(buffer).map_err(|source| SourceError::File { path: path.clone(), source })?;
                if got == 0 && *at < *size && !buffer.is_empty() {
                    return Err(SourceError::FileCut { path: path.clone(), expected: *size, got: *at });
                }
                *at += got as u64;
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
