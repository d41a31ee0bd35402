//! OCI image layouts: the paths of their files, and the manifest for a name in `index.json`. Reading is pure.

#[cfg(feature = "build")]
pub mod write;

use serde::Deserialize;

use crate::digest::Digest;
use crate::reference::{Reference, Version};

pub const INDEX: &str = "index.json";
/// The file that marks a folder as a layout, with its content.
pub const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
const BLOBS: &str = "blobs";
/// The annotation with the name of an image.
pub const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The annotation that Docker and containerd add. With it, [`REFERENCE`] may be only a tag.
pub const FULL_NAME: &str = "io.containerd.image.name";

/// The path of a blob in a layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS}/{}/{}", digest.algorithm(), digest.hex())
}

#[derive(Debug, Deserialize)]
pub struct Index {
    #[serde(default)]
    pub manifests: Vec<IndexEntry>,
}

#[derive(Debug, Deserialize)]
pub struct IndexEntry {
    pub digest: Digest,
    #[serde(default)]
    annotations: Names,
}

#[derive(Debug, Default, Deserialize)]
struct Names {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    reference: Option<String>,
    #[serde(rename = "io.containerd.image.name")]
    full: Option<String>,
}

impl IndexEntry {
    /// The names, the full one before the short one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.annotations.full, &self.annotations.reference].into_iter().filter_map(|name| name.as_deref())
    }
}

impl Index {
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Finds an image by its name, or by the digest in the reference.
    pub fn digest_of(&self, image: &Reference) -> Option<&Digest> {
        let is_it = |entry: &&IndexEntry| match &image.version {
            Version::Digest(digest) => entry.digest == *digest,
            Version::Tag(_) => entry.names().any(|name| name.parse::<Reference>().is_ok_and(|name| name == *image)),
        };
        self.manifests.iter().find(is_it).map(|entry| &entry.digest)
    }
}
