//! Part of a file as a response body, for a connection that hyper serves. One chunk is read ahead.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::machine::Chain;
use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::download::Tally;
use super::send::Part;

/// A download holds two chunks. Few downloads come this way: those on a connection that asked for something else first.
const CHUNK: usize = 64 * 1024;

/// If the file shrinks meanwhile, the connection breaks, and the client notices.
pub fn stretch(part: Part) -> Body {
    let Part { file, start, length, download } = part;
    let tally = Tally::of(download, length);
    let mut stretch = Stretch { file, next: start, end: start + length, ahead: None, tally };
    stretch.read_ahead();
    Body::from_stream(stretch)
}

struct Stretch {
    file: Arc<File>,
    next: u64,
    end: u64,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
    tally: Tally,
}

impl Stretch {
    fn read_ahead(&mut self) {
        let length = usize::try_from(self.end - self.next).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            self.ahead = None;
            return;
        }
        let (file, at) = (Arc::clone(&self.file), self.next);
        self.next += length as u64;
        self.ahead = Some(tokio::task::spawn_blocking(move || read(&file, at, length)));
    }
}

/// Reads into memory that is not cleared first: at gigabytes a second, clearing it would cost time.
fn read(file: &File, at: u64, length: usize) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(length);
    while chunk.len() < length {
        let next = at + chunk.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut chunk), next) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    chunk.truncate(length);
    Ok(chunk.into())
}

impl Stream for Stretch {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(ahead) = self.ahead.as_mut() else { return Poll::Ready(None) };
        let chunk = ready!(Pin::new(ahead).poll(context)).unwrap_or_else(|error| Err(io::Error::other(error)));
        match chunk {
            Ok(chunk) => {
                self.read_ahead();
                self.tally.add(chunk.len() as u64);
                Poll::Ready(Some(Ok(chunk)))
            }
            Err(error) => {
                let (path, cause) = (&self.tally.download.path, Chain(&error));
                log::error!("HTTP: reading {path} failed in the middle: {cause}; the download is broken off");
                self.ahead = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}
