//! `verify`: reads a disk or partition, and compares it with an image or a checksum. It writes nothing.

use crate::device::{self, DeviceError, Named};
use crate::image2disk::{self, ImageError, Progress};
use crate::say;
use crate::variables::{VariableError, Variables, unusable};
use sha2::{Digest, Sha256, Sha512};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Instant;

const PIECE: usize = 512 << 10;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("DEST_DISK")]
    Device(#[from] DeviceError),
    #[error("cannot read DEST_DISK")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("nothing to compare with: set IMG_URL, or CHECKSUM such as sha256:HEX")]
    NoMeasure,
    #[error("{disk} has {size} bytes, and LENGTH asks for {length}")]
    Short { disk: PathBuf, size: u64, length: u64 },
    #[error("the first {length} bytes of {disk} have the checksum {found}, and CHECKSUM is {expected}")]
    Different { disk: PathBuf, length: u64, found: String, expected: String },
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Self::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        }
    }
}

/// What the content must hash to.
struct Measure {
    disk: Named,
    length: Option<u64>,
    /// `sha256:` and its digits in lower case.
    expected: String,
    hasher: Hasher,
}

impl Measure {
    fn read(variables: &Variables) -> Result<Self, VerifyError> {
        let disk = Named::read(variables, "DEST_DISK")?;
        let text = variables.optional("CHECKSUM").ok_or(VerifyError::NoMeasure).and_then(|_| Ok(variables.text("CHECKSUM")?))?;
        let expected = text.trim().to_ascii_lowercase();
        let (name, digits) = expected.split_once(':').unwrap_or(("sha256", &expected));
        let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let hasher = match (name, digits.len()) {
            ("sha256", 64) if plain => Hasher::Sha256(Sha256::new()),
            ("sha512", 128) if plain => Hasher::Sha512(Box::new(Sha512::new())),
            _ => return Err(unusable("CHECKSUM", &text, "sha256: and 64, or sha512: and 128 hexadecimal digits").into()),
        };
        let expected = format!("{name}:{digits}");
        Ok(Self { disk, length: variables.bytes("LENGTH")?, expected, hasher })
    }
}

pub fn run(variables: &Variables) -> Result<(), VerifyError> {
    if variables.optional("IMG_URL").is_some() {
        return Ok(image2disk::verify(variables)?);
    }
    let Measure { disk, length, expected, mut hasher } = Measure::read(variables)?;
    let mut progress = Progress::new(variables.seconds("PROGRESS_INTERVAL_SECONDS", 3)?, Instant::now());
    let disk = disk.appear(device::APPEARS_WITHIN)?;
    let mut source = device::open_to_read(&disk)?;
    let length = length.unwrap_or(source.size);
    if length > source.size {
        return Err(VerifyError::Short { disk, size: source.size, length });
    }
    let mut buffer = vec![0; PIECE];
    while source.at < length {
        let piece = (length - source.at).min(PIECE as u64) as usize;
        let got = source.read(buffer.get_mut(..piece).unwrap_or_default())?;
        if got == 0 {
            return Err(VerifyError::Short { disk, size: source.at, length });
        }
        hasher.update(buffer.get(..got).unwrap_or_default());
        progress.report(source.at, Some(length), Instant::now());
    }
    let found = hasher.finish();
    if found != expected {
        return Err(VerifyError::Different { disk, length, found, expected });
    }
    say(&format!("the first {length} bytes of {} have the checksum {found}", disk.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_the_checksum_of_its_content_or_the_reason_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, b"abcdef").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2
        let long = format!("sha512:{}", hex::encode(Sha512::digest(b"abcdef")));
        for (case, checksum, length, expected) in [
            ("a part", abc.to_owned(), "3", Ok(())),
            ("its name", format!("SHA256:{}", abc.to_uppercase()), "3", Ok(())),
            ("the whole", long, "", Ok(())),
            ("other data", abc.to_owned(), "4", Err("the first 4 bytes")),
            ("too long", abc.to_owned(), "7", Err("has 6 bytes, and LENGTH asks for 7")),
            ("a short checksum", "sha256:abc".to_owned(), "3", Err("CHECKSUM=\"sha256:abc\" is not usable")),
            ("none", String::new(), "3", Err("nothing to compare with")),
            ("a wrong length", abc.to_owned(), "x", Err("LENGTH=\"x\" is not usable")),
        ] {
            let variables = Variables::of([("DEST_DISK", path.to_str().unwrap()), ("CHECKSUM", &checksum), ("LENGTH", length)]);
            match (run(&variables), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{case}: {error}"),
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
    }
}
