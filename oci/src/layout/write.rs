//! Writes an OCI image layout.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndexBuilder, MediaType};

use super::{INDEX, MARKER, REFERENCE, blob_path};
use crate::build::{self, BuildError};
use crate::{Digest, manifest};

/// An entry of the index.
pub struct NamedDescriptor(Descriptor);

impl NamedDescriptor {
    /// The media type comes from the manifest.
    ///
    /// # Errors
    /// Not for a valid digest.
    pub fn new(name: &str, manifest: &[u8]) -> Result<Self, BuildError> {
        let kind = manifest::media_type(manifest).map_or(MediaType::ImageManifest, |kind| MediaType::from(kind.as_str()));
        let mut entry = build::descriptor(kind, &Digest::of(manifest), manifest.len())?;
        entry.set_annotations(Some(HashMap::from([(REFERENCE.to_owned(), name.to_owned())])));
        Ok(Self(entry))
    }
}

/// The content of `index.json`.
///
/// # Errors
/// Not for valid entries.
pub fn index(entries: Vec<NamedDescriptor>) -> Result<String, BuildError> {
    let manifests: Vec<_> = entries.into_iter().map(|entry| entry.0).collect();
    let index = ImageIndexBuilder::default().schema_version(2u32).media_type(MediaType::ImageIndex).manifests(manifests);
    index.build()?.to_string()
}

/// A layout that is being written. Without [`Folder::finish`] it has no index, so programs do not take it for a complete
/// one.
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// If the file system fails.
    pub fn create(path: &Path) -> Result<Self, BuildError> {
        fs::create_dir_all(path.join(super::BLOBS).join("sha256"))?;
        Ok(Self(path.to_owned()))
    }

    /// The path of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join(blob_path(digest))
    }

    /// Writes a blob under its digest.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn put(&self, bytes: &[u8]) -> Result<(), BuildError> {
        Ok(fs::write(self.blob(&Digest::of(bytes)), bytes)?)
    }

    /// Writes the index, replacing an earlier one.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn finish(self, entries: Vec<NamedDescriptor>) -> Result<(), BuildError> {
        fs::write(self.0.join(MARKER.0), MARKER.1)?;
        Ok(fs::write(self.0.join(INDEX), index(entries)?)?)
    }
}
