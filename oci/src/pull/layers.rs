//! The layers of an image: unpacked one over the other, in order, and fetched ahead of that where memory allows.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle};

use super::fetch::{self, Chunks};
use super::store::Partial;
use super::{PullError, Puller};
use crate::layer::{self, LayerError};
use crate::manifest::Descriptor;
use crate::reference::Reference;
use crate::registry::RequestError;
use crate::space::{self, Ahead};

/// A layer on its way.
struct Fetching<'l> {
    layer: &'l Descriptor,
    bytes: mpsc::Receiver<Bytes>,
    task: Task,
    /// What of it may wait in memory.
    held: u64,
}

/// Ends when its owner is dropped.
struct Task(JoinHandle<Result<(), RequestError>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
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
                coming.push_back(self.begin_fetching(image, layer, room));
            }
            let Some(Fetching { layer, bytes, mut task, .. }) = coming.pop_front() else { return Ok(()) };
            let unpacked = self.unpack(layer, partial, Chunks::new(bytes)).await?;
            (&mut task.0).await??; // why the stream ended early is worth more than that it did
            unpacked.map_err(|source| layer_error(image, layer, source))?;
        }
    }

    /// A layer that fits into the room waits there as a whole, of another only what a channel holds.
    fn begin_fetching<'l>(&self, image: &Reference, layer: &'l Descriptor, room: u64) -> Fetching<'l> {
        let held = if layer.size <= room { layer.size } else { 0 };
        let (sender, bytes) = mpsc::channel(if held > 0 { Semaphore::MAX_PERMITS } else { fetch::PIECES });
        let (client, patience, image, blob) = (Arc::clone(&self.client), self.patience.clone(), image.clone(), layer.clone());
        // The sender goes with the task: the end of the stream, for better or worse.
        let task = async move { fetch::feed(&client, &patience, &image, &blob, &sender).await };
        Fetching { layer, bytes, task: Task(tokio::spawn(task)), held }
    }

    /// Runs in a thread that holds the folder, too: a pull that is given up must not remove it while the thread writes.
    pub(super) async fn unpack(
        &self,
        layer: &Descriptor,
        partial: &Arc<Partial>,
        mut stream: impl Read + Send + 'static,
    ) -> Result<Result<(), LayerError>, JoinError> {
        let (layer, partial, free) = (layer.clone(), Arc::clone(partial), self.free);
        let store = self.store.root().to_owned();
        tokio::task::spawn_blocking(move || layer::unpack(&mut stream, &layer, &partial.rootfs(), &mut move || free(&store)))
            .await
    }
}

pub(super) fn layer_error(image: &Reference, layer: &Descriptor, error: LayerError) -> PullError {
    match error {
        LayerError::Mismatch { actual, .. } => {
            let expected = layer.digest.to_string();
            PullError::DigestMismatch { image: image.to_string(), what: "a layer", expected, actual }
        }
        LayerError::NoSpace(mut source) => {
            source.needed = source.needed.max(space::estimate(std::slice::from_ref(layer)));
            PullError::NoSpace { image: image.to_string(), source }
        }
        source => PullError::Layer { image: image.to_string(), digest: layer.digest.clone(), source },
    }
}
