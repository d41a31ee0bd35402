//! Pulls an image, from the reference to the committed image.

mod documents;
pub mod embedded;
mod fetch;
mod layers;
mod platform;
#[cfg(feature = "build")]
mod save;
mod signed;
mod spool;
pub mod store;
mod time;

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cmdline::EmbeddedImages;

use self::embedded::{Embedded, Layout, Turn, disk};
use self::store::{Image, Partial, Store, StoreError};
use self::time::in_time;
use crate::digest::Digest;
use crate::layer::LayerError;
use crate::manifest::{BadDocument, Descriptor};
use crate::reference::{BadReference, Reference, Version};
use crate::registry::Client;
use crate::registry::Patience;
use crate::registry::RequestError;
use crate::signature::{Keys, Unsigned};
use crate::space::{self, Free, NoSpace, Resource};

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{what} of {image} does not match its digest: expected {expected}, got {actual}")]
    DigestMismatch { image: String, what: &'static str, expected: String, actual: Digest },
    #[error("layer {digest} of {image} has {actual} bytes, but its manifest says {stated}")]
    SizeMismatch { image: String, digest: Digest, stated: u64, actual: u64 },
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
    #[error("{image} is for {platform}, and this machine is linux/{architecture}")]
    OtherPlatform { image: String, platform: String, architecture: &'static str },
    #[error("{image} does not fit into {}", place.display())]
    NoSpace {
        image: String,
        place: PathBuf,
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
    #[error("image {image} was not pulled within {} minutes", limit.as_secs() / 60)]
    TooLong { image: String, limit: Duration },
    #[error("the unpacking thread ended without a result")]
    Thread(#[from] tokio::task::JoinError),
}

/// The kind of a failed pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The registry does not have the image, or not for this architecture.
    NotFound,
    /// The bytes of a part do not match its digest.
    Mismatch,
    Unsigned,
    /// The machine cannot reach the registry.
    NetworkLost,
    NoSpace(NoSpace),
    /// The image is complete, but cannot be used.
    Unusable,
    Other,
}

impl PullError {
    /// What the error means for the action that needs the image.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoSpace { source, .. } => Failure::NoSpace(*source),
            Self::Store(store) if store.is_full() => Failure::NoSpace(NoSpace { resource: Resource::Disk, needed: 1, free: 0 }),
            Self::DigestMismatch { .. } => Failure::Mismatch,
            Self::SizeMismatch { .. } | Self::Layer { .. } | Self::Document { .. } => Failure::Unusable,
            Self::Request(request) if request.is_not_found() => Failure::NotFound,
            Self::Request(request) if request.is_network_lost() => Failure::NetworkLost,
            Self::NoPlatform { .. } | Self::OtherPlatform { .. } => Failure::NotFound,
            Self::Unsigned { .. } => Failure::Unsigned,
            _ => Failure::Other,
        }
    }
}

/// A check is cheap, and a USB stick must be noticed soon.
const LOOKED_EVERY: Duration = Duration::from_millis(500);

/// The source of an image.
enum Origin {
    Registry(Patience),
    Layout(Arc<Layout>),
}

/// The result of resolving a reference on this machine.
struct Resolved {
    /// The digest of the index, if the image has one.
    named: Digest,
    digest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// How much memory a pull may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// All free memory, and that of unused images.
    Needed,
    /// Only memory that a running action probably does not need.
    Spare,
}

/// Pulls images one at a time and remembers the last manifest of each reference.
pub struct Puller {
    client: Arc<Client>,
    store: Store,
    pub(super) patience: Patience,
    known: HashMap<String, Digest>,
    /// The keys of trusted signers. Without any, signatures are not required.
    keys: Keys,
    /// Manifests with a verified signature.
    signed: signed::Signed,
    embedded: Embedded,
    free: fn(&Path) -> Free,
}

impl Puller {
    /// `free` returns how much may be taken below a folder.
    pub fn new(client: Client, store: Store, patience: Patience, free: fn(&Path) -> Free) -> Self {
        let (known, keys, signed) = (HashMap::new(), Keys::default(), signed::Signed::default());
        Self { client: Arc::new(client), store, patience, known, keys, signed, embedded: Embedded::nowhere(), free }
    }

    /// Also uses images that came with the machine.
    pub fn with(self, embedded: Embedded) -> Self {
        Self { embedded, ..self }
    }

