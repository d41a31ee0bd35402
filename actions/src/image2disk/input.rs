//! The image's data after unpacking, at a position that can move.

use super::buffer::Buffer;
use super::decoder::{self, Decoder, PEEK};
use super::format::{Format, ZstdHeader};
use super::frames::FRAME_MAX;
use super::source::Source;
use super::source_error::SourceError;
use super::{ImageError, Settings, sniff};
use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

/// A gap up to this size is read, and the connection goes on. A larger one needs a new request.
const GAP: u64 = 1 << 20;
const SCRATCH: usize = 16 << 10;

/// The decoder reads the source, and the reading thread reads the rest after it.
#[derive(Clone)]
pub struct Shared(pub Rc<RefCell<Source>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

pub struct Input {
    decoder: Decoder<io::Chain<Cursor<Vec<u8>>, Shared>>,
    source: Shared,
    url: String,
    pub format: Format,
    /// Of the unpacked data, if known before it is unpacked.
    pub size: Option<u64>,
    /// Read ahead, and not taken yet.
    start: Cursor<Vec<u8>>,
    at: u64,
    /// What was jumped over is neither hashed nor counted.
    jumped: bool,
}

impl Input {
    pub fn open(settings: &Settings, source: &Shared) -> Result<Self, ImageError> {
        let url = settings.url.clone();
        let mut first = vec![0; PEEK];
        let got = fill(&mut source.clone(), &mut first).map_err(|error| failed(error, &url, Format::Raw))?;
        first.truncate(got);
        let format = Format::decide(settings.compressed, &url, &first)
            .map_err(|source| ImageError::Format { url: url.clone(), source })?;
        let size = match format {
            Format::Raw => source.0.borrow().total(),
            // A small frame is the first of many.
            Format::Zstd => ZstdHeader::parse(&first).and_then(|header| header.content).filter(|size| *size > FRAME_MAX),
            _ => None,
        };
        let data = Cursor::new(first.clone()).chain(source.clone());
        let decoder = Decoder::new(format, &first, data, decoder::window_limit())?;
        let (source, start) = (source.clone(), Cursor::new(Vec::new()));
        let mut input = Self { decoder, source, url, format, size, start, at: 0, jumped: false };
        let mut start = vec![0; sniff::START];
        let got = input.fill(&mut start)?;
        start.truncate(got);
        (input.start, input.at) = (Cursor::new(start), 0);
        Ok(input)
    }

    /// The first bytes of the data.
    pub fn start(&self) -> &[u8] {
        self.start.get_ref()
    }

    /// Bytes after the compressed data also count for length and checksum.
    pub fn drain(&mut self) -> Result<(), ImageError> {
        if self.jumped {
            return Ok(());
        }
        let rest = io::copy(&mut self.decoder, &mut io::sink()).and_then(|_| io::copy(&mut self.source, &mut io::sink()));
        rest.map(|_| ()).map_err(|error| failed(error, &self.url, self.format))
    }

    fn jump(&mut self, to: u64) -> Result<(), ImageError> {
        let refused = |reason| ImageError::Sequential { url: self.url.clone(), reason };
        if self.format != Format::Raw {
            return Err(refused("it is compressed as a whole"));
        }
        if self.source.0.borrow().is_hashed() {
            return Err(refused("its checksum is over the file in order"));
        }
        self.source.0.borrow_mut().seek(to)?;
        self.decoder = Decoder::Raw(Cursor::new(Vec::new()).chain(self.source.clone()));
        (self.start, self.at, self.jumped) = (Cursor::new(Vec::new()), to, true);
        Ok(())
    }

    /// Goes on at this byte of the data.
    pub fn seek(&mut self, to: u64) -> Result<(), ImageError> {
        let can_jump = self.format == Format::Raw && !self.source.0.borrow().is_hashed();
        if to < self.at || can_jump && to - self.at > GAP {
            return self.jump(to);
        }
        let mut scratch = [0; SCRATCH];
        while self.at < to {
            let length = usize::try_from(to - self.at).map_or(SCRATCH, |left| left.min(SCRATCH));
            if self.fill(scratch.get_mut(..length).unwrap_or_default())? < length {
                break; // the next read finds the end, too
            }
        }
        Ok(())
    }

    /// The next data in `buffer`, and how much it is. 0 is the end.
    pub fn next(&mut self, buffer: &mut Buffer) -> Result<usize, ImageError> {
        let is_ready = self.start.position() < self.start.get_ref().len() as u64;
        if !is_ready && self.decoder.exchange(buffer).map_err(|error| failed(error, &self.url, self.format))? {
            self.at += buffer.data().len() as u64;
            return Ok(buffer.data().len());
        }
        let got = self.fill(buffer.space())?;
        buffer.set_len(got);
        Ok(got)
    }

    /// Reads until the buffer is full or the data ends.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let ready = self.start.read(buffer).unwrap_or(0); // a cursor never fails
        let rest = buffer.get_mut(ready..).unwrap_or_default();
        let got = fill(&mut self.decoder, rest).map_err(|error| failed(error, &self.url, self.format))?;
        self.at += (ready + got) as u64;
        Ok(ready + got)
    }
}

fn failed(error: io::Error, url: &str, format: Format) -> ImageError {
    match error.downcast::<SourceError>() {
        Ok(error) => error.into(),
        Err(error) if decoder::wants_too_much(&error) => {
            ImageError::Window { format, needed: None, limit: decoder::window_limit() }
        }
        Err(source) => ImageError::Decode { url: url.to_owned(), format, source },
    }
}

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
