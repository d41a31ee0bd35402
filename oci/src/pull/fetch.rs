//! Fetches the bytes of a blob, in order and once each, over as many connections as needed.
//!
//! A broken connection is resumed where it broke, so the unpacker does not notice it and does not start again.

use std::io::{self, Read};
use std::time::Instant;

use bytes::{Buf, Bytes};
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc::{Receiver, Sender};

use super::spool::Spool;
use crate::manifest::Descriptor;
use crate::reference::Reference;
use crate::registry::Client;
use crate::registry::RequestError;
use crate::registry::{Patience, Retry};

/// The size of a copied piece in bytes. Data from the socket is in buffers of up to 400 KB, which a copied piece does not
/// keep alive.
const PIECE: usize = 32 << 10;
/// How many pieces may be between the socket and the unpacker.
pub const PIECES: usize = 4;
/// If a connection brings at least this many bytes before it breaks, the failure does not count. With fewer, this could go
/// on for ever.
const PROGRESS: u64 = 64 << 10;

/// Where the bytes of a layer are kept until they are unpacked.
pub enum Into {
    Memory(Sender<Bytes>),
    File(Spool),
}

impl Into {
    /// Stores a piece. Returns whether more is needed.
    async fn put(&self, piece: &[u8], registry: &str) -> Result<bool, RequestError> {
        match self {
            Self::Memory(channel) => Ok(channel.send(Bytes::copy_from_slice(piece)).await.is_ok()),
            Self::File(spool) => {
                let full = |source| RequestError::Disk { registry: registry.to_owned(), what: "a layer".to_owned(), source };
                spool.append(piece).map(|()| true).map_err(full)
            }
        }
    }
}

/// Sends the blob to its receiver. If the receiver is gone, this ends early and without an error.
pub async fn feed(
    client: &Client,
    patience: &Patience,
    image: &Reference,
    blob: &Descriptor,
    into: &Into,
) -> Result<(), RequestError> {
    let mut retry = Retry::new(patience);
    let mut position = 0;
    loop {
        let before = position;
        let error = match once(client, image, blob, &mut position, into).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if position > 0 && position >= blob.size {
            return Ok(()); // it broke after the last byte, so nothing is missing, and the digest decides
        }
        if position >= before + PROGRESS {
            retry.progress();
        }
        let Some(pause) = retry.after(&error, Instant::now()) else { return Err(error) };
        log::warn!("{}; trying again in {} ms from byte {position} of {}", machine::Chain(&error), pause.as_millis(), blob.size);
        tokio::time::sleep(pause).await;
    }
}

async fn once(
    client: &Client,
    image: &Reference,
    blob: &Descriptor,
    position: &mut u64,
    into: &Into,
) -> Result<(), RequestError> {
    let mut answer = client.layer(image, blob, *position).await?;
    // A registry without ranges sends everything again. What is here already is skipped.
    let mut skip = if starts_at(&answer.response, *position) { 0 } else { *position };
    while let Some(mut chunk) = answer.chunk("a layer").await? {
        let old = skip.min(chunk.len() as u64);
        chunk.advance(usize::try_from(old).unwrap_or(chunk.len()));
        skip -= old;
        if chunk.is_empty() {
            continue;
        }
        *position += chunk.len() as u64;
        for piece in chunk.chunks(PIECE) {
            if !into.put(piece, &answer.name).await? {
                return Ok(());
            }
        }
        // This is more than promised: one extra byte is enough to detect it.
        if *position > blob.size {
            return Ok(());
        }
    }
    // If fewer bytes than promised come with a regular end, the digest detects it, unless HTTP promised the length, too.
    Ok(())
}

fn starts_at(response: &Response, position: u64) -> bool {
    let range = response.headers().get(reqwest::header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    let stated = range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split('-').next()).and_then(|s| s.parse().ok());
    response.status() == StatusCode::PARTIAL_CONTENT && stated.is_none_or(|start: u64| start == position)
}

/// The unpacker's end of the channel.
pub struct Chunks {
    from: Receiver<Bytes>,
    current: Bytes,
}

impl Chunks {
    pub fn new(from: Receiver<Bytes>) -> Self {
        Self { from, current: Bytes::new() }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.from.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
