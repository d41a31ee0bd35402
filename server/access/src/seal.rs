//! Secrets of a site in a store that others may read: AES-256-GCM under a key that each server of the site is given in a file.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const BYTES: usize = 32;
/// The first byte of what is sealed.
const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum SiteKeyError {
    #[error("cannot read the key of the site {}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not have {BYTES} bytes in base64: `openssl rand -base64 {BYTES} > FILE` makes such a key, once for all servers of the site", .0.display())]
    Content(PathBuf),
    #[error("{} can be read by other users: run `chmod 600 {}`", .0.display(), .0.display())]
    Open(PathBuf),
    #[error("{name} in the store was sealed with another key: all servers of a site are given the same file")]
    OtherKey { name: String },
    #[error("the kernel gives no random numbers")]
    Random,
}

pub struct SiteKey(LessSafeKey);

impl fmt::Debug for SiteKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SiteKey").finish_non_exhaustive()
    }
}

impl SiteKey {
    /// # Errors
    /// If the file is not for its owner only, or has no such key.
    pub fn read(path: &Path) -> Result<Self, SiteKeyError> {
        let failed = |source| SiteKeyError::File { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
            return Err(SiteKeyError::Open(path.to_owned()));
        }
        let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == BYTES);
        let key = bytes.and_then(|bytes| UnboundKey::new(&AES_256_GCM, &bytes).ok());
        Ok(Self(LessSafeKey::new(key.ok_or_else(|| SiteKeyError::Content(path.to_owned()))?)))
    }

    /// # Errors
    /// If there are no random numbers.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SiteKeyError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SiteKeyError::Random)?;
        let mut sealed = secret.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_used, Aad::from(name), &mut sealed).map_err(|_| SiteKeyError::Random)?;
        Ok([&[VERSION][..], &nonce, &sealed].concat())
    }

    /// # Errors
    /// If it was not sealed with this key under this name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SiteKeyError> {
        let other = || SiteKeyError::OtherKey { name: name.to_owned() };
        let (nonce, sealed) = match sealed.split_first() {
            Some((&VERSION, rest)) => rest.split_at_checked(NONCE_LEN).ok_or_else(other)?,
            _ => return Err(other()),
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| other())?;
        let mut opened = sealed.to_vec();
        let secret = self.0.open_in_place(nonce, Aad::from(name), &mut opened).map_err(|_| other())?;
        Ok(secret.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    fn key(byte: u8) -> SiteKey {
        let (_folder, path) = written(&format!("{}\n", STANDARD.encode([byte; BYTES])), 0o600);
        SiteKey::read(&path).unwrap()
    }

    #[test]
    fn a_secret_opens_with_its_key_and_its_name_only() {
        let sealed = key(1).seal("ca", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key(1).open("ca", &sealed).unwrap(), b"secret");
        assert_ne!(key(1).seal("ca", b"secret").unwrap(), sealed, "a nonce is used once");
        for (case, opened) in [
            ("another key", key(2).open("ca", &sealed)),
            ("another name", key(1).open("tokens", &sealed)),
            ("cut off", key(1).open("ca", &sealed[..sealed.len() - 1])),
            ("nothing", key(1).open("ca", b"")),
            ("another version", key(1).open("ca", &[&[9][..], &sealed[1..]].concat())),
        ] {
            assert!(matches!(opened, Err(SiteKeyError::OtherKey { .. })), "{case}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_that_nobody_else_reads() {
        let good = STANDARD.encode([7; BYTES]);
        for (text, mode, expected) in
            [("", 0o600, "openssl rand"), ("c2hvcnQ=", 0o600, "openssl rand"), (good.as_str(), 0o644, "chmod 600")]
        {
            let (_folder, path) = written(text, mode);
            let error = SiteKey::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(SiteKey::read(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
