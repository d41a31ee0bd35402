//! Saves an image as a layout, for a ramdisk that includes it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::fetch;
use super::{Origin, PullError, Puller};
use crate::build::BuildError;
use crate::digest::Digest;
use crate::layout::write::{Folder, NamedDescriptor};
use crate::manifest::{self, Descriptor};
use crate::reference::Reference;

#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("cannot write the image layout {folder}")]
    Write {
        folder: PathBuf,
        #[source]
        source: BuildError,
    },
}

impl Puller {
    /// Saves the image's variant for this machine under the requested name.
    ///
    /// # Errors
    /// If a part is missing or does not match its digest, or the folder cannot be written.
    pub async fn save(&self, text: &str, folder: &Path) -> Result<(), SaveError> {
        let image: Reference = text.parse().map_err(PullError::from)?;
        let from = Origin::Registry(self.patience.clone());
        let resolved = self.resolve(&image, &from).await?;
        let manifest = self.part(&image, ("manifests", "the manifest"), &resolved.digest, &from).await?;
        let config = self.part(&image, ("blobs", "the configuration"), &resolved.config.digest, &from).await?;
        let failed = |source| SaveError::Write { folder: folder.to_owned(), source };
        let layout = Folder::create(folder).map_err(failed)?;
        layout.put(&manifest).and_then(|()| layout.put(&config)).map_err(failed)?;
        for layer in &resolved.layers {
            self.save_layer(&image, layer, &layout.blob(&layer.digest)).await?.map_err(|error| failed(error.into()))?;
        }
        let entry = NamedDescriptor::new(&image.to_string(), &manifest).map_err(failed)?;
        layout.finish(vec![entry]).map_err(failed)
    }

    async fn part(
        &self,
        image: &Reference,
        (kind, what): (&str, &'static str),
        digest: &Digest,
        from: &Origin,
    ) -> Result<Vec<u8>, PullError> {
        let (bytes, _) = self.document(image, &format!("{kind}/{digest}"), manifest::ACCEPT, from).await?;
        same(image, what, digest, digest.like(&bytes)).map(|()| bytes)
    }

    async fn save_layer(&self, image: &Reference, layer: &Descriptor, path: &Path) -> Result<std::io::Result<()>, PullError> {
        let (sender, mut pieces) = mpsc::channel(fetch::PIECES);
        let into = fetch::Into::Memory(sender);
        let feeding = async {
            let fed = fetch::feed(&self.client, &self.patience, image, layer, &into).await;
            drop(into);
            fed
        };
        let writing = async {
            fs::create_dir_all(path.parent().unwrap_or(path))?; // each algorithm has a folder
            let (mut file, mut hash) = (fs::File::create(path)?, layer.digest.hasher());
            while let Some(piece) = pieces.recv().await {
                hash.update(&piece);
                file.write_all(&piece)?;
            }
            Ok(hash.finish())
        };
        let (fed, written) = tokio::join!(feeding, writing);
        fed?;
        match written {
            Ok(actual) => same(image, "a layer", &layer.digest, actual).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

fn same(image: &Reference, what: &'static str, expected: &Digest, actual: Digest) -> Result<(), PullError> {
    if *expected == actual {
        return Ok(());
    }
    Err(PullError::DigestMismatch { image: image.to_string(), what, expected: expected.to_string(), actual })
}

#[cfg(test)]
mod tests {
    use crate::fake_registry::{GZIP, Registry, TAR, Trouble, digest, gzip, tar};
    use crate::pull::embedded::Embedded;
    use crate::pull::tests::{CONFIG, plenty, puller};
    use crate::registry::Settings;
    use cmdline::EmbeddedImages;

    #[tokio::test]
    async fn an_agent_without_a_registry_can_use_a_saved_image() {
        let (registry, folder, root) = (Registry::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let layers = [(GZIP, gzip(&tar(&[("a", "1")]))), (TAR, tar(&[("b", "2")]))];
        let image = registry.image("tool", &layers, CONFIG);
        puller(&root.path().join("1"), &Settings::default(), plenty).save(&image, folder.path()).await.unwrap();
        drop(registry);
        let embedded = Embedded { when: EmbeddedImages::First, folder: folder.path().into(), disk: None };
        let pulled = puller(&root.path().join("2"), &Settings::default(), plenty).with(embedded).pull(&image).await.unwrap();
        assert!(pulled.rootfs.join("a").exists() && pulled.rootfs.join("b").exists());
    }

    #[tokio::test]
    async fn a_part_that_does_not_match_its_digest_is_refused_and_no_index_is_written() {
        let layer = gzip(&tar(&[("a", "1")]));
        for part in [digest(&layer), digest(CONFIG.as_bytes())] {
            let (registry, folder, root) = (Registry::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let image = registry.image("tool", &[(GZIP, layer.clone())], CONFIG);
            registry.trouble(&part, &[Trouble::Corrupt]);
            let error = puller(root.path(), &Settings::default(), plenty).save(&image, folder.path()).await.unwrap_err();
            assert!(machine::Chain(&error).to_string().contains("does not match its digest"), "{error}");
            assert!(!folder.path().join("index.json").exists());
        }
    }
}
