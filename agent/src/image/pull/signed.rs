//! Whether an image is signed by somebody this machine trusts, asked before any of its layers moves.

use super::{Origin, PullError, Puller};
use crate::image::digest::Digest;
use crate::image::manifest;
use crate::image::reference::Reference;
use crate::image::request::RequestError;
use crate::image::signature::{self, Unsigned};

/// Nobody signs more often, and whoever wants to keep us busy gets no further.
const MOST_STATEMENTS: usize = 32;

impl Puller {
    /// `named` is what the reference means, `chosen` what runs of it. A signature of either is one of the image.
    pub(super) async fn demand_signature(
        &mut self,
        image: &Reference,
        (named, chosen): (&Digest, &Digest),
        from: &Origin,
    ) -> Result<(), PullError> {
        // What lies in the ramdisk beside the policy was put there by the same hands.
        let trusted = matches!(from, Origin::Layout(layout) if layout.trusted);
        if self.keys.is_empty() || trusted || self.signed.contains(chosen) {
            return Ok(());
        }
        let mut verdict = self.signature_of(image, named, from).await?;
        if named != chosen && verdict.is_err() {
            verdict = match (verdict, self.signature_of(image, chosen, from).await?) {
                (Err(of_named), Err(of_chosen)) => Err(of_named.max(of_chosen)),
                _ => Ok(()),
            };
        }
        verdict.map_err(|source| PullError::Unsigned { image: image.to_string(), source })?;
        log::info!("image {image}: signed with a key this machine trusts");
        self.signed.insert(chosen.clone());
        Ok(())
    }

    /// The outer error is one of the way to the registry, the inner one of the image.
    async fn signature_of(
        &self,
        image: &Reference,
        digest: &Digest,
        from: &Origin,
    ) -> Result<Result<(), Unsigned>, RequestError> {
        let tag = signature::tag(digest);
        let manifest = match self.document(image, &format!("manifests/{tag}"), manifest::ACCEPT, from).await {
            Ok((bytes, _)) => bytes,
            Err(error) if error.is_not_found() => return Ok(Err(Unsigned::Missing(tag))),
            Err(error) => return Err(error),
        };
        let statements = match signature::parse(&manifest) {
            Ok(signatures) => signatures.layers,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut worst = Unsigned::Missing(tag);
        for statement in statements.iter().take(MOST_STATEMENTS) {
            let payload = match self.document(image, &format!("blobs/{}", statement.digest), "*/*", from).await {
                Ok((bytes, _)) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            match statement.check(&payload, digest, &self.keys) {
                Ok(()) => return Ok(Ok(())),
                Err(why) => worst = worst.max(why),
            }
        }
        Ok(Err(worst))
    }
}
