//! One thread fetches and decodes, and the caller's thread writes. Buffers go round between them.

use super::buffer::Buffer;
use super::decoder::{self, Decoder, PEEK};
use super::format::{Format, ZstdHeader};
use super::patience::Patience;
use super::progress::Progress;
use super::source::{Source, Tally};
use super::source_error::SourceError;
use super::target::Target;
use super::writer::Writer;
use super::{ImageError, Settings};
use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

const CHUNK: usize = 512 << 10;
/// One is filled, one is written, and one waits.
const BUFFERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub read: u64,
    pub written: u64,
    pub format: Format,
}

/// Messages from the reading thread to the writing one.
enum Event {
    /// The image has begun: its format, and its size if known.
    Opened {
        format: Format,
        size: Option<u64>,
    },
    Data(Buffer),
    /// The image is complete, with the hash of what was downloaded.
    End {
        digest: Option<String>,
    },
    Failed {
        error: ImageError,
        patience: Option<Patience>,
    },
}

/// Writes the image once, from its first byte. Nothing is erased before the image has begun and fits.
pub fn write<T: Target>(
    settings: &Settings,
    target: &mut T,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<Totals, ImageError> {
    let tally = Arc::new(Tally::default());
    let (events, inbox) = sync_channel(BUFFERS + 2);
    let (empties, pool) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = empties.send(Buffer::new(CHUNK)); // the channel has room for all of them
    }
    let reader = Reader { settings: settings.clone(), patience: patience.clone(), tally: tally.clone(), events, pool };
    // The thread is not joined. If the disk fails, a reader that waits for the network must not delay the report.
    thread::spawn(move || reader.run());

    let format = match inbox.recv() {
        Ok(Event::Opened { format, size }) => match size {
            Some(size) if size > target.size() => return Err(target.too_large(size, true)),
            _ => format,
        },
        Ok(Event::Failed { error, .. }) => return Err(error),
        _ => return Err(ImageError::ReaderGone),
    };
    let mut writer = Writer::begin(target)?;
    loop {
        match inbox.recv().map_err(|_| ImageError::ReaderGone)? {
            Event::Data(buffer) => {
                writer.write(buffer.data())?;
                let _ = empties.try_send(buffer); // fails only if the reader has ended
                let total = Some(tally.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
                progress.report(tally.read.load(Ordering::Relaxed), total, Instant::now());
            }
            Event::End { digest } => {
                writer.settle()?;
                verify(settings, digest)?;
                let written = writer.finish()?;
                let read = tally.read.load(Ordering::Relaxed);
                progress.complete(read);
                return Ok(Totals { read, written, format });
            }
            Event::Failed { error, patience: left } => {
                if let Some(left) = left {
                    *patience = left;
                }
                return Err(error);
            }
            Event::Opened { .. } => return Err(ImageError::ReaderGone),
        }
    }
}

fn verify(settings: &Settings, digest: Option<String>) -> Result<(), ImageError> {
    match (&settings.sha256, digest) {
        (Some(expected), Some(found)) if *expected != found => Err(ImageError::Checksum { expected: expected.clone(), found }),
        (Some(expected), None) => Err(ImageError::Checksum { expected: expected.clone(), found: "none".into() }),
        _ => Ok(()),
    }
}

struct Reader {
    settings: Settings,
    patience: Patience,
    tally: Arc<Tally>,
    events: SyncSender<Event>,
    pool: Receiver<Buffer>,
}

/// The decoder reads the source, and the reading thread reads the rest after it.
#[derive(Clone)]
struct Shared(Rc<RefCell<Source>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// The writer has ended, and has reported why.
struct WriterGone;

impl Reader {
    fn run(self) {
        let Settings { url, tls, sha256, .. } = &self.settings;
        let opened = Source::open(url, tls, self.patience.clone(), sha256.is_some(), self.tally.clone());
        let source = match opened {
            Ok(source) => Shared(Rc::new(RefCell::new(source))),
            Err(error) => {
                let _ = self.events.send(Event::Failed { error: error.into(), patience: None });
                return;
            }
        };
        let last = match self.stream(&source) {
            Ok(Ok(())) => Event::End { digest: source.0.borrow_mut().digest() },
            Ok(Err(error)) => Event::Failed { error, patience: source.0.borrow().patience().cloned() },
            Err(WriterGone) => return,
        };
        let _ = self.events.send(last); // fails only if the writer has ended
    }

    fn stream(&self, source: &Shared) -> Result<Result<(), ImageError>, WriterGone> {
        let (mut decoder, format, size) = match self.open_decoder(source) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        self.events.send(Event::Opened { format, size }).map_err(|_| WriterGone)?;
        let mut empty = true;
        loop {
            let mut buffer = self.pool.recv().map_err(|_| WriterGone)?;
            let got = match fill(&mut decoder, buffer.space()) {
                Ok(got) => got,
                Err(error) => return Ok(Err(self.read_failed(error, format))),
            };
            if got == 0 {
                break;
            }
            empty = false;
            buffer.set_len(got);
            self.events.send(Event::Data(buffer)).map_err(|_| WriterGone)?;
        }
        if empty {
            return Ok(Err(ImageError::Empty(self.settings.url.clone())));
        }
        // Bytes after the compressed data also count for length and checksum.
        let rest = io::copy(&mut source.clone(), &mut io::sink());
        Ok(rest.map(|_| ()).map_err(|error| self.read_failed(error, format)))
    }

    #[allow(clippy::type_complexity)]
    fn open_decoder(
        &self,
        source: &Shared,
    ) -> Result<(Decoder<io::Chain<Cursor<Vec<u8>>, Shared>>, Format, Option<u64>), ImageError> {
        let mut first = vec![0; PEEK];
        let got = fill(&mut source.clone(), &mut first).map_err(|error| self.read_failed(error, Format::Raw))?;
        first.truncate(got);
        let url = &self.settings.url;
        let format = Format::decide(self.settings.compressed, url, &first)
            .map_err(|source| ImageError::Format { url: url.clone(), source })?;
        let size = match format {
            Format::Raw => source.0.borrow().total(),
            Format::Zstd => ZstdHeader::parse(&first).and_then(|header| header.content),
            _ => None,
        };
        let input = Cursor::new(first.clone()).chain(source.clone());
        Ok((Decoder::new(format, &first, input, decoder::window_limit())?, format, size))
    }

    fn read_failed(&self, error: io::Error, format: Format) -> ImageError {
        match error.downcast::<SourceError>() {
            Ok(error) => error.into(),
            Err(error) if decoder::wants_too_much(&error) => {
                ImageError::Window { format, needed: None, limit: decoder::window_limit() }
            }
            Err(source) => ImageError::Decode { url: self.settings.url.clone(), format, source },
        }
    }
}

/// Reads until the buffer is full or the data ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(space) = buffer.get_mut(filled..).filter(|space| !space.is_empty()) {
        match input.read(space) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
