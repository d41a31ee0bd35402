//! Compression in both directions: packages and modules as Debian ships them, and the ramdisk for the kernel.

use std::io::{self, Read, Write};

/// The kernel's decoder holds window, compressed and unpacked data at once. With 1 MiB instead of zstd's 8 MiB, a machine of
/// 81 MiB boots what otherwise needs 88 MiB. A still smaller window costs more than it saves.
const WINDOW_LOG: u32 = 20;
const LEVEL: i32 = 19;

/// One frame with its size and checksum. A single thread makes it, so the same input gives the same bytes.
pub fn zstd_for_kernel(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.set_pledged_src_size(Some(data.len() as u64))?;
    encoder.write_all(data)?;
    encoder.finish()
}

/// Compresses each of the files if `packed`, on every processor. Their order stays.
pub fn each(files: Vec<(String, Vec<u8>)>, packed: bool) -> io::Result<Vec<(String, Vec<u8>)>> {
    if !packed {
        return Ok(files);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(threads).max(1);
    let pack = |(name, data): &(String, Vec<u8>)| Ok((name.clone(), zstd_for_kernel(data)?));
    std::thread::scope(|scope| {
        let shares: Vec<_> = files
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(pack).collect::<io::Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::with_capacity(files.len());
        for share in shares {
            all.extend(share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Packing {
    /// By the suffix with its dot. A file without a suffix is not packed.
    pub fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "" => Some(Self::None),
            ".gz" => Some(Self::Gzip),
            ".xz" => Some(Self::Xz),
            ".zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

pub enum Decompressor<R: Read> {
    None(R),
    Gzip(Box<flate2::read::MultiGzDecoder<R>>),
    Xz(Box<lzma_rust2::XzReader<R>>),
    Zstd(Box<zstd::Decoder<'static, io::BufReader<R>>>),
}

impl<R: Read> Decompressor<R> {
    pub fn new(packing: Packing, input: R) -> io::Result<Self> {
        Ok(match packing {
            Packing::None => Self::None(input),
            Packing::Gzip => Self::Gzip(Box::new(flate2::read::MultiGzDecoder::new(input))),
            Packing::Xz => Self::Xz(Box::new(lzma_rust2::XzReader::new(input, true))),
            Packing::Zstd => Self::Zstd(Box::new(zstd::Decoder::new(input)?)),
        })
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Xz(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two megabytes that do not repeat within the window.
    fn sample() -> Vec<u8> {
        (0u64..262_144).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect()
    }

    #[test]
    fn the_frame_states_window_size_and_checksum() {
        let frame = zstd_for_kernel(&sample()).unwrap();
        assert_eq!(frame[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        let descriptor = frame[4];
        assert_eq!(descriptor & 0b0000_0100, 0b100, "checksum");
        assert_eq!(descriptor & 0b0010_0000, 0, "a single segment would make the window as large as the file");
        assert_eq!(descriptor >> 6, 2, "content size in four bytes");
        let window = frame[5];
        assert_eq!((window >> 3) + 10, WINDOW_LOG as u8, "window log");
        assert_eq!(u32::from_le_bytes(frame[6..10].try_into().unwrap()) as usize, sample().len());
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(zstd_for_kernel(&sample()).unwrap(), zstd_for_kernel(&sample()).unwrap());
        assert_eq!(zstd::decode_all(&zstd_for_kernel(&sample()).unwrap()[..]).unwrap(), sample());
    }
}
