//! A raw image in frames of zstd. Each has its size and a checksum, and decodes without the others, so that several cores can
//! unpack it at once. Threads compress, and the frames leave in order.

use super::{Content, is_zero};
use crate::image2disk::Progress;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;
use zstd::zstd_safe::CParameter;

/// The window is as large, so this is also what a decoder needs.
pub const FRAME: u64 = 1 << 20;
/// Each one has about three frames in memory.
const THREADS_MAX: usize = 2;

type Frame = io::Result<Vec<u8>>;

pub struct Frames<'p> {
    /// Thread `n` makes the frames `n`, `n + count` and so on.
    threads: Vec<Receiver<Frame>>,
    next: u64,
    frames: u64,
    size: u64,
    current: Vec<u8>,
    at: usize,
    progress: &'p mut Progress,
}

impl<'p> Frames<'p> {
    pub fn start(content: Content, level: i32, progress: &'p mut Progress) -> io::Result<Self> {
        let size = content.source.size;
        let frames = size.div_ceil(FRAME);
        let count = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let content = Arc::new(content);
        let threads = (0..count).map(|number| {
            let (frame, frames) = sync_channel(1);
            let content = content.clone();
            // It ends when the receiver is gone.
            thread::Builder::new().spawn(move || compress_all(&content, number as u64, count as u64, level, &frame))?;
            Ok(frames)
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { threads, next: 0, frames, size, current: Vec::new(), at: 0, progress })
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.current.len() {
            if self.next >= self.frames {
                self.progress.complete(self.size);
                return Ok(0);
            }
            let thread = usize::try_from(self.next % self.threads.len().max(1) as u64).unwrap_or_default();
            let frame = self.threads.get(thread).and_then(|thread| thread.recv().ok());
            self.current = frame.unwrap_or_else(|| Err(io::Error::other("a thread that compresses has ended")))?;
            self.at = 0;
            self.next += 1;
            self.progress.report((self.next * FRAME).min(self.size), Some(self.size), Instant::now());
        }
        let rest = self.current.get(self.at..).unwrap_or_default();
        let got = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..got), rest.get(..got)) {
            to.copy_from_slice(from);
        }
        self.at += got;
        Ok(got)
    }
}

fn compress_all(content: &Content, first: u64, step: u64, level: i32, frames: &SyncSender<Frame>) {
    let result = (|| {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        let mut data = vec![0; FRAME as usize];
        let mut empty: Option<Vec<u8>> = None;
        let mut at = first * FRAME;
        while at < content.source.size {
            let length = (content.source.size - at).min(FRAME) as usize;
            let part = data.get_mut(..length).unwrap_or_default();
            let is_read = content.fill(at, part)?;
            let is_empty = length as u64 == FRAME && (!is_read || is_zero(part));
            let frame = match &empty {
                Some(frame) if is_empty => frame.clone(),
                _ => compressor.compress(part)?,
            };
            if is_empty && empty.is_none() {
                empty = Some(frame.clone());
            }
            if frames.send(Ok(frame)).is_err() {
                return Ok(());
            }
            at += step * FRAME;
        }
        Ok(())
    })();
    if let Err(error) = result {
        let _ = frames.send(Err(error)); // fails only if the receiver has ended
    }
}
