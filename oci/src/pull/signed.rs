//! Checks whether an image is signed with a key that this machine trusts, before any of its layers is transferred.

use std::collections::HashSet;

use super::{Origin, PullError, Puller};
use crate::digest::Digest;
use crate::manifest;
use crate::reference::{Reference, Version};
use crate::registry::RequestError;
use crate::signature::{self, Unsigned};
use crate::sigstore;

/// The most statements that are read. Images do not need more, and each one costs a request.
const MOST_STATEMENTS: usize = 32;

/// Manifests with a valid signature, and the names it is valid for. Beyond `MOST`, they are not remembered.
#[derive(Default)]
pub(super) struct Signed(HashSet<(Digest, Option<String>)>);

impl Signed {
    const MOST: usize = 1000;

    /// Whether the manifest is signed for any name.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.contains(&(digest.clone(), None))
    }

    fn has_as(&self, digest: &Digest, image: &Reference) -> bool {
        match image.version {
            Version::Digest(_) => self.has(digest),
            Version::Tag(_) => self.0.contains(&(digest.clone(), Some(image.to_string()))),
        }
    }

    fn insert(&mut self, digest: &Digest, image: &Reference) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.extend([(digest.clone(), None), (digest.clone(), Some(image.to_string()))]);
    }
}

/// The verdict on an image. An error on the way to it has another type.
type Verdict = Result<(), Unsigned>;

impl Puller {
    /// `named` is the digest that the reference means, and `chosen` is the variant that runs. A signature of either one is
    /// enough.
    pub(super) async fn demand_signature(
        &mut self,
        image: &Reference,
        (named, chosen): (&Digest, &Digest),
        from: &Origin,
    ) -> Result<(), PullError> {
        // The builder of the ramdisk included both the policy and this image.
        let trusted = matches!(from, Origin::Layout(layout) if layout.is_trusted());
        if self.keys.is_empty() || trusted || self.signed.has_as(chosen, image) {
            return Ok(());
        }
        // Each answer may come slowly, and many slow answers must not delay the machine for ever.
        let within = self.client.limits().signatures();
        let slow = |_| RequestError::TooSlow { registry: image.registry.clone(), what: format!("the signatures of {image}") };
        let verdict = tokio::time::timeout(within, self.verdict(image, (named, chosen), from)).await.map_err(slow)??;
        verdict.map_err(|source| PullError::Unsigned { image: image.to_string(), source })?;
        log::info!("image {image}: signed with a key this machine trusts");
        self.signed.insert(chosen, image);
        Ok(())
    }

    async fn verdict(
        &self,
        image: &Reference,
        (named, chosen): (&Digest, &Digest),
        from: &Origin,
    ) -> Result<Verdict, RequestError> {
        let of_named = match self.signature_of(image, named, from).await? {
            Err(of_named) if named != chosen => of_named,
            verdict => return Ok(verdict),
        };
        let of_chosen = self.signature_of(image, chosen, from).await?;
        Ok(of_chosen.map_err(|of_chosen| of_named.max(of_chosen)))
    }

    /// Searches for a signature in both forms.
    async fn signature_of(&self, image: &Reference, digest: &Digest, from: &Origin) -> Result<Verdict, RequestError> {
        let Err(by_tag) = self.tagged_signature(image, digest, from).await? else { return Ok(Ok(())) };
        let attached = self.attached_signature(image, digest, from).await?;
        Ok(attached.map_err(|why| why.max(by_tag)))
    }

    async fn attached_signature(&self, image: &Reference, digest: &Digest, from: &Origin) -> Result<Verdict, RequestError> {
        let mut worst = Unsigned::Missing(signature::tag(digest));
        for referrer in self.referrers(image, digest, from).await?.iter().take(MOST_STATEMENTS) {
            let manifest = self.if_there(image, &format!("manifests/{referrer}"), from).await?;
            let Some(blob) = manifest.as_deref().and_then(sigstore::blob) else { continue };
            let Some(bundle) = self.if_there(image, &format!("blobs/{blob}"), from).await? else { continue };
            match sigstore::check(&bundle, (image, digest), &self.keys) {
                Ok(()) => return Ok(Ok(())),
                Err(why) => worst = worst.max(why),
            }
        }
        Ok(Err(worst))
    }

    /// The list of referrers, from the registry, or at cosign's tag if the registry does not keep one.
    async fn referrers(&self, image: &Reference, digest: &Digest, from: &Origin) -> Result<Vec<Digest>, RequestError> {
        if let Origin::Registry(_) = from {
            let listed = match self.if_there(image, &format!("referrers/{digest}"), from).await {
                Err(error) if error.is_not_understood() => None,
                listed => listed?,
            };
            if let Some(found) = listed.as_deref().and_then(sigstore::referrers) {
                return Ok(found);
            }
        }
        let list = self.if_there(image, &format!("manifests/{}", sigstore::tag(digest)), from).await?;
        Ok(list.as_deref().and_then(sigstore::referrers).unwrap_or_default())
    }

    async fn if_there(&self, image: &Reference, path: &str, from: &Origin) -> Result<Option<Vec<u8>>, RequestError> {
        let accept = if path.starts_with("blobs/") { "*/*" } else { manifest::ACCEPT };
        match self.document(image, path, accept, from).await {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tagged_signature(&self, image: &Reference, digest: &Digest, from: &Origin) -> Result<Verdict, RequestError> {
        let tag = signature::tag(digest);
        let Some(manifest) = self.if_there(image, &format!("manifests/{tag}"), from).await? else {
            return Ok(Err(Unsigned::Missing(tag)));
        };
        let statements = match signature::parse(&manifest) {
            Ok(signatures) => signatures.layers,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut worst = Unsigned::Missing(tag);
        for statement in statements.iter().take(MOST_STATEMENTS) {
            let path = format!("blobs/{}", statement.digest);
            let Some(payload) = self.if_there(image, &path, from).await? else { continue };
            match statement.check(&payload, (image, digest), &self.keys) {
                Ok(()) => return Ok(Ok(())),
                Err(why) => worst = worst.max(why),
            }
        }
        Ok(Err(worst))
    }
}
