//! How an image is packed. Its first bytes, its name and the variable COMPRESSED say so.

use super::sniff;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Raw,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Lz4,
    Lzma,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    #[error("its name says {0}, but its first bytes do not: is it an error page, or raw (then set COMPRESSED to false)?")]
    NotWhatTheNameSays(Format),
    #[error("COMPRESSED is true, but its first bytes are not those of gzip, bzip2, xz, zstd, lz4 or lzma")]
    NotCompressed,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
        })
    }
}

impl Format {
    /// COMPRESSED=false always means that nothing is unpacked. Otherwise the bytes decide. If the name promises compression and the bytes
    /// differ, that is an error: the data may be an error page.
    pub fn decide(compressed: Option<bool>, url: &str, first: &[u8]) -> Result<Self, FormatError> {
        if compressed == Some(false) {
            return Ok(Self::Raw);
        }
        match (Self::of_bytes(first), Self::of_name(url)) {
            (Some(format), _) => Ok(format),
            (None, Some(named)) => Err(FormatError::NotWhatTheNameSays(named)),
            (None, None) if compressed == Some(true) => Err(FormatError::NotCompressed),
            (None, None) => Ok(Self::Raw),
        }
    }

    fn of_bytes(first: &[u8]) -> Option<Self> {
        Some(match first {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            start if sniff::is_bzip2(start) => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // skippable frames, which pzstd writes in front
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            start if sniff::is_lzma(start) => Self::Lzma,
            _ => return None,
        })
    }

    fn of_name(url: &str) -> Option<Self> {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let (_, suffix) = path.rsplit_once('.')?;
        Some(match suffix.to_ascii_lowercase().as_str() {
            "gz" => Self::Gzip,
            "bz2" | "bzip2" => Self::Bzip2,
            "xz" => Self::Xz,
            "zst" | "zs" => Self::Zstd,
            "lz4" => Self::Lz4,
            "lzma" => Self::Lzma,
            _ => return None,
        })
    }
}

/// The header of a zstd frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZstdHeader {
    pub window: u64,
    pub content: Option<u64>,
}

impl ZstdHeader {
    /// RFC 8878, section 3.1.1. `None` if this is not a whole frame header.
    pub fn parse(first: &[u8]) -> Option<Self> {
        let rest = first.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
        let (descriptor, mut rest) = rest.split_first()?;
        let single_segment = descriptor & 0x20 != 0;
        let mut window = 0;
        if !single_segment {
            let (byte, after) = rest.split_first()?;
            let base = 1u64 << (10 + (byte >> 3));
            window = base + base / 8 * u64::from(byte & 7);
            rest = after;
        }
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let rest = rest.get(dictionary..)?;
        let content = match descriptor >> 6 {
            0 if single_segment => Some(u64::from(*rest.first()?)),
            0 => None,
            1 => Some(u64::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?)) + 256),
            2 => Some(u64::from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?))),
            _ => Some(u64::from_le_bytes(rest.get(..8)?.try_into().ok()?)),
        };
        // The window of a single segment is as large as the segment.
        Some(Self { window: if single_segment { content.unwrap_or(0) } else { window }, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    const DISK: &[u8] = &[0xeb, 0x63, 0x90, 0];

    #[test]
    fn bytes_name_and_variable_decide_together() {
        use Format::{Bzip2, Gzip, Lz4, Lzma, Raw, Xz, Zstd};
        for (case, compressed, url, first, expected) in [
            ("a raw image", None, "http://a/d.img", DISK, Ok(Raw)),
            ("bytes without a suffix", None, "http://a/d", GZIP, Ok(Gzip)),
            ("bytes win over the name", None, "http://a/d.gz", ZSTD, Ok(Zstd)),
            ("COMPRESSED=false", Some(false), "http://a/d.gz", GZIP, Ok(Raw)),
            ("COMPRESSED=true", Some(true), "http://a/d", b"BZh91AY&SY", Ok(Bzip2)),
            ("lz4", None, "/d.lz4", &[4, 0x22, 0x4d, 0x18], Ok(Lz4)),
            ("lzma", None, "/d", &[0x5d, 0, 0, 0x80, 0, 255, 255, 255, 255, 255, 255, 255, 255], Ok(Lzma)),
            ("xz", None, "/d.xz", b"\xfd7zXZ\0", Ok(Xz)),
            ("an error page", None, "http://a/d.zst?x=1.raw", b"<html>", Err(FormatError::NotWhatTheNameSays(Zstd))),
            ("COMPRESSED=true, but raw", Some(true), "http://a/d", DISK, Err(FormatError::NotCompressed)),
            ("an empty file", None, "http://a/d.BZ2", b"", Err(FormatError::NotWhatTheNameSays(Bzip2))),
        ] {
            assert_eq!(Format::decide(compressed, url, first), expected, "{case}");
        }
    }

    #[test]
    fn a_frames_window_and_size_are_those_zstd_wrote() {
        for (window_log, size) in [(18, Some(300_000u64)), (23, Some(9_000_000)), (27, None), (20, Some(100))] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window_log).unwrap();
            encoder.set_pledged_src_size(size).unwrap();
            encoder.write_all(&vec![7; size.unwrap_or(1000) as usize]).unwrap();
            let frame = encoder.finish().unwrap();
            let header = ZstdHeader::parse(&frame).unwrap();
            assert_eq!(header.content, size, "{window_log}");
            assert!(header.window <= 1 << window_log, "{window_log}: {header:?}");
            if size.is_none() {
                assert_eq!(header.window, 1 << window_log);
            }
        }
    }

    #[test]
    fn a_cut_header_is_no_header() {
        let frame = zstd::encode_all(&[1u8; 1000][..], 1).unwrap();
        for length in 0..6 {
            assert_eq!(ZstdHeader::parse(&frame[..length]), None, "{length}");
        }
        assert_eq!(ZstdHeader::parse(GZIP), None);
    }
}
