//! Files for other actions: from the web or the disk, and unpacked if that is wanted.

use super::checksum::{Checksum, Hasher};
use super::decoder::{self, Decoder, PEEK};
use super::format::{Format, FormatError, ZstdHeader};
use super::http::Web;
use super::patience::Patience;
use super::source::{Source, Tally, checked};
use super::source_error::SourceError;
use crate::variables::{VariableError, Variables};
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("the certificates")]
    Trust(#[from] trust::TrustError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{url}")]
    Format {
        url: String,
        #[source]
        source: FormatError,
    },
    #[error(
        "to unpack {url}, {format} needs more memory than the {limit} bytes that are available; compress it with a smaller window \
         (zstd -19 without --ultra or --long, xz -6)"
    )]
    Window { url: String, format: Format, limit: u64 },
    #[error("{url} is damaged or cut off: its {format} data does not decode")]
    Decode {
        url: String,
        format: Format,
        #[source]
        source: io::Error,
    },
    #[error("the thread that reads {0} ended without a result")]
    Gone(String),
}

/// What is read, and how.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Mirrors of one file.
    pub urls: Vec<String>,
    /// As [`Format::decide`] has it. `Some(false)` unpacks nothing.
    pub compressed: Option<bool>,
    /// Whose algorithm hashes the file as it is downloaded.
    pub checksum: Option<Checksum>,
    pub web: Web,
    pub patience: Patience,
}

/// How servers are reached by the variables of an action.
pub fn web(variables: &Variables) -> Result<Web, StreamError> {
    Web::read(variables)
}

/// A file as it is.
///
/// # Errors
/// If it cannot be opened for as long as `patience`.
pub fn open(url: &str, variables: &Variables, patience: Duration) -> Result<impl Read + use<>, StreamError> {
    let (web, patience) = (web(variables)?, Patience::new(patience, Instant::now()));
    Ok(Source::open(&checked("URL", url)?, &web, patience, None, Arc::default())?)
}

enum Message {
    Opened(Format),
    Data(Vec<u8>, usize),
    End(Option<String>),
    Failed(Box<StreamError>),
}

/// The unpacked bytes, read ahead by a thread that fetches and decodes.
pub struct Unpacked {
    inbox: Receiver<Message>,
    empties: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    length: usize,
    url: String,
    failure: Option<Box<StreamError>>,
    ended: bool,
    /// Of the file as it was downloaded, at its end.
    pub digest: Option<String>,
    pub format: Format,
    pub tally: Arc<Tally>,
}

impl Unpacked {
    /// # Errors
    /// What cannot be fetched, or is packed otherwise than `wanted` says.
    pub fn open(wanted: Wanted) -> Result<Self, StreamError> {
        let tally = Arc::new(Tally::default());
        let (events, inbox) = sync_channel(CHUNKS + 2);
        let (empties, pool) = sync_channel(CHUNKS);
        for _ in 0..CHUNKS {
            let _ = empties.send(vec![0; CHUNK]); // the channel has room for all of them
        }
        let url = wanted.urls.first().cloned().unwrap_or_default();
        let its = tally.clone();
        // It is not joined: it ends when its channels close.
        thread::spawn(move || {
            let last = match read(&wanted, its, &events, &pool) {
                Ok(Ended::Whole(digest)) => Message::End(digest),
                Ok(Ended::ReaderGone) => return,
                Err(error) => Message::Failed(Box::new(error)),
            };
            let _ = events.send(last);
        });
        match inbox.recv() {
            Ok(Message::Opened(format)) => {
                let (failure, ended, digest) = (None, false, None);
                Ok(Self { inbox, empties, chunk: Vec::new(), at: 0, length: 0, url, failure, ended, digest, format, tally })
            }
            Ok(Message::Failed(error)) => Err(*error),
            _ => Err(StreamError::Gone(url)),
        }
    }

    /// Why a read failed.
    pub fn failure(&mut self) -> Option<StreamError> {
        self.failure.take().map(|error| *error)
    }

    fn next(&mut self) -> io::Result<()> {
        let old = std::mem::take(&mut self.chunk);
        if !old.is_empty() {
            let _ = self.empties.try_send(old); // fails only if the thread has ended
        }
        (self.at, self.length) = (0, 0);
        let failed = match self.inbox.recv() {
            Ok(Message::Data(chunk, length)) => {
                (self.chunk, self.length) = (chunk, length);
                return Ok(());
            }
            Ok(Message::End(digest)) => {
                (self.digest, self.ended) = (digest, true);
                return Ok(());
            }
            Ok(Message::Failed(error)) => error,
            Ok(Message::Opened(_)) | Err(_) => Box::new(StreamError::Gone(self.url.clone())),
        };
        (self.failure, self.ended) = (Some(failed), true);
        Err(io::Error::other("its bytes could not be had"))
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.length && !self.ended {
            self.next()?;
        }
        let mut left = self.chunk.get(self.at..self.length).unwrap_or_default();
        let got = left.read(buffer)?;
        self.at += got;
        Ok(got)
    }
}

