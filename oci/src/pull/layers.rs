//! The layers of an image. They are unpacked in order, one over the other, and fetched in advance if memory allows.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle};

use super::fetch::{self, Chunks, Into};
use super::spool::{self, Spooled};
use super::store::Partial;
use super::{PullError, Puller};
use crate::layer::{self, Budget, LayerError};
use crate::manifest::Descriptor;
use crate::reference::Reference;
use crate::registry::RequestError;
use crate::space::{self, Ahead, Free};

/// A layer that is being fetched.
struct Fetching<'l> {
    layer: &'l Descriptor,
    bytes: Stream,
    task: Task,
    /// How many of its bytes may wait in memory, and how many in a file.
    held: u64,
    spooled: u64,
}

enum Stream {
    Memory(Chunks),
    File(Spooled),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(chunks) => chunks.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

/// A task that ends when its owner is dropped.
struct Task(JoinHandle<Result<(), RequestError>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Stops the unpacking thread when the pull is cancelled.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How much the thread may take, and whether it may continue.
struct Allowed {
    free: fn(&std::path::Path) -> Free,
    place: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Budget for Allowed {
    fn free(&mut self) -> Free {
        (self.free)(&self.place)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// A reader that stops when the pull is cancelled. Bytes that were received may still unpack to gigabytes.
struct Stoppable<R> {
    inner: R,
    stopped: Arc<AtomicBool>,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the pull was cancelled"));
        }
        self.inner.read(buffer)
    }
}

impl Puller {
    pub(super) async fn layers_from_registry(
        &self,
        image: &Reference,
        layers: &[Descriptor],
        partial: &Arc<Partial>,
        ahead: Ahead,
    ) -> Result<(), PullError> {
        let mut waiting = layers.iter();
        let mut coming: VecDeque<Fetching<'_>> = VecDeque::new();
        loop {
            while coming.len() < ahead.layers
                && let Some(layer) = waiting.next()
            {
                let room = coming.iter().map(|other| other.held).fold(ahead.bytes, u64::saturating_sub);
                let spool = coming.iter().map(|other| other.spooled).fold(ahead.spooled, u64::saturating_sub);
                // The layer whose turn it is does not have to wait.
                let spool = if coming.is_empty() { 0 } else { spool };
                coming.push_back(self.begin_fetching(image, layer, partial, (room, spool)));
            }
            let Some(Fetching { layer, bytes, mut task, .. }) = coming.pop_front() else { return Ok(()) };
            let unpacked = self.unpack(layer, partial, bytes).await?;
            (&mut task.0).await??; // the cause is more useful than the early end of the stream
            unpacked.map_err(|source| self.layer_error(image, layer, source))?;
        }
    }

    /// A layer that fits into the memory limit waits there completely. Of a larger one only as much as the channel holds.
    fn begin_fetching<'l>(
        &self,
        image: &Reference,
        layer: &'l Descriptor,
        partial: &Partial,
        (room, spool): (u64, u64),
    ) -> Fetching<'l> {
        let held = if layer.size <= room { layer.size } else { 0 };
        let file = if held == 0 && layer.size <= spool { spool::begin(partial.directory()).ok() } else { None };
        let spooled = if file.is_some() { layer.size } else { 0 };
        let (into, bytes) = match file {
            Some((writer, reader)) => (Into::File(writer), Stream::File(reader)),
            None => {
                let (sender, bytes) = mpsc::channel::<Bytes>(if held > 0 { Semaphore::MAX_PERMITS } else { fetch::PIECES });
                (Into::Memory(sender), Stream::Memory(Chunks::new(bytes)))
            }
        };
        let (client, patience, image, blob) = (Arc::clone(&self.client), self.patience.clone(), image.clone(), layer.clone());
        // The sender is dropped with the task, which ends the stream after success and after failure.
        let task = async move { fetch::feed(&client, &patience, &image, &blob, &into).await };
        Fetching { layer, bytes, task: Task(tokio::spawn(task)), held, spooled }
    }

    /// Runs in a thread that also keeps the folder: a cancelled pull must not remove it while the thread writes.
    pub(super) async fn unpack(
        &self,
        layer: &Descriptor,
        partial: &Arc<Partial>,
        inner: impl Read + Send + 'static,
    ) -> Result<Result<(), LayerError>, JoinError> {
        let (layer, partial) = (layer.clone(), Arc::clone(partial));
        let stopped = Arc::new(AtomicBool::new(false));
        let _given_up = GivenUp(Arc::clone(&stopped));
        let mut allowed = Allowed { free: self.free, place: self.store.root().to_owned(), stopped: Arc::clone(&stopped) };
        let stream = Stoppable { inner, stopped };
        tokio::task::spawn_blocking(move || layer::unpack(stream, &layer, &partial.rootfs(), &mut allowed)).await
    }

    pub(super) fn layer_error(&self, image: &Reference, layer: &Descriptor, error: LayerError) -> PullError {
        match error {
            LayerError::Mismatch { actual, size } if actual == layer.digest => {
                let (image, digest) = (image.to_string(), actual);
                PullError::SizeMismatch { image, digest, stated: layer.size, actual: size }
            }
            LayerError::Mismatch { actual, .. } => {
                let expected = layer.digest.to_string();
                PullError::DigestMismatch { image: image.to_string(), what: "a layer", expected, actual }
            }
            LayerError::NoSpace(mut source) => {
                if source.resource != space::Resource::Inodes {
                    source.needed = source.needed.max(space::estimate(std::slice::from_ref(layer)));
                }
                self.no_space(image, source)
            }
            source => PullError::Layer { image: image.to_string(), digest: layer.digest.clone(), source },
        }
    }
}
