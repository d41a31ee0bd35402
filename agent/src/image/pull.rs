//! One pull, from the reference to the committed image.

mod signed;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::digest::Digest;
use super::fetch::{self, Chunks};
use super::layer::{self, LayerError};
use super::manifest::{self, BadDocument, Descriptor, ImageConfig, Kind, Machine};
use super::reference::{BadReference, Reference, Version};
use super::registry::Client;
use super::request::RequestError;
use super::retry::{Patience, Retry};
use super::signature::{Keys, Unsigned};
use super::space::{self, NoSpace};
use super::store::{Image, Partial, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{what} of {image} is not what its digest says: expected {expected}, got {actual}")]
    DigestMismatch { image: String, what: &'static str, expected: String, actual: Digest },
    #[error("layer {digest} of {image}")]
    Layer {
        image: String,
        digest: Digest,
        #[source]
        source: LayerError,
    },
    #[error("{what} of {image}")]
    Document {
        image: String,
        what: &'static str,
        #[source]
        source: BadDocument,
    },
    #[error("{image} has no variant for linux/{architecture}")]
    NoPlatform { image: String, architecture: &'static str },
    #[error("{image} does not fit")]
    NoSpace {
        image: String,
        #[source]
        source: NoSpace,
    },
    #[error("image {image} may not run")]
    Unsigned {
        image: String,
        #[source]
        source: Unsigned,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the unpacking thread ended without a result")]
    Thread(#[from] tokio::task::JoinError),
}

/// What a reference means on this machine.
struct Resolved {
    /// Of the index, where there is one.
    named: Digest,
    digest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An index may name an index; a circle is impossible, a chain is not.
const INDEX_DEPTH: usize = 3;

/// Pulls images one at a time and remembers which manifest each reference last meant.
pub struct Puller {
    client: Client,
    store: Store,
    patience: Patience,
    known: HashMap<String, Digest>,
    /// Without any, no signature is asked for.
    keys: Keys,
    /// Manifests whose signature was found good.
    signed: HashSet<Digest>,
    free: fn(&Path) -> u64,
}

impl Puller {
    /// `free` says how much may be written below a folder.
    pub fn new(client: Client, store: Store, patience: Patience, free: fn(&Path) -> u64) -> Self {
        let (known, keys, signed) = (HashMap::new(), Keys::default(), HashSet::new());
        Self { client, store, patience, known, keys, signed, free }
    }

    /// Takes only images that are signed with one of these.
    pub fn trusting(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    pub async fn pull(&mut self, text: &str) -> Result<Image, PullError> {
        let image: Reference = text.parse()?;
        if let Version::Digest(digest) = &image.version
            && let known = self.known.get(text).unwrap_or(digest)
            && (self.keys.is_empty() || self.signed.contains(known))
            && let Some(stored) = self.store.get(known)
        {
            return Ok(stored);
        }
        // A copy at hand is reason enough not to wait for a registry that is away.
        let absence = if self.known.contains_key(text) { Duration::ZERO } else { self.patience.absence };
        let patience = Patience { absence, ..self.patience.clone() };
        let (digest, pulled) = match self.attempt(&image, &patience).await {
            Err(error @ PullError::DigestMismatch { .. }) if self.client.distrust_mirrors(&image) => {
                log::warn!("{}; asking {} itself", crate::report::chain(&error), image.registry);
                self.attempt(&image, &patience).await
            }
            Err(error) => return self.fall_back(text, error),
            pulled => pulled,
        }?;
        self.known.insert(text.to_owned(), digest);
        Ok(pulled)
    }

    async fn attempt(&mut self, image: &Reference, patience: &Patience) -> Result<(Digest, Image), PullError> {
        let Resolved { named, digest, config, layers } = self.resolve(image, patience).await?;
        self.demand_signature(image, (&named, &digest), patience).await?;
        let pulled = match self.store.get(&digest) {
            Some(stored) => stored,
            None => self.fetch(image, &digest, &config, &layers).await?,
        };
        Ok((digest, pulled))
    }

    /// A registry that is gone does not stop an image we have, as in Tinkerbell's agent; a registry that answers does.
    fn fall_back(&self, text: &str, error: PullError) -> Result<Image, PullError> {
        let gone = matches!(&error, PullError::Request(request) if request.is_gone());
        match self.known.get(text).filter(|_| gone).and_then(|digest| self.store.get(digest)) {
            Some(stored) => {
                log::warn!("{}: going on with the copy of {text} pulled before", crate::report::chain(&error));
                Ok(stored)
            }
            None => Err(error),
        }
    }

    /// The manifest for this machine, through an index if there is one.
    async fn resolve(&self, image: &Reference, patience: &Patience) -> Result<Resolved, PullError> {
        let pinned = match &image.version {
            Version::Digest(digest) => Some(digest.clone()),
            Version::Tag(_) => None,
        };
        let (mut digest, mut kind) = self.manifest(image, &image.manifest(), pinned, patience).await?;
        let (named, machine) = (digest.clone(), Machine::this());
        for _ in 0..INDEX_DEPTH {
            let Kind::Index(entries) = &kind else { break };
            let nothing = || PullError::NoPlatform { image: image.to_string(), architecture: machine.architecture };
            let chosen = manifest::for_machine(entries, &machine).ok_or_else(nothing)?.digest;
            (digest, kind) = self.manifest(image, &chosen.to_string(), Some(chosen.clone()), patience).await?;
        }
        match kind {
            Kind::Image { config, layers } => Ok(Resolved { named, digest, config, layers }),
            Kind::Index(_) => {
                Err(PullError::Document { image: image.to_string(), what: "manifest", source: BadDocument::Neither })
            }
        }
    }

    async fn manifest(
        &self,
        image: &Reference,
        name: &str,
        expected: Option<Digest>,
        patience: &Patience,
    ) -> Result<(Digest, Kind), PullError> {
        let (bytes, named) = self.document(image, &format!("manifests/{name}"), manifest::ACCEPT, patience).await?;
        let actual = Digest::of(&bytes);
        let expected = expected.map(|d| d.to_string()).or(named.filter(|n| n.starts_with("sha256:")));
        if let Some(expected) = expected.filter(|e| *e != actual.to_string()) {
            return Err(PullError::DigestMismatch { image: image.to_string(), what: "the manifest", expected, actual });
        }
        let wrong = |source| PullError::Document { image: image.to_string(), what: "manifest", source };
        Ok((actual, manifest::parse(&bytes).map_err(wrong)?))
    }

    async fn document(
        &self,
        image: &Reference,
        path: &str,
        accept: &str,
        patience: &Patience,
    ) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let mut retry = Retry::new(patience);
        loop {
            let error = match self.client.document(image, path, accept).await {
                Ok(document) => return Ok(document),
                Err(error) => error,
            };
            let Some(pause) = retry.after(&error, Instant::now()) else { return Err(error) };
            log::warn!("{}; again in {} ms", crate::report::chain(&error), pause.as_millis());
            tokio::time::sleep(pause).await;
        }
    }

    async fn config(&self, image: &Reference, config: &Descriptor) -> Result<ImageConfig, PullError> {
        let (bytes, _) = self.document(image, &format!("blobs/{}", config.digest), "*/*", &self.patience).await?;
        let actual = Digest::of(&bytes);
        if actual != config.digest {
            let expected = config.digest.to_string();
            return Err(PullError::DigestMismatch { image: image.to_string(), what: "the configuration", expected, actual });
        }
        let wrong = |source: serde_json::Error| PullError::Document {
            image: image.to_string(),
            what: "configuration",
            source: source.into(),
        };
        serde_json::from_slice(&bytes).map_err(wrong)
    }

    async fn fetch(
        &self,
        image: &Reference,
        digest: &Digest,
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<Image, PullError> {
        let config = self.config(image, config).await?;
        self.admit(image, digest, layers).await?;
        let partial = Arc::new(self.store.begin(digest)?);
        for layer in layers {
            self.layer(image, layer, &partial).await?;
        }
        Ok(partial.commit(config)?)
    }

    /// Refuses before any layer moves. Images of earlier actions make room first, the longest unused before the others,
    /// and only where that can help.
    async fn admit(&self, image: &Reference, digest: &Digest, layers: &[Descriptor]) -> Result<(), PullError> {
        let refused = |source| PullError::NoSpace { image: image.to_string(), source };
        let mut others = self.store.others(digest)?;
        loop {
            let Err(short) = self.fits(image, layers).await else { return Ok(()) };
            let gain = others.iter().map(|other| other.bytes).fold(0, u64::saturating_add);
            if space::at_least(layers) > short.free.saturating_add(gain) {
                return Err(refused(short));
            }
            let Some(oldest) = others.pop() else { return Err(refused(short)) };
            log::info!("removing an unpacked image of {} MiB to make room for {image}", oldest.bytes >> 20);
            self.store.evict(&oldest)?;
        }
    }

    async fn fits(&self, image: &Reference, layers: &[Descriptor]) -> Result<(), NoSpace> {
        let free = (self.free)(self.store.root());
        let estimated = space::estimate(layers);
        if space::at_least(layers) > free || estimated <= free {
            return space::admit(estimated, free);
        }
        // In between, the exact size decides, where gzip tells it.
        let mut needed = 0u64;
        for layer in layers {
            let trailer = if space::is_gzip(layer) { self.client.trailer(image, &layer.digest.to_string()).await } else { None };
            let exact = trailer.and_then(|t| space::plausible(layer.size, t));
            needed = needed.saturating_add(exact.unwrap_or_else(|| space::estimate(std::slice::from_ref(layer))));
        }
        space::admit(needed, free)
    }

    async fn layer(&self, image: &Reference, layer: &Descriptor, partial: &Arc<Partial>) -> Result<(), PullError> {
        let (sender, receiver) = mpsc::channel(fetch::CHUNKS);
        // The thread holds the folder, too: a pull that is given up must not remove it below the thread's hands.
        let (descriptor, partial, free) = (layer.clone(), Arc::clone(partial), self.free);
        let store = self.store.root().to_owned();
        let unpacking = tokio::task::spawn_blocking(move || {
            layer::apply(Chunks::new(receiver), &descriptor, &partial.rootfs(), &mut move || free(&store))
        });
        let fed = fetch::feed(&self.client, &self.patience, image, layer, &sender).await;
        drop(sender); // the end of the stream, for better or worse
        let unpacked = unpacking.await?;
        fed?;
        unpacked.map_err(|source| match source {
            LayerError::Mismatch { actual, .. } => {
                let expected = layer.digest.to_string();
                PullError::DigestMismatch { image: image.to_string(), what: "a layer", expected, actual }
            }
            LayerError::NoSpace(mut source) => {
                source.needed = source.needed.max(space::estimate(std::slice::from_ref(layer)));
                PullError::NoSpace { image: image.to_string(), source }
            }
            source => PullError::Layer { image: image.to_string(), digest: layer.digest.clone(), source },
        })
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
pub mod tests;
