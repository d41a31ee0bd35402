//! Which certificates are trusted: the built-in roots, those of `SSL_CERT_FILE`, and those of single hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read certificates from {path}")]
    Pem {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the TLS library refuses its own defaults")]
    Config(#[from] Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A missing file is accepted: the ramdisk may set the variable without having the bundle.
pub fn extra_certificates(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    file.filter(|p| p.exists()).map_or_else(|| Ok(Vec::new()), certificates)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |source| TrustError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}

/// What a connection trusts beside the built-in roots, and the certificate that it presents.
#[derive(Default, Clone)]
pub struct Trust {
    extra: Vec<CertificateDer<'static>>,
    identity: Option<(PathBuf, PathBuf)>,
    unverified: bool,
}

impl Trust {
    pub fn extra(extra: Vec<CertificateDer<'static>>) -> Self {
        Self { extra, ..Self::default() }
    }

    /// The same with the settings of one host. Here a missing file is an error.
    pub fn for_host(&self, host: &super::registries::Host) -> Result<Self, TrustError> {
        let mut trust = self.clone();
        if let Some(path) = &host.ca_file {
            trust.extra.extend(certificates(path)?);
        }
        trust.identity = host.certificate_file.clone().zip(host.key_file.clone());
        trust.unverified = host.unverified;
        Ok(trust)
    }
}

/// For the registry client. The platform verifier of reqwest would insist on certificate files even for plain HTTP.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(trust.extra.iter().cloned());
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust.unverified {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone::default())),
        false => builder.with_root_certificates(roots),
    };
    let Some((chain, key)) = &trust.identity else { return Ok(builder.with_no_client_auth()) };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TrustError::Pem { path: key.clone(), source })?;
    Ok(builder.with_client_auth_cert(certificates(chain)?, private)?)
}

/// TINKERBELL_INSECURE_TLS: encryption without knowing the peer.
#[derive(Debug)]
pub struct TrustAnyone(Arc<CryptoProvider>);

impl Default for TrustAnyone {
    fn default() -> Self {
        Self(provider())
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
