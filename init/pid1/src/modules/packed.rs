//! Compressed modules: unpacked here if this program has the decoder anyway, else by the kernel, if it can.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest module of Debian's kernel has 10 MB; a file larger than this is not a module.
const LARGEST: u64 = 64 << 20;
/// `thimble image build` keeps windows at 2^20 and below; a distribution's `zstd -19` has 2^23.
const WINDOW_LOG_MAX: u32 = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    Ours(Kind),
    Kernel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Zstd,
    Gzip,
}

impl Packing {
    pub fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("zst") => Self::Ours(Kind::Zstd),
            Some("gz") => Self::Ours(Kind::Gzip),
            Some("xz") => Self::Kernel,
            _ => Self::None,
        }
    }
}

pub fn unpack(kind: Kind, file: File) -> io::Result<Vec<u8>> {
    let mut image = Vec::new();
    match kind {
        Kind::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(file)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            decoder.take(LARGEST).read_to_end(&mut image)?;
        }
        Kind::Gzip => {
            flate2::read::MultiGzDecoder::new(file).take(LARGEST).read_to_end(&mut image)?;
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_ending_says_who_decompresses() {
        for (name, packing) in [
            ("a.ko", Packing::None),
            ("a.ko.zst", Packing::Ours(Kind::Zstd)),
            ("a.ko.gz", Packing::Ours(Kind::Gzip)),
            ("a.ko.xz", Packing::Kernel),
        ] {
            assert_eq!(Packing::of(Path::new(name)), packing, "{name}");
        }
    }

    #[test]
    fn both_come_back_as_they_were() {
        let module = vec![7; 300_000];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module");
        std::fs::write(&path, zstd::encode_all(module.as_slice(), 3).unwrap()).unwrap();
        assert_eq!(unpack(Kind::Zstd, File::open(&path).unwrap()).unwrap(), module);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&module).unwrap();
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        assert_eq!(unpack(Kind::Gzip, File::open(&path).unwrap()).unwrap(), module);
    }
}
