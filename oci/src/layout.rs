//! The `index.json` of an OCI image layout: which manifest a name means. Pure.

use serde::Deserialize;

use crate::digest::Digest;
use crate::reference::{Reference, Version};

#[derive(Debug, Deserialize)]
pub struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    digest: Digest,
    #[serde(default)]
    annotations: Names,
}

#[derive(Debug, Default, Deserialize)]
struct Names {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    reference: Option<String>,
    /// What Docker and containerd write beside it; there the first may be a tag alone.
    #[serde(rename = "io.containerd.image.name")]
    full: Option<String>,
}

impl Index {
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// By name, or by what a digest says anyway.
    pub fn digest_of(&self, image: &Reference) -> Option<&Digest> {
        let is_it = |entry: &&Entry| match &image.version {
            Version::Digest(digest) => entry.digest == *digest,
            Version::Tag(_) => {
                let mut names = [&entry.annotations.full, &entry.annotations.reference].into_iter().flatten();
                names.any(|name| name.parse::<Reference>().is_ok_and(|name| name == *image))
            }
        };
        self.manifests.iter().find(is_it).map(|entry| &entry.digest)
    }
}
