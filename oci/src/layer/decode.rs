//! Decodes the bytes of a layer to those of its archive.

use std::error::Error;
use std::io::{self, BufRead, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::LayerError;
use super::sys::{Decoder, Refused};
use crate::archive::{ArchiveError, fill};

/// 8 MiB: what `zstd -19` uses. A larger window would cost the machine as much memory while it unpacks.
const ZSTD_WINDOW_LOG: u8 = 23;
pub const WINDOW: u64 = 1 << ZSTD_WINDOW_LOG;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Formats that containers do not use. Without these names they would look like damaged archives.
const OTHERS: [(&[u8], &str); 4] =
    [(b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress")];

/// Decides by the bytes, not by the media type, which some tools set wrongly. No bytes are an empty layer. A large window may
/// be a nameless file in `folder`.
pub fn decoder<'a>(mut stream: impl BufRead + 'a, folder: &Path) -> Result<Box<dyn Read + 'a>, LayerError> {
    // The first bytes may come one by one.
    let mut first = [0; 5];
    let count = fill(&mut stream, &mut first).map_err(LayerError::Read)?;
    let head = first.get(..count).unwrap_or_default().to_vec();
    let is_zstd = head.starts_with(ZSTD) || matches!(head.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(LayerError::Compression(name));
    }
    let is_gzip = head.starts_with(GZIP);
    let stream = io::Cursor::new(head).chain(stream);
    if is_gzip {
        Ok(Box::new(Members { member: Some(GzDecoder::new(stream)) }))
    } else if is_zstd {
        let decoder = Decoder::new(folder, ZSTD_WINDOW_LOG).map_err(LayerError::Read)?;
        Ok(Box::new(Frames { stream, decoder, inside: false }))
    } else {
        Ok(Box::new(stream))
    }
}

/// The members of a gzip file. pigz and estargz write several. Like gzip, this ignores other data after them, which the
/// digest includes.
struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let mut stream = self.member.take().map(GzDecoder::into_inner);
            if let Some(stream) = stream.take_if(|stream| stream.fill_buf().is_ok_and(|rest| rest.first() == GZIP.first())) {
                self.member = Some(GzDecoder::new(stream));
            }
        }
        Ok(0)
    }
}

/// The frames of a zstd file, one behind the other. Skippable ones have no content.
struct Frames<R> {
    stream: R,
    decoder: Decoder,
    inside: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.stream.fill_buf()?;
            let ended = input.is_empty();
            if buffer.is_empty() || (ended && !self.inside) {
                return Ok(0);
            }
            let step = self.decoder.step(input, buffer)?;
            self.stream.consume(step.read);
            self.inside = step.inside;
            if step.written > 0 {
                return Ok(step.written);
            }
            if ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its end in the middle of a zstd frame"));
            }
        }
    }
}

/// Looks through every error between the decoder and this crate.
pub fn is_window(error: &ArchiveError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        // The `source` of an io::Error skips the error that it wraps.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map_or(error, |inner| inner as &(dyn Error + 'static));
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return refused.is_about_window();
        }
        cause = inner.source();
    }
    false
}
