//! Writes an OCI image layout.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};

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
        let blobs = path.join(super::BLOBS);
        fs::create_dir_all(blobs.join("sha256"))?;
        for folder in [path, &blobs, &blobs.join("sha256")] {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        Ok(Self(path.to_owned()))
    }

    /// The path of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join(blob_path(digest))
    }

    /// Writes a blob under its digest. A reader never sees a part of it.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn put(&self, bytes: &[u8]) -> Result<(), BuildError> {
        Ok(replace(&self.blob(&Digest::of(bytes)), bytes)?)
    }

    /// Writes the index, replacing an earlier one.
    ///
    /// # Errors
    /// If the file system fails.
    pub fn finish(self, entries: Vec<NamedDescriptor>) -> Result<(), BuildError> {
        replace(&self.0.join(MARKER.0), MARKER.1.as_bytes())?;
        Ok(replace(&self.0.join(INDEX), index(entries)?.as_bytes())?)
    }

    /// Writes the index with the images of an earlier one, except for those whose names are in `entries`.
    ///
    /// # Errors
    /// If the file system fails, or the earlier index cannot be read.
    pub fn finish_more(self, entries: Vec<NamedDescriptor>) -> Result<(), BuildError> {
        let earlier = match fs::read(self.0.join(INDEX)) {
            Ok(text) => ImageIndex::from_reader(text.as_slice())?.manifests().clone(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let is_new = |entry: &Descriptor| entries.iter().any(|new| name(&new.0) == name(entry));
        let kept: Vec<_> = earlier.into_iter().filter(|entry| !is_new(entry)).map(NamedDescriptor).collect();
        self.finish(kept.into_iter().chain(entries).collect())
    }
}

fn name(entry: &Descriptor) -> Option<&String> {
    entry.annotations().as_ref()?.get(REFERENCE)
}

/// Writes a file that everyone may read, in one step for its readers.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::File::create(&beside)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
