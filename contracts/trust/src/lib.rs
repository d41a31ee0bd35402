//! Which servers are believed: one verifier for registries, for the workflow service and for the downloads of actions.
//!
//! `pem` reads bundles as people keep them, `x509` reads what a certificate says, and `verifier` decides. All three are
//! pure. A certificate that was configured is trusted itself, and as an authority if it may be one.

#![forbid(unsafe_code)]

pub mod pem;
mod pinned;
mod problem;
mod verifier;
pub mod x509;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder};

pub use pinned::{Fingerprint, NotAFingerprint};
pub use problem::{Refusal, may_pass, of_certificate, words};
pub use rustls;
pub use verifier::{TrustAnyone, Verifier};

/// The bundle of a whole distribution has a quarter of this size.
const FILE_MAX: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read certificates from {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has more than {FILE_MAX} bytes, which is too much for a list of certificates")]
    TooLarge { path: PathBuf },
    #[error("{path} has no certificate: expected -----BEGIN CERTIFICATE-----")]
    None { path: PathBuf },
    #[error("cannot understand certificates in {path}")]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::BadPem,
    },
    #[error("cannot read a private key from {path}: expected -----BEGIN PRIVATE KEY----- without a password")]
    Key {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the TLS library refuses its own defaults, or the client's certificate")]
    Config(#[from] rustls::Error),
}

/// The certificates of a file, at least one.
///
/// # Errors
/// If the file cannot be read, is too large, or has no certificate or a broken one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |source| TrustError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(TrustError::TooLarge { path: path.to_owned() });
    }
    let found = pem::certificates(&bytes).map_err(|source| TrustError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() { Err(TrustError::None { path: path.to_owned() }) } else { Ok(found) }
}

/// As [`certificates`]. A missing or empty file is accepted: the ramdisk may set the variable without having the bundle.
///
/// # Errors
/// If the file exists and cannot be understood.
pub fn certificates_if_there(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    match path.filter(|path| path.exists()).map(certificates) {
        None | Some(Err(TrustError::None { .. })) => Ok(Vec::new()),
        Some(read) => read,
    }
}

/// The TLS of a client.
#[derive(Debug, Default, Clone)]
pub struct Trust {
    /// Trusted beside the built-in roots.
    pub extra: Vec<CertificateDer<'static>>,
    /// PEM of the client's own certificate with its chain, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Encrypted, and the server's certificate is not checked.
    pub unverified: bool,
}

impl Trust {
    /// # Errors
    /// If the client's own certificate cannot be read, or does not fit its key.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let Some((chain, key)) = &self.identity else { return Ok(self.builder()?.with_no_client_auth()) };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TrustError::Key { path: key.clone(), source })?;
        self.client_config_as(certificates(chain)?, private)
    }

    /// For a client whose own certificate is not in files. It shows this one.
    ///
    /// # Errors
    /// If the certificate does not fit its key.
    pub fn client_config_as(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ClientConfig, TrustError> {
        Ok(self.builder()?.with_client_auth_cert(chain, key)?)
    }

    fn builder(&self) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TrustError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?.dangerous();
        Ok(match self.unverified {
            true => builder.with_custom_certificate_verifier(Arc::new(TrustAnyone::default())),
            false => builder.with_custom_certificate_verifier(Arc::new(Verifier::new(&self.extra))),
        })
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
