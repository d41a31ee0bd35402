//! Part of a file as a response body. One large chunk is read ahead, and progress is published.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ::machine::Chain;
use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::events::Progress;
use crate::{Events, Milestone};

/// A download holds two chunks. Switching threads costs little at this size, and a hundred downloads fit into memory.
const CHUNK: usize = 256 * 1024;

/// A download as the events show it.
pub struct Download {
    pub events: Events,
    pub mac: Option<model::Mac>,
    pub address: Option<std::net::IpAddr>,
    pub path: String,
}

impl Download {
    fn publish(&self, milestone: Milestone) {
        self.events.publish(self.mac, self.address, milestone);
    }
}

/// `length` bytes from `start`. If the file shrinks meanwhile, the connection breaks, and the client notices.
pub fn stretch(file: File, start: u64, length: u64, download: Download) -> Body {
    let mut stretch = Stretch {
        file: Arc::new(file),
        next: start,
        end: start + length,
        ahead: None,
        sent: 0,
        total: length,
        progress: Progress::starting(Instant::now()),
        download,
        over: false,
    };
    stretch.read_ahead();
    Body::from_stream(stretch)
}

struct Stretch {
    file: Arc<File>,
    next: u64,
    end: u64,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
    sent: u64,
    total: u64,
    progress: Progress,
    download: Download,
    over: bool,
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

    fn publish_progress(&mut self) {
        let path = || self.download.path.clone();
        if self.sent == self.total {
            self.over = true;
            self.download.publish(Milestone::Downloaded { path: path(), bytes: self.total });
        } else if self.progress.is_due(Instant::now()) {
            self.download.publish(Milestone::Download { path: path(), sent: self.sent, total: self.total });
        }
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
                self.sent += chunk.len() as u64;
                self.publish_progress();
                Poll::Ready(Some(Ok(chunk)))
            }
            Err(error) => {
                let (path, cause) = (&self.download.path, Chain(&error));
                log::error!("HTTP: reading {path} failed in the middle: {cause}; the download is broken off");
                self.ahead = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        if !self.over && self.total > 0 {
            let Download { path, .. } = &self.download;
            self.download.publish(Milestone::Interrupted { path: path.clone(), sent: self.sent, total: self.total });
        }
    }
}
