//! Compressed modules. They are unpacked here if this program has the decoder anyway, otherwise by the kernel, if it can.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    None,
    #[cfg(feature = "unpack")]
    Ours(unpack::Kind),
    Kernel,
}

impl Packing {
    pub fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            #[cfg(feature = "unpack")]
            Some("zst") => Self::Ours(unpack::Kind::Zstd),
            #[cfg(feature = "unpack")]
            Some("gz") => Self::Ours(unpack::Kind::Gzip),
            #[cfg(not(feature = "unpack"))]
            Some("zst" | "gz") => Self::Kernel,
            Some("xz") => Self::Kernel,
            _ => Self::None,
        }
    }
}

#[cfg(feature = "unpack")]
pub mod unpack {
    use std::fs::File;
    use std::io::{self, Read};

    /// The largest module of Debian's kernel has 10 MB. A file larger than this is not a module.
    const LARGEST: u64 = 64 << 20;
    /// `thimble image build` uses windows of at most 2^20. A distribution's `zstd -19` uses 2^23.
    const WINDOW_LOG_MAX: u32 = 23;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Kind {
        Zstd,
        Gzip,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_says_whether_a_module_is_compressed() {
        for (name, compressed) in [("a.ko", false), ("a.ko.zst", true), ("a.ko.gz", true), ("a.ko.xz", true)] {
            assert_eq!(Packing::of(Path::new(name)) != Packing::None, compressed, "{name}");
        }
        assert_eq!(Packing::of(Path::new("a.ko.xz")), Packing::Kernel, "/init has no decoder of xz");
    }

    #[cfg(feature = "unpack")]
    #[test]
    fn decompression_restores_the_module() {
        use std::fs::{self, File};
        use std::io::Write;

        let module = vec![7; 300_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&module).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module");
        for (kind, packed) in
            [(unpack::Kind::Zstd, zstd::encode_all(module.as_slice(), 3).unwrap()), (unpack::Kind::Gzip, gzip.finish().unwrap())]
        {
            fs::write(&path, packed).unwrap();
            assert_eq!(unpack::unpack(kind, File::open(&path).unwrap()).unwrap(), module);
        }
    }
}
