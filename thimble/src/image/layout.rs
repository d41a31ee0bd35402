//! The images as an OCI image layout: a folder that skopeo and other tools read.

use super::action::{Annotations, Blob, Descriptor, Images, MANIFEST};
use anyhow::Context;
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: Vec<Descriptor<'a>>,
}

pub fn write(images: &Images, tag: &str, folder: &Path) -> anyhow::Result<()> {
    let written = write_files(images, tag, folder);
    written.with_context(|| format!("cannot write the image layout {}", folder.display()))
}

fn write_files(images: &Images, tag: &str, folder: &Path) -> anyhow::Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |blob: &Blob| {
        let name = blob.digest.strip_prefix("sha256:").unwrap_or(&blob.digest);
        fs::write(blobs.join(name), &blob.bytes)
    };
    put(&images.layer)?;
    let mut manifests = Vec::new();
    for image in &images.images {
        put(&image.config)?;
        put(&image.manifest)?;
        let annotations = Some(Annotations { reference: format!("{}:{tag}", image.name) });
        manifests.push(Descriptor { annotations, ..image.manifest.descriptor(MANIFEST) });
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    fs::write(folder.join("index.json"), serde_json::to_vec(&Index { schema_version: 2, media_type, manifests })?)?;
    Ok(())
}
