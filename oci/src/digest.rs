//! A content digest: sha256, which all of the field uses, sha512, which OCI allows, or sha384, which Go's tools know too. Any
//! other algorithm is refused, and the error quotes it.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA384, SHA512};

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// TLS needs these functions anyway, so the ramdisk has no others.
    fn context(self) -> Context {
        Context::new(match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest: expected sha256: and 64 hexadecimal digits, sha384: and 96, or sha512: and 128")]
pub struct NotADigest(String);

/// Computes a digest from pieces.
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, context: algorithm.context() }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub fn finish(self) -> Digest {
        Digest { algorithm: self.algorithm, hex: hex::encode(self.context.finish()) }
    }
}

impl Digest {
    /// The digest of complete content.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(ring::digest::digest(&SHA256, bytes).as_ref())
    }

    /// Wraps a finished sha256 hash of 32 bytes.
    pub fn from_hash(hash: &[u8]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex::encode(hash) }
    }

    /// A hasher for this digest's algorithm.
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }

    /// The digest of complete content, with this digest's algorithm.
    pub fn like(&self, bytes: &[u8]) -> Self {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm's name, which is the folder in a layout.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The digits without the algorithm, which are the file name in a layout.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let read = |algorithm: Algorithm| {
            let hex = text.strip_prefix(algorithm.name())?.strip_prefix(':')?;
            let valid = hex.len() == algorithm.digits() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            valid.then(|| Self { algorithm, hex: hex.to_owned() })
        };
        let quoted = || NotADigest(text.chars().take(200).collect());
        [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512].into_iter().find_map(read).ok_or_else(quoted)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
