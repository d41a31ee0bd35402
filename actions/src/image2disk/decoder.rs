//! The decoder for each format, within this machine's free memory.

use super::ImageError;
use super::buffer::Buffer;
use super::format::{Format, ZstdHeader};
use super::frames::{self, Frames};
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use std::io::{self, BufRead, BufReader, Read};

/// Enough of an image's start for its magic bytes and its zstd header.
pub const PEEK: usize = 64;
const MIB: u64 = 1 << 20;
/// zstd and xz use more only by explicit options.
const LARGEST_WINDOW: u64 = 256 * MIB;

pub enum Decoder<R: Read> {
    Raw(R),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Bzip2(Box<MultiBzDecoder<R>>),
    Xz(Box<XzReader<BufReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
    Frames(Box<Frames<R>>),
    Lz4(Box<FrameDecoder<BufReader<Endless<R>>>>),
    Lzma(Lzma<R>),
}

/// The decoder reads its header when it is made, which may fail for the input's reasons. So it is made by the first read.
pub enum Lzma<R: Read> {
    Start { input: Option<R>, limit: u32 },
    Running(Box<LzmaReader<BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    /// `first` is the start of `input`'s data, and `limit` is memory for the decoder's window.
    pub fn new(format: Format, first: &[u8], input: R, limit: u64) -> Result<Self, ImageError> {
        // A zstd decoder fails to start for this reason only.
        let no_memory = |_| ImageError::Window { format, needed: None, limit };
        Ok(match format {
            Format::Raw => Self::Raw(input),
            Format::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::new(input)))),
            Format::Bzip2 => Self::Bzip2(Box::new(MultiBzDecoder::new(input))),
            Format::Xz => Self::Xz(Box::new(XzReader::new_mem_limit(BufReader::new(input), true, kib(limit)))),
            Format::Lz4 => Self::Lz4(Box::new(FrameDecoder::new(BufReader::new(Endless { input, ended: false })))),
            Format::Lzma => Self::Lzma(Lzma::Start { input: Some(input), limit: kib(limit) }),
            Format::Zstd => {
                if let Some(ZstdHeader { window, .. }) = ZstdHeader::parse(first)
                    && window > limit
                {
                    return Err(ImageError::Window { format, needed: Some(window), limit });
                }
                let (window_log, workers) = (limit.max(1024).ilog2().min(31), frames::workers());
                if workers > 1 && frames::is_of_frames(first) {
                    return Ok(Self::Frames(Box::new(Frames::new(input, workers, window_log))));
                }
                let mut decoder = zstd::Decoder::new(input).map_err(no_memory)?;
                decoder.window_log_max(window_log).map_err(no_memory)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }
}

impl<R: Read> Decoder<R> {
    /// As [`Frames::exchange`]. Other formats have no whole parts.
    pub fn exchange(&mut self, empty: &mut Buffer) -> io::Result<bool> {
        if let Self::Frames(frames) = self { frames.exchange(empty) } else { Ok(false) }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Raw(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Bzip2(input) => input.read(buffer),
            Self::Xz(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
            Self::Frames(input) => input.read(buffer),
            Self::Lz4(frames) if frames.get_ref().get_ref().ended => Ok(0),
            Self::Lz4(frames) => loop {
                let got = frames.read(buffer)?;
                if got > 0 || buffer.is_empty() {
                    return Ok(got);
                }
                // A frame has ended, and another one may follow.
                if let Err(error) = frames.get_mut().fill_buf() {
                    return if frames.get_ref().get_ref().ended { Ok(0) } else { Err(error) };
                }
            },
            Self::Lzma(lzma) => lzma.read(buffer),
        }
    }
}

impl<R: Read> Lzma<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Self::Running(reader) => return reader.read(buffer),
                Self::Start { input, limit } => {
                    let Some(input) = input.take() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                    *self = Self::Running(Box::new(LzmaReader::new_mem_limit(BufReader::new(input), *limit, None)?));
                }
            }
        }
    }
}

/// Its end is an error. The decoder of lz4 takes an end between two blocks for the end of the frame.
pub struct Endless<R> {
    input: R,
    ended: bool,
}

impl<R: Read> Read for Endless<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        if got == 0 && !buffer.is_empty() {
            self.ended = true;
            return Err(io::Error::other("the data ends inside of a frame"));
        }
        Ok(got)
    }
}

fn kib(limit: u64) -> u32 {
    u32::try_from(limit / 1024).unwrap_or(u32::MAX - 1)
}

/// xz names its dictionary size in the middle of the data, and so does zstd for later frames.
pub fn wants_too_much(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("too much memory")
}

/// Half of the free memory. The rest is for the writes and for other programs.
pub fn window_limit() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    limit_of(&text)
}

fn limit_of(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    // Unknown without /proc. zstd uses 8 MiB up to level 19.
    kib.map_or(8 * MIB, |kib| (kib * 1024 / 2).min(LARGEST_WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn half_of_the_free_memory_is_the_limit() {
        assert_eq!(limit_of("MemTotal: 96000 kB\nMemAvailable:   60000 kB\n"), 30_000 * 1024);
        assert_eq!(limit_of("MemAvailable: 64000000 kB\n"), LARGEST_WINDOW);
        assert_eq!(limit_of(""), 8 * MIB);
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused_with_both_numbers() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"disk").unwrap();
        let frame = encoder.finish().unwrap();
        let Err(error) = Decoder::new(Format::Zstd, &frame, &frame[..], 30 * MIB) else { panic!("taken") };
        let text = error.to_string();
        assert!(
            text.contains("zstd needs a window of 134217728 bytes") && text.contains("31457280 bytes are available"),
            "{text}"
        );
    }

    #[test]
    fn a_window_that_shows_later_is_not_damage() {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        options.lzma_options.dict_size = 64 << 20;
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(b"disk").unwrap();
        let mut large = zstd::Encoder::new(Vec::new(), 1).unwrap();
        large.window_log(27).unwrap();
        large.write_all(b"disk").unwrap();
        let frames = [zstd::encode_all(&b"disk"[..], 1).unwrap(), large.finish().unwrap()].concat();
        for (format, packed) in [(Format::Xz, xz.finish().unwrap()), (Format::Zstd, frames)] {
            let mut decoder = Decoder::new(format, &packed, &packed[..], 30 * MIB).ok().unwrap();
            let error = decoder.read_to_end(&mut Vec::new()).unwrap_err();
            assert!(wants_too_much(&error), "{format}: {error}");
        }
        let cut = zstd::encode_all(&[7u8; 5000][..], 1).unwrap();
        let mut decoder = Decoder::new(Format::Zstd, &cut, &cut[..cut.len() - 1], 30 * MIB).ok().unwrap();
        assert!(!wants_too_much(&decoder.read_to_end(&mut Vec::new()).unwrap_err()));
    }
}
