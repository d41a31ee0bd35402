//! The verifier itself: webpki's rules for chains, and its own for a server whose certificate was configured.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::problem::{Refusal, may_pass};
use crate::provider;
use crate::x509::Certificate;

/// Shorter keys are refused by the TLS library, with a text that does not say so.
const RSA_BITS_MIN: usize = 2048;

/// SHA-256 of a certificate.
type Fingerprint = [u8; 32];

#[derive(Debug)]
pub struct Verifier {
    roots: RootCertStore,
    /// A server that presents one of these certificates needs no issuer.
    configured: HashSet<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
    clock: Option<Arc<dyn TimeProvider>>,
}

impl Verifier {
    /// Trusts Mozilla's roots, which are part of the program, and these certificates.
    pub fn new(extra: &[CertificateDer<'static>]) -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // A certificate that says that it signs no other is trusted as itself only.
        let may_sign = |der: &&CertificateDer<'_>| Certificate::parse(der).is_none_or(|read| read.authority != Some(false));
        roots.add_parsable_certificates(extra.iter().filter(may_sign).cloned());
        let configured = extra.iter().map(fingerprint).collect();
        Self { roots, configured, algorithms: provider().signature_verification_algorithms, clock: None }
    }

    /// A certificate may also be valid by this clock, because the machine's own may be years behind or ahead.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn TimeProvider>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    fn is_configured(&self, certificate: &CertificateDer<'_>) -> bool {
        !self.configured.is_empty() && self.configured.contains(&fingerprint(certificate))
    }

    fn verify_at(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let read = Certificate::parse(end_entity);
        if let Some(bits) = read.as_ref().and_then(Certificate::rsa_bits).filter(|bits| *bits < RSA_BITS_MIN) {
            return Err(Refusal::ShortKey(bits).into());
        }
        if self.is_configured(end_entity) {
            check_configured(&read.ok_or(CertificateError::BadEncoding)?, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let chained = ParsedCertificate::try_from(end_entity).and_then(|parsed| {
            let all = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
            verify_server_name(&parsed, server_name)
        });
        match chained {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(read.map_or(error.clone(), |read| explained(error, &read, server_name))),
        }
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    bytes
}

/// Name and dates of a certificate that is trusted as it is. Its purpose, its constraints and its signature do not count.
fn check_configured(certificate: &Certificate<'_>, server: &ServerName<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = |time: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.try_into().unwrap_or(0)));
    if seconds < certificate.not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: at(certificate.not_before) });
    }
    if seconds > certificate.not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after: at(certificate.not_after) });
    }
    if !certificate.is_for(server) {
        return Err(CertificateError::NotValidForNameContext { expected: server.to_owned(), presented: certificate.names() });
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = |time| self.verify_at(end_entity, intermediates, server_name, time);
        match self.clock.as_ref().and_then(|clock| clock.current_time()).map(at) {
            None => at(now),
            Some(Err(Error::InvalidCertificate(problem))) if may_pass(&problem) => at(now),
            Some(verdict) => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.is_configured(cert) {
            return verify_tls12_signature(message, cert, dss, &self.algorithms);
        }
        // webpki does not read version 1 or every extension, and only the key is needed here.
        let (algorithm, key) = Certificate::parse(cert).and_then(|read| read.key_parts()).ok_or(CertificateError::BadEncoding)?;
        let offered = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme).flat_map(|(_, all)| *all);
        let mut fitting = offered.filter(|one| one.public_key_alg_id().as_ref() == algorithm);
        match fitting.any(|one| one.verify_signature(key, message, dss.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.is_configured(cert) {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        let key = Certificate::parse(cert).ok_or(CertificateError::BadEncoding)?.key;
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// webpki names its rule that failed. What an operator can change is often something else.
fn explained(error: Error, read: &Certificate<'_>, server: &ServerName<'_>) -> Error {
    match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_),
        ) if read.self_issued => Refusal::SelfSigned.into(),
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => {
            CertificateError::NotValidForNameContext { expected: server.to_owned(), presented: read.names() }.into()
        }
        other => other,
    }
}

/// Encryption with an unknown peer, for `TINKERBELL_INSECURE_TLS` and insecure registries.
#[derive(Debug)]
pub struct TrustAnyone(WebPkiSupportedAlgorithms);

impl Default for TrustAnyone {
    fn default() -> Self {
        Self(provider().signature_verification_algorithms)
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

    /// A signature of the handshake proves nothing about an unknown peer. A certificate of version 1, or with an unknown
    /// extension, is as good as any.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