enum Ended {
    /// With the hash of the file, if one was wanted.
    Whole(Option<String>),
    ReaderGone,
}

fn read(
    wanted: &Wanted,
    tally: Arc<Tally>,
    events: &SyncSender<Message>,
    pool: &Receiver<Vec<u8>>,
) -> Result<Ended, StreamError> {
    let Wanted { urls, compressed, checksum, web, patience } = wanted;
    let url = urls.first().cloned().unwrap_or_default();
    let mut source = Source::open(urls, web, patience.clone(), checksum.as_ref(), tally)?;
    let mut first = vec![0; PEEK];
    let got = oci::archive::fill(&mut source, &mut first).map_err(|error| failed(error, &url, Format::Raw))?;
    first.truncate(got);
    let format = Format::decide(*compressed, &url, &first).map_err(|source| StreamError::Format { url: url.clone(), source })?;
    let limit = decoder::window_limit();
    let window = || StreamError::Window { url: url.clone(), format, limit };
    if format == Format::Zstd && ZstdHeader::parse(&first).is_some_and(|header| header.window > limit) {
        return Err(window());
    }
    let start = Cursor::new(first.clone()).chain(&mut source);
    let mut decoder = Decoder::new(format, &first, start, limit).map_err(|_| window())?;
    if events.send(Message::Opened(format)).is_err() {
        return Ok(Ended::ReaderGone);
    }
    loop {
        let Ok(mut chunk) = pool.recv() else { return Ok(Ended::ReaderGone) };
        let got = oci::archive::fill(&mut decoder, &mut chunk).map_err(|error| failed(error, &url, format))?;
        if got == 0 {
            break;
        }
        if events.send(Message::Data(chunk, got)).is_err() {
            return Ok(Ended::ReaderGone);
        }
    }
    drop(decoder);
    // Bytes after the compressed data count for length and checksum, too.
    io::copy(&mut source, &mut io::sink()).map_err(|error| failed(error, &url, format))?;
    Ok(Ended::Whole(source.digest()))
}

fn failed(error: io::Error, url: &str, format: Format) -> StreamError {
    match error.downcast::<SourceError>() {
        Ok(error) => error.into(),
        Err(error) if decoder::wants_too_much(&error) => {
            StreamError::Window { url: url.to_owned(), format, limit: decoder::window_limit() }
        }
        Err(source) => StreamError::Decode { url: url.to_owned(), format, source },
    }
}

/// Passes bytes on and hashes them.
pub struct Hashed<R> {
    pub inner: R,
    pub hash: Option<Hasher>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        if let (Some(hash), Some(data)) = (&mut self.hash, buffer.get(..got)) {
            hash.update(data);
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn wanted(path: &std::path::Path, compressed: Option<bool>) -> Wanted {
        let none = Variables::of([]);
        let (urls, web) = (vec![path.to_str().unwrap().to_owned()], web(&none).unwrap());
        Wanted { urls, compressed, checksum: None, web, patience: Patience::new(Duration::ZERO, Instant::now()) }
    }

    #[test]
    fn packed_bytes_come_unpacked_and_in_order() {
        let plain: Vec<u8> = (0u32..400_000).flat_map(u32::to_le_bytes).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        for (name, packed, format) in [
            ("a", plain.clone(), Format::Raw),
            ("a.gz", gz.finish().unwrap(), Format::Gzip),
            ("a.zst", zstd::encode_all(&plain[..], 1).unwrap(), Format::Zstd),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, packed).unwrap();
            let mut unpacked = Unpacked::open(wanted(&path, None)).unwrap();
            let mut all = Vec::new();
            unpacked.read_to_end(&mut all).unwrap();
            assert!(all == plain && unpacked.format == format, "{name}");
        }
    }

    #[test]
    fn damage_is_reported_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zst");
        let mut packed = zstd::encode_all(&vec![7u8; 3_000_000][..], 1).unwrap();
        packed.truncate(packed.len() - 3);
        std::fs::write(&path, packed).unwrap();
        let mut unpacked = Unpacked::open(wanted(&path, None)).unwrap();
        unpacked.read_to_end(&mut Vec::new()).unwrap_err();
        let error = unpacked.failure().unwrap().to_string();
        assert!(error.contains("a.zst is damaged or cut off: its zstd data"), "{error}");
        std::fs::write(&path, "<html>").unwrap();
        let error = Unpacked::open(wanted(&path, None)).err().unwrap().to_string();
        assert!(error.ends_with("a.zst"), "{error}");
    }
}
