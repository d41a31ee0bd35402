//! The reading thread: fetches, unpacks, and looks at what it got before anything is erased.

use super::buffer::Buffer;
use super::chunks::Chunks;
use super::format::Format;
use super::input::{Input, Shared};
use super::patience::Patience;
use super::qcow2::walk::{File, walk};
use super::qcow2::{self, Qcow2Error};
use super::sniff::{self, Content};
use super::source::{Source, Tally};
use super::{ImageError, Settings};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

pub const SECTOR: u64 = 512;

/// Messages from the reading thread to the writing one.
pub enum Event {
    Opened(Opened),
    Data {
        at: u64,
        buffer: Buffer,
    },
    Zeros {
        at: u64,
        length: u64,
    },
    /// The image is complete, with the hash of what was downloaded.
    End {
        digest: Option<String>,
    },
    Failed {
        error: ImageError,
        patience: Option<Patience>,
    },
}

/// The image has begun.
#[derive(Debug, Clone)]
pub struct Opened {
    pub format: Format,
    pub qcow2: bool,
    /// What it holds, for a person. `None` if its start comes later, and is looked at before it is written.
    pub content: Option<&'static str>,
    pub size: Option<u64>,
    /// What is known of its first bytes.
    pub start: Vec<u8>,
}

/// Why the reading thread ends early.
pub enum Stop {
    /// The writer has ended, and has reported why.
    WriterGone,
    Failed(ImageError),
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Self {
        Self::Failed(error)
    }
}

pub struct Reader {
    pub settings: Settings,
    pub patience: Patience,
    pub tally: Arc<Tally>,
    pub events: SyncSender<Event>,
    pub pool: Receiver<Buffer>,
}

impl Reader {
    pub fn run(self) {
        let Settings { urls, web, checksum, .. } = &self.settings;
        let opened = Source::open(urls, web, self.patience.clone(), checksum.as_ref(), self.tally.clone());
        let source = match opened {
            Ok(source) => Shared(Rc::new(RefCell::new(source))),
            Err(error) => {
                let _ = self.events.send(Event::Failed { error: error.into(), patience: None });
                return;
            }
        };
        let last = match self.stream(&source) {
            Ok(()) => Event::End { digest: source.0.borrow_mut().digest() },
            Err(Stop::Failed(error)) => Event::Failed { error, patience: source.0.borrow().patience().cloned() },
            Err(Stop::WriterGone) => return,
        };
        let _ = self.events.send(last); // fails only if the writer has ended
    }

    pub fn send(&self, event: Event) -> Result<(), Stop> {
        self.events.send(event).map_err(|_| Stop::WriterGone)
    }

    pub fn empty_buffer(&self) -> Result<Buffer, Stop> {
        self.pool.recv().map_err(|_| Stop::WriterGone)
    }

    fn stream(&self, source: &Shared) -> Result<(), Stop> {
        let mut input = Input::open(&self.settings, source)?;
        if input.start().is_empty() {
            return Err(ImageError::Empty { url: self.settings.url.clone(), erased: false }.into());
        }
        if !self.settings.as_it_is && sniff::look(input.start()) == Content::Qcow2 {
            return self.qcow2(input);
        }
        let content = judge(&self.settings, input.format, input.start())?;
        let Input { format, size, .. } = input;
        if format == Format::Raw {
            // A packed image may go on after what its first frame announces.
            size.map_or(Ok(()), |size| self.whole_sectors(size))?;
        }
        let start = input.start().to_vec();
        self.send(Event::Opened(Opened { format, qcow2: false, content: Some(content), size, start }))?;
        let mut at = 0;
        loop {
            let mut buffer = self.empty_buffer()?;
            let got = input.next(&mut buffer)?;
            if got == 0 {
                break;
            }
            self.send(Event::Data { at, buffer })?;
            at += got as u64;
        }
        self.whole_sectors(at)?;
        Ok(input.drain()?)
    }

    fn qcow2(&self, mut input: Input) -> Result<(), Stop> {
        let named = |source: Qcow2Error| ImageError::Qcow2 { url: self.settings.url.clone(), source };
        let header = qcow2::Header::parse(input.start()).map_err(named)?;
        self.whole_sectors(header.size)?;
        let (format, size) = (input.format, Some(header.size));
        let opened = Opened { format, qcow2: true, content: None, size, start: Vec::new() };
        let mut chunks = Chunks::new(self, opened);
        let mut file = Positioned { input: &mut input, url: &self.settings.url };
        walk(header, &mut file, &mut chunks)?;
        chunks.finish()?;
        Ok(input.drain()?)
    }

    fn whole_sectors(&self, size: u64) -> Result<(), ImageError> {
        if size.is_multiple_of(SECTOR) || self.settings.as_it_is {
            return Ok(());
        }
        Err(ImageError::CutSector { url: self.settings.url.clone(), size })
    }
}

/// Decides by the start of the disk's content whether this is an image, and says what it is.
pub fn judge(settings: &Settings, packed: Format, start: &[u8]) -> Result<&'static str, ImageError> {
    if settings.as_it_is {
        return Ok("what it is, unchecked");
    }
    let (name, remedy) = match sniff::look(start) {
        Content::Disk(name) => return Ok(name),
        Content::Qcow2 => ("a qcow2 image inside of another one", "unpack it"),
        Content::Other { name, remedy } => (name, remedy),
    };
    Err(ImageError::NotAnImage { url: settings.url.clone(), packed, name, remedy, erased: false })
}

/// The input for `walk`, whose errors end the thread.
struct Positioned<'i> {
    input: &'i mut Input,
    url: &'i str,
}

impl File for Positioned<'_> {
    type Error = Stop;

    fn seek(&mut self, to: u64) -> Result<(), Stop> {
        Ok(self.input.seek(to)?)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        Ok(self.input.fill(buffer)?)
    }

    fn damaged(&self, source: Qcow2Error) -> Stop {
        ImageError::Qcow2 { url: self.url.to_owned(), source }.into()
    }
}
