//! A signature for Secure Boot by sbsign. Firmware that has the certificate in its `db` starts the file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From Debian's package sbsigntool.
const SBSIGN: &str = "sbsign";

/// Both are in PEM form, and the key has no passphrase.
#[derive(Debug, Clone)]
pub struct Signer {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("cannot run {SBSIGN}; install the package sbsigntool")]
    Program(#[source] io::Error),
    #[error("cannot sign with {key} and {certificate}: {said}")]
    Refused { key: PathBuf, certificate: PathBuf, said: String },
    #[error("cannot keep {path} for {SBSIGN}")]
    Scratch {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Signer {
    /// The EFI program with the signature behind it. `scratch` is a folder that no other program uses.
    pub fn sign(&self, program: &[u8], scratch: &Path) -> Result<Vec<u8>, SignError> {
        let (plain, signed) = (scratch.join("plain.efi"), scratch.join("signed.efi"));
        std::fs::write(&plain, program).map_err(|source| SignError::Scratch { path: plain.clone(), source })?;
        let mut sign = Command::new(SBSIGN);
        sign.arg("--key").arg(&self.key).arg("--cert").arg(&self.certificate).arg("--output").arg(&signed).arg(&plain);
        let done = sign.stdin(std::process::Stdio::null()).output().map_err(SignError::Program)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', "; ");
            return Err(SignError::Refused { key: self.key.clone(), certificate: self.certificate.clone(), said });
        }
        std::fs::read(&signed).map_err(|source| SignError::Scratch { path: signed, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_there_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let signer = Signer { key: "/no/such.key".into(), certificate: "/no/such.pem".into() };
        match signer.sign(b"MZ", scratch.path()) {
            Err(error @ SignError::Refused { .. }) => assert!(error.to_string().contains("/no/such.key"), "{error}"),
            Err(SignError::Program(_)) => {} // sbsign is not installed here
            other => panic!("{other:?}"),
        }
    }
}
