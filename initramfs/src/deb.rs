//! A Debian package as a stream of files: an `ar` archive whose member `data.tar.*` holds them.

use crate::compress::{Decompressor, Packing};
use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;

#[derive(Debug, thiserror::Error)]
pub enum DebError {
    #[error("it is not a Debian package: it does not start as an ar archive")]
    NotAPackage,
    #[error("the header of an ar member is damaged at byte {0}")]
    BadHeader(u64),
    #[error("the package has no member data.tar")]
    NoData,
    #[error("{0}: this compression is unknown; it has to be .xz, .zst, .gz or none")]
    Packing(String),
    #[error("cannot read the package")]
    Read(#[from] io::Error),
}

/// Positions `package` at its `data.tar` and returns the unpacked tar stream.
pub fn data_tar<R: Read>(mut package: R) -> Result<Decompressor<io::Take<R>>, DebError> {
    let mut magic = [0; MAGIC.len()];
    match package.read_exact(&mut magic) {
        Ok(()) if &magic == MAGIC => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
        _ => return Err(DebError::NotAPackage),
    }
    let mut offset = MAGIC.len() as u64;
    loop {
        let Some(member) = Member::read(&mut package, offset)? else { return Err(DebError::NoData) };
        if let Some(suffix) = member.name.strip_prefix("data.tar") {
            let packing = Packing::of_suffix(suffix).ok_or_else(|| DebError::Packing(member.name.clone()))?;
            return Ok(Decompressor::new(packing, package.take(member.size))?);
        }
        let padded = member.size.next_multiple_of(2);
        if io::copy(&mut package.by_ref().take(padded), &mut io::sink())? != padded {
            return Err(DebError::BadHeader(offset));
        }
        offset += HEADER as u64 + padded;
    }
}

struct Member {
    name: String,
    size: u64,
}

impl Member {
    fn read(package: &mut impl Read, offset: u64) -> Result<Option<Self>, DebError> {
        let mut header = Vec::with_capacity(HEADER);
        package.take(HEADER as u64).read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(&header).map_err(|_| DebError::BadHeader(offset))?;
        let (name, size, end) = (text.get(..16), text.get(48..58), text.get(58..));
        match (name, size.and_then(|size| size.trim_end().parse::<u32>().ok()), end) {
            (Some(name), Some(size), Some("`\n")) => {
                Ok(Some(Self { name: name.trim_end().trim_end_matches('/').to_owned(), size: size.into() }))
            }
            _ => Err(DebError::BadHeader(offset)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).into_bytes();
        out.extend(data);
        out.resize(out.len().next_multiple_of(2), b'\n');
        out
    }

    /// A package as dpkg-deb lays it out, with `data` as its member called `name`.
    pub(crate) fn package(name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(member("debian-binary", b"2.0\n"));
        out.extend(member("control.tar.xz", b"odd"));
        out.extend(member(name, data));
        out
    }

    fn unpacked(package: &[u8]) -> Result<Vec<u8>, DebError> {
        let mut out = Vec::new();
        data_tar(package)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_compression_of_a_package_is_read() {
        use std::io::Write;
        let text = b"a tar archive".repeat(100);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&text).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(&text).unwrap();
        for (name, packed) in [
            ("data.tar.gz", gz.finish().unwrap()),
            ("data.tar.xz", xz.finish().unwrap()),
            ("data.tar.zst", zstd::encode_all(&text[..], 3).unwrap()),
            ("data.tar", text.clone()),
            ("data.tar/", text.clone()),
        ] {
            assert_eq!(unpacked(&package(name, &packed)).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn what_is_no_package_is_refused_with_a_reason() {
        let whole = package("data.tar.gz", b"");
        for (case, bytes, expected) in [
            ("empty", Vec::new(), "it is not a Debian package"),
            ("an rpm", b"\xed\xab\xee\xdb\x03\x00\x00\x00".to_vec(), "it is not a Debian package"),
            ("no data", package("other", b"x"), "no member data.tar"),
            ("lzma", package("data.tar.lzma", b"x"), "data.tar.lzma: this compression is unknown"),
            ("cut in a header", whole[..100].to_vec(), "damaged at byte"),
        ] {
            let error = unpacked(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_packages_never_panic(at in 0usize..260, with in any::<u8>(), cut in 0usize..300) {
            let mut file = package("data.tar", b"contents of the package");
            if let Some(byte) = file.get_mut(at) {
                *byte = with;
            }
            file.truncate(cut);
            let _ = unpacked(&file);
        }
    }
}