    /// Accepts only images that are signed with one of these keys.
    pub fn trusting(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Pulls an image, or returns its unpacked copy.
    ///
    /// # Errors
    /// If no source has the image under this name, complete, signed and small enough.
    pub async fn pull(&mut self, text: &str) -> Result<Image, PullError> {
        let image: Reference = text.parse()?;
        if let Version::Digest(digest) = &image.version
            && let known = self.known.get(text).unwrap_or(digest)
            && (self.keys.is_empty() || self.signed.has(known))
            && let Some(stored) = self.store.get(known)
        {
            return Ok(stored);
        }
        let turn = self.embedded.turn_of_disk(&image, !self.keys.is_empty());
        let places = self.embedded.places();
        let mut embedded = self.find_embedded(&image, turn).await;
        // A disk that may have the image ends the wait for an unreachable registry, once.
        let mut hopeful = turn == Turn::AfterRegistry && self.embedded.has_disk();
        let mut resolved = None;
        if embedded.is_none() && self.embedded.when != EmbeddedImages::Never {
            let registry = Origin::Registry(self.patience_for(text, hopeful));
            resolved = tokio::select! {
                answer = self.resolve(&image, &registry) => Some(answer),
                layout = self.comes(&image, places, turn) => {
                    embedded = Some(layout);
                    None
                }
            };
        }
        if let Some(layout) = embedded.as_ref().filter(|_| self.embedded.when == EmbeddedImages::First) {
            match self.take_from_layout(&image, text, layout).await {
                Err(error) if !matches!(error, PullError::NoSpace { .. }) => {
                    log::warn!("{}; asking registry {}", machine::Chain(&error), image.registry);
                }
                pulled => return pulled,
            }
        }
        loop {
            let copy = embedded.is_some() || hopeful;
            let error = match self.take_from_registry(&image, text, copy, resolved.take()).await {
                Err(error @ PullError::Request(_)) => error,
                pulled => return pulled,
            };
            if let Some(pulled) = self.take_instead(&image, text, turn, embedded.is_some(), &error).await {
                return pulled;
            }
            if !hopeful || !is_gone(&error) {
                return self.fall_back(text, error);
            }
            hopeful = false;
        }
    }

    /// Pulls the next image while an action runs. It does not wait for an unreachable registry, and does not remove other
    /// images to make room. An image that came with the machine is not unpacked. Returns the digest of what was unpacked,
    /// if anything.
    ///
    /// # Errors
    /// The same as those of [`Puller::pull`], which tries again when the image is needed.
    pub async fn pull_ahead(&mut self, text: &str) -> Result<Option<Digest>, PullError> {
        let image: Reference = text.parse()?;
        let turn = self.embedded.turn_of_disk(&image, !self.keys.is_empty());
        if self.find_embedded(&image, turn).await.is_some() {
            return Ok(None);
        }
        let registry = Origin::Registry(self.patience_for(text, true));
        let resolved = self.resolve(&image, &registry).await?;
        let had = self.store.get(&resolved.digest).is_some();
        let (digest, _) = self.take(&image, resolved, &registry, Room::Spare).await?;
        self.known.insert(text.to_owned(), digest.clone());
        Ok((!had).then_some(digest))
    }

    /// The machine's own copy of an image that the registry does not provide. A disk may have appeared meanwhile. Sources
    /// that were tried before are skipped.
    async fn take_instead(
        &mut self,
        image: &Reference,
        text: &str,
        turn: Turn,
        tried: bool,
        error: &PullError,
    ) -> Option<Result<Image, PullError>> {
        let going_on = |layout: &Layout| {
            log::warn!("{}; continuing with the machine's own copy {}", machine::Chain(error), layout.name());
        };
        if (self.embedded.when == EmbeddedImages::Fallback || !tried)
            && let Some(layout) = self.look(image, Embedded::in_ramdisk).await
        {
            going_on(&layout);
            return Some(self.take_from_layout(image, text, &layout).await);
        }
        match turn {
            Turn::Never(why) => disk::say_unused(why),
            Turn::BeforeRegistry if tried => {}
            _ if !is_gone(error) && error.failure() != Failure::NotFound => {}
            Turn::BeforeRegistry | Turn::AfterRegistry => {
                let layout = self.look(image, Embedded::on_disk).await?;
                going_on(&layout);
                match self.take_from_layout(image, text, &layout).await {
                    Err(error) if !matches!(error, PullError::NoSpace { .. }) => log::warn!("{}", machine::Chain(&error)),
                    pulled => return Some(pulled),
                }
            }
        }
        None
    }

    /// A USB stick is found seconds after the machine has started. From then on pulls do not wait for an unreachable
    /// registry.
    async fn comes(&self, image: &Reference, mut places: [bool; 2], turn: Turn) -> Arc<Layout> {
        loop {
            tokio::time::sleep(LOOKED_EVERY).await;
            let before = std::mem::replace(&mut places, self.embedded.places());
            let new = places.iter().zip(before).any(|(now, before)| *now && !before);
            if let Some(layout) = if new { self.find_embedded(image, turn).await } else { None } {
                return layout;
            }
        }
    }

    /// The source that may be used before the registry.
    async fn find_embedded(&self, image: &Reference, turn: Turn) -> Option<Arc<Layout>> {
        match self.look(image, Embedded::in_ramdisk).await {
            None if turn == Turn::BeforeRegistry => self.look(image, Embedded::on_disk).await,
            found => found,
        }
    }

    async fn look(&self, image: &Reference, place: fn(&Embedded, &Reference) -> Option<Layout>) -> Option<Arc<Layout>> {
        let (embedded, image) = (self.embedded.clone(), image.clone());
        tokio::task::spawn_blocking(move || place(&embedded, &image)).await.ok().flatten().map(Arc::new)
    }

    async fn take_from_layout(&mut self, image: &Reference, text: &str, layout: &Arc<Layout>) -> Result<Image, PullError> {
        let (digest, pulled) = self.attempt(image, &Origin::Layout(Arc::clone(layout))).await?;
        let vouched = if layout.is_trusted() { "" } else { ", and its digest or signature is valid" };
        log::info!("image {image} came with the machine {}{vouched}", layout.name());
        self.known.insert(text.to_owned(), digest);
        Ok(pulled)
    }

    /// If the machine has a copy, it does not wait for an unreachable registry.
    fn patience_for(&self, text: &str, copy: bool) -> Patience {
        let absence = if copy || self.known.contains_key(text) { Duration::ZERO } else { self.patience.absence };
        Patience { absence, ..self.patience.clone() }
    }

    async fn take_from_registry(
        &mut self,
        image: &Reference,
        text: &str,
        copy: bool,
        resolved: Option<Result<Resolved, PullError>>,
    ) -> Result<Image, PullError> {
        let registry = Origin::Registry(self.patience_for(text, copy));
        let first = match resolved {
            Some(Ok(resolved)) => self.take(image, resolved, &registry, Room::Needed).await,
            Some(Err(error)) => Err(error),
            None => self.attempt(image, &registry).await,
        };
        let (digest, pulled) = match first {
            Err(error @ PullError::DigestMismatch { .. }) if self.client.distrust_mirrors(image) => {
                log::warn!("{}; asking {} itself", machine::Chain(&error), image.registry);
                self.attempt(image, &registry).await?
            }
            pulled => pulled?,
        };
        self.known.insert(text.to_owned(), digest);
        Ok(pulled)
    }

    async fn attempt(&mut self, image: &Reference, from: &Origin) -> Result<(Digest, Image), PullError> {
        let resolved = self.resolve(image, from).await?;
        self.take(image, resolved, from, Room::Needed).await
    }

    async fn take(
        &mut self,
        image: &Reference,
        resolved: Resolved,
        from: &Origin,
        room: Room,
    ) -> Result<(Digest, Image), PullError> {
        let signed = Box::pin(self.demand_signature(image, (&resolved.named, &resolved.digest), from));
        in_time(image, time::DOCUMENTS, signed).await?;
        let pulled = match self.store.get(&resolved.digest) {
            Some(stored) => stored,
            None => self.fetch(image, &resolved, from, room).await?,
        };
        Ok((resolved.digest, pulled))
    }

    /// As in Tinkerbell's agent, an unreachable registry does not matter if the image was pulled before. A refusal does.
    fn fall_back(&self, text: &str, error: PullError) -> Result<Image, PullError> {
        match self.known.get(text).filter(|_| is_gone(&error)).and_then(|digest| self.store.get(digest)) {
            Some(stored) => {
                log::warn!("{}; continuing with the copy of {text} that was pulled before", machine::Chain(&error));
                Ok(stored)
            }
            None => Err(error),
        }
    }

    async fn fetch(
        &self,
        image: &Reference,
        Resolved { digest, config, layers, .. }: &Resolved,
        from: &Origin,
        room: Room,
    ) -> Result<Image, PullError> {
        let config = in_time(image, time::DOCUMENTS, Box::pin(self.config(image, config, from))).await?;
        let mut retried = false;
        loop {
            let ahead = space::ahead(self.admit(image, digest, layers, from, room).await?, layers);
            let partial = Arc::new(self.store.begin(digest)?);
            let unpacking = Box::pin(self.unpack_all(image, layers, &partial, ahead, from));
            match in_time(image, time::for_layers(layers), unpacking).await {
                Ok(()) => return Ok(partial.commit(config)?),
                Err(error) => {
                    // This comes first, because the next attempt may need the space.
                    tokio::task::spawn_blocking(move || Arc::into_inner(partial).map(Partial::discard)).await?;
                    let full = matches!(error, PullError::NoSpace { .. }) && room == Room::Needed && !retried;
                    if !full || !self.make_room(digest, image).await? {
                        return Err(error);
                    }
                    retried = true;
                }
            }
        }
    }

    async fn unpack_all(
        &self,
        image: &Reference,
        layers: &[Descriptor],
        partial: &Arc<Partial>,
        ahead: space::Ahead,
        from: &Origin,
    ) -> Result<(), PullError> {
        let layout = match from {
            Origin::Registry(_) => return self.layers_from_registry(image, layers, partial, ahead).await,
            Origin::Layout(layout) => layout,
        };
        for layer in layers {
            let wrong = |source| self.layer_error(image, layer, source);
            let file = layout.blob(&layer.digest).map_err(|error| wrong(LayerError::Read(error)))?;
            // One byte more than promised is enough to detect the wrong size.
            self.unpack(layer, partial, file.take(layer.size.saturating_add(1))).await?.map_err(wrong)?;
        }
        Ok(())
    }

    /// The number of files is known only after unpacking. If they do not fit, the images of earlier actions are removed.
    async fn make_room(&self, digest: &Digest, image: &Reference) -> Result<bool, PullError> {
        let others = self.store.others(digest)?;
        let any = !others.is_empty();
        for other in others {
            self.evict(other, image).await?;
        }
        Ok(any)
    }

    async fn evict(&self, other: store::Kept, image: &Reference) -> Result<(), PullError> {
        log::info!("removing an unpacked image of {} MiB to make room for {image}", other.bytes >> 20);
        Ok(tokio::task::spawn_blocking(move || other.remove()).await??)
    }

    fn no_space(&self, image: &Reference, source: NoSpace) -> PullError {
        PullError::NoSpace { image: image.to_string(), place: self.store.root().to_owned(), source }
    }

    /// Refuses an image before any layer is transferred. Images of earlier actions are removed to make room, the longest
    /// unused first, but only if that is enough. Returns the remaining bytes.
    async fn admit(
        &self,
        image: &Reference,
        digest: &Digest,
        layers: &[Descriptor],
        from: &Origin,
        room: Room,
    ) -> Result<u64, PullError> {
        let refused = |source| self.no_space(image, source);
        let mut others = None;
        loop {
            let short = match self.fits(image, layers, from, room).await {
                Ok(spare) => return Ok(spare),
                Err(short) => short,
            };
            let others = match &mut others {
                Some(others) => others,
                None if room == Room::Needed => others.insert(self.store.others(digest)?),
                None => others.insert(Vec::new()),
            };
            let gain = others.iter().map(|other| other.bytes).fold(0, u64::saturating_add);
            if space::at_least(layers) > short.free.saturating_add(gain) {
                return Err(refused(short));
            }
            let Some(oldest) = others.pop() else { return Err(refused(short)) };
            self.evict(oldest, image).await?;
        }
    }

    async fn fits(&self, image: &Reference, layers: &[Descriptor], from: &Origin, room: Room) -> Result<u64, NoSpace> {
        let free = (self.free)(self.store.root());
        let free = if room == Room::Spare { space::spare(&free) } else { free };
        let estimated = space::estimate(layers);
        if space::at_least(layers) > free.bytes() || estimated <= free.bytes() {
            return space::admit(estimated, &free);
        }
        // For sizes in between, the exact size decides if gzip states it.
        let mut needed = 0u64;
        for layer in layers {
            let trailer = match from {
                _ if !space::is_gzip(layer) => None,
                Origin::Registry(_) => self.client.trailer(image, &layer.digest.to_string()).await,
                Origin::Layout(layout) => layout.trailer(&layer.digest),
            };
            let exact = trailer.and_then(|t| space::plausible(layer.size, t));
            needed = needed.saturating_add(exact.unwrap_or_else(|| space::estimate(std::slice::from_ref(layer))));
        }
        space::admit(needed, &free)
    }
}

/// Whether the registry is unreachable or out of order.
fn is_gone(error: &PullError) -> bool {
    matches!(error, PullError::Request(request) if request.is_gone())
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod embedded_tests;
#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod hostile_image_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod signature_tests;
#[cfg(test)]
pub mod tests;
