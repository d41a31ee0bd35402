//! The documents of an image, from any source: which manifest to use, and what its configuration says.

use std::time::Instant;

use super::time::{DOCUMENTS, in_time};
use super::{Origin, PullError, Puller, Resolved, platform};
use crate::digest::Digest;
use crate::manifest::{self, BadDocument, Descriptor, ImageConfig, Kind, Processor};
use crate::reference::{Reference, Version};
use crate::registry::RequestError;
use crate::registry::Retry;

/// An index may name another index. A circle is impossible, but a chain is not.
const INDEX_DEPTH: usize = 3;

impl Puller {
    /// `follow`, within the time limit for documents.
    pub(super) async fn resolve(&self, image: &Reference, from: &Origin) -> Result<Resolved, PullError> {
        in_time(image, DOCUMENTS, Box::pin(self.follow(image, from))).await
    }

    /// Finds the manifest for this machine, through an index if there is one.
    async fn follow(&self, image: &Reference, from: &Origin) -> Result<Resolved, PullError> {
        let pinned = match &image.version {
            Version::Digest(digest) => Some(digest.clone()),
            Version::Tag(_) => None,
        };
        let (mut digest, mut kind) = self.manifest(image, &image.manifest(), pinned, from).await?;
        let (named, processor) = (digest.clone(), Processor::this());
        for _ in 0..INDEX_DEPTH {
            let Kind::Index(entries) = &kind else { break };
            let nothing = || PullError::NoPlatform { image: image.to_string(), architecture: processor.architecture };
            let chosen = manifest::for_machine(entries, &processor).ok_or_else(nothing)?.digest;
            (digest, kind) = self.manifest(image, &chosen.to_string(), Some(chosen.clone()), from).await?;
        }
        match kind {
            Kind::Image { config, layers } => Ok(Resolved { named, digest, config, layers }),
            Kind::Index(_) => {
                Err(PullError::Document { image: image.to_string(), what: "manifest", source: BadDocument::Neither })
            }
        }
    }

    pub(super) async fn manifest(
        &self,
        image: &Reference,
        name: &str,
        expected: Option<Digest>,
        from: &Origin,
    ) -> Result<(Digest, Kind), PullError> {
        let (bytes, named) = self.document(image, &format!("manifests/{name}"), manifest::ACCEPT, from).await?;
        let expected = expected.or_else(|| named?.parse().ok());
        let actual = expected.as_ref().map_or_else(|| Digest::of(&bytes), |expected| expected.like(&bytes));
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            let expected = expected.to_string();
            return Err(PullError::DigestMismatch { image: image.to_string(), what: "the manifest", expected, actual });
        }
        let wrong = |source| PullError::Document { image: image.to_string(), what: "manifest", source };
        Ok((actual, manifest::parse(&bytes).map_err(wrong)?))
    }

    pub(super) async fn document(
        &self,
        image: &Reference,
        path: &str,
        accept: &str,
        from: &Origin,
    ) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let patience = match from {
            Origin::Registry(patience) => patience,
            Origin::Layout(layout) => return Ok((layout.document(image, path)?, None)),
        };
        let mut retry = Retry::new(patience);
        loop {
            let error = match self.client.document(image, path, accept).await {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            let Some(pause) = retry.after(&error, Instant::now()) else { return Err(error) };
            log::warn!("{}; trying again in {} ms", machine::Chain(&error), pause.as_millis());
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) async fn config(&self, image: &Reference, config: &Descriptor, from: &Origin) -> Result<ImageConfig, PullError> {
        let (bytes, _) = self.document(image, &format!("blobs/{}", config.digest), "*/*", from).await?;
        let actual = config.digest.like(&bytes);
        if actual != config.digest {
            let expected = config.digest.to_string();
            return Err(PullError::DigestMismatch { image: image.to_string(), what: "the configuration", expected, actual });
        }
        let processor = Processor::this();
        if let Some(platform) = platform::foreign(&bytes, &processor) {
            let architecture = processor.architecture;
            return Err(PullError::OtherPlatform { image: image.to_string(), platform, architecture });
        }
        let wrong = |source| PullError::Document { image: image.to_string(), what: "configuration", source };
        ImageConfig::parse(&bytes).map_err(wrong)
    }
}
