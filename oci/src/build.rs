//! Builds images: layers, configuration and manifest, each stored under its digest.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    Arch, Descriptor, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder,
    RootFsBuilder, Sha256Digest,
};

pub use oci_spec::OciSpecError as BuildError;
pub use oci_spec::image::{ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder as ConfigurationBuilder};

use crate::Digest;

const SCHEMA_VERSION: u32 = 2;

/// Bytes under their digest, the form in which registries and layouts store them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }

    pub(crate) fn descriptor(&self, kind: MediaType) -> Result<Descriptor, BuildError> {
        descriptor(kind, &self.digest, self.bytes.len())
    }
}

pub(crate) fn descriptor(kind: MediaType, digest: &Digest, size: usize) -> Result<Descriptor, BuildError> {
    let digest: Sha256Digest = digest.hex().parse()?;
    Ok(Descriptor::new(kind, size as u64, digest))
}

/// A compressed archive of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub blob: Blob,
    /// The digest of the archive before compression.
    diff_id: Digest,
}

impl Layer {
    /// Compresses an archive. The same archive gives the same bytes. `level` is gzip's, from 1 to 9.
    pub fn gzip(tar: &[u8], level: u32) -> io::Result<Self> {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(level));
        gzip.write_all(tar)?;
        Ok(Self { blob: Blob::new(gzip.finish()?), diff_id: Digest::of(tar) })
    }
}

/// The parts that make layers an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub config: Blob,
    pub manifest: Blob,
}

impl Image {
    /// # Errors
    /// If the configuration has no architecture or operating system.
    pub fn new<'l>(layers: impl Iterator<Item = &'l Layer> + Clone, config: ConfigurationBuilder) -> Result<Self, BuildError> {
        let diff_ids: Vec<String> = layers.clone().map(|layer| layer.diff_id.to_string()).collect();
        let config: ImageConfigurationBuilder = config.rootfs(RootFsBuilder::default().diff_ids(diff_ids).build()?);
        let config = Blob::new(config.build()?.to_string()?.into_bytes());
        let layers = layers.map(|layer| layer.blob.descriptor(MediaType::ImageLayerGzip)).collect::<Result<Vec<_>, _>>()?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor(MediaType::ImageConfig)?)
            .layers(layers)
            .build()?;
        Ok(Self { config, manifest: Blob::new(manifest.to_string()?.into_bytes()) })
    }
}

/// The same image for several architectures, by the names that Go and OCI have for these, such as `arm64`.
///
/// # Errors
/// Not for valid digests.
pub fn index<'i>(images: impl IntoIterator<Item = (&'i str, &'i Image)>) -> Result<Blob, BuildError> {
    let entry = |(architecture, image): (&str, &Image)| {
        let mut entry = image.manifest.descriptor(MediaType::ImageManifest)?;
        entry.set_platform(Some(PlatformBuilder::default().os(Os::Linux).architecture(Arch::from(architecture)).build()?));
        Ok(entry)
    };
    let manifests = images.into_iter().map(entry).collect::<Result<Vec<_>, BuildError>>()?;
    let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageIndex);
    Ok(Blob::new(index.manifests(manifests).build()?.to_string()?.into_bytes()))
}
