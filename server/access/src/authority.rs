//! The certificate authority of this server: made at the first start, and kept in two files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use trust::x509::Certificate;

use crate::caller::{Grant, Role};
use crate::folder::replace;
use crate::names::Names;

const KEY: &str = "ca.key";
/// The public part; what clients and machines trust.
pub const CERTIFICATE: &str = "ca.crt";
/// 2020-01-01. A host whose clock runs ahead at its first start must not make an authority that is not valid yet.
const BEGIN: i64 = 1_577_836_800;
/// 2026-01-01, for a host whose clock is far behind then.
const FLOOR: i64 = 1_767_225_600;
const DAY: i64 = 86_400;
const YEARS: i64 = 20;
/// For servers whose clock is a little ahead of their clients'.
const BACK: i64 = DAY;
pub const SERVER_DAYS: i64 = 90;

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot {doing} {}", .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is there and {} is not: put both back from a backup, or remove both to make a new authority", .there.display(), .missing.display())]
    Half { there: PathBuf, missing: PathBuf },
    #[error("{} has no certificate of an authority: put it back from a backup", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} is not the key of {}: put both back from the same backup", .key.display(), .certificate.display())]
    OtherKey { key: PathBuf, certificate: PathBuf },
    #[error("{} is not a private key: put it back from a backup", .path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: rcgen::Error,
    },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("the TLS library refuses a certificate that was just made")]
    Tls(#[from] rustls::Error),
    #[error("a certificate that was just made cannot be read")]
    Made(#[source] rustls::pki_types::pem::Error),
}

pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: i64,
}

/// A client's certificate and its key, in PEM.
#[derive(Clone)]
pub struct ClientIdentity {
    pub certificate: String,
    pub key: String,
}

/// A server's certificate and its days.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    pub key: Arc<CertifiedKey>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Authority {
    /// Reads the authority below this folder, or makes it.
    ///
    /// # Errors
    /// If there is half of one, or it cannot be read or written.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let (key, certificate) = (folder.join(KEY), folder.join(CERTIFICATE));
        match (key.exists(), certificate.exists()) {
            (true, true) => Self::read(key, certificate),
            (true, false) => Err(AuthorityError::Half { there: key, missing: certificate }),
            (false, true) => Err(AuthorityError::Half { there: certificate, missing: key }),
            (false, false) => {
                let made = Self::make(now)?;
                let failed = |path: &Path| {
                    let path = path.to_owned();
                    move |source| AuthorityError::File { doing: "write", path, source }
                };
                // The key first: a certificate alone would be of no use after a crash. Both names appear or neither is used.
                replace(&key, made.issuer.key().serialize_pem().as_bytes(), 0o600).map_err(failed(&key))?;
                if let Err(error) = replace(&certificate, made.pem.as_bytes(), 0o644) {
                    let _ = fs::remove_file(&key);
                    return Err(failed(&certificate)(error));
                }
                log::info!("a certificate authority was made: {}", certificate.display());
                Ok(made)
            }
        }
    }

    /// In memory only.
    ///
    /// # Errors
    /// If the host has no random numbers.
    pub fn make(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&key)?;
        let not_after = now.as_second().max(FLOOR) + YEARS * 365 * DAY;
        live(&mut params, BEGIN, not_after);
        let certificate = params.self_signed(&key)?;
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Ok(Self { certificate: der, pem, issuer: Issuer::new(params, key), not_after })
    }

    fn read(key_file: PathBuf, file: PathBuf) -> Result<Self, AuthorityError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { doing: "read", path, source }
        };
        let pem = fs::read_to_string(&file).map_err(failed(&file))?;
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::NoCertificate(file.clone()))?;
        let text = fs::read_to_string(&key_file).map_err(failed(&key_file))?;
        let key = KeyPair::from_pem(&text).map_err(|source| AuthorityError::Key { path: key_file.clone(), source })?;
        let read = Certificate::parse(&certificate).filter(|read| read.authority == Some(true));
        let read = read.ok_or_else(|| AuthorityError::NoCertificate(file.clone()))?;
        if read.key != key.subject_public_key_info() {
            return Err(AuthorityError::OtherKey { key: key_file, certificate: file });
        }
        let (params, not_after) = (params(&key)?, read.not_after);
        Ok(Self { certificate, pem, issuer: Issuer::new(params, key), not_after })
    }

    /// What clients trust, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// # Errors
    /// If the host has no random numbers.
    pub fn server(&self, names: &Names, now: Timestamp) -> Result<ServerIdentity, AuthorityError> {
        let mut params = CertificateParams::new(names.texts())?;
        params.distinguished_name = subject("Thimble", &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (der, not_before, not_after) = self.sign(params, &key, SERVER_DAYS * DAY, now)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)?;
        let key = Arc::new(CertifiedKey::new(vec![der, self.certificate.clone()], signing));
        Ok(ServerIdentity { key, not_before, not_after })
    }

    /// A certificate for a client with this name and this role.
    ///
    /// # Errors
    /// If the host has no random numbers.
    pub fn client(
        &self,
        name: &str,
        grant: &Grant,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<ClientIdentity, AuthorityError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = subject(name, &grant.groups());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (der, ..) = self.sign(params, &key, lifetime.as_secs(), now)?;
        Ok(ClientIdentity { certificate: pem_of(&der), key: key.serialize_pem() })
    }

    /// The TLS with which a server calls the others of its site. Each knows the other by this authority alone.
    ///
    /// # Errors
    /// If the host has no random numbers.
    pub fn between_servers(&self, name: &str, lifetime: SignedDuration, now: Timestamp) -> Result<ClientConfig, AuthorityError> {
        let identity = self.client(name, &Grant::everywhere(Role::Server), lifetime, now)?;
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(AuthorityError::Made)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(AuthorityError::Made)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)?)
    }

    /// No certificate lives longer than the authority.
    fn sign(
        &self,
        mut params: CertificateParams,
        key: &KeyPair,
        seconds: i64,
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, Timestamp, Timestamp), AuthorityError> {
        let begin = (now.as_second() - BACK).max(BEGIN);
        let end = now.as_second().saturating_add(seconds).clamp(begin, self.not_after.max(begin));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, begin, end);
        let der = params.signed_by(key, &self.issuer)?.der().clone();
        let time = |second| Timestamp::from_second(second).unwrap_or(now);
        Ok((der, time(begin), time(end)))
    }
}

/// What the authority says of itself. Its name follows from its key, so that two of them differ.
fn params(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let sum = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    let short: String = sum.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = subject(&format!("Thimble CA {short}"), &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn subject(name: &str, organizations: &[String]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    // rcgen keeps one value of each type, so several groups share one, as no group has a comma in it.
    if !organizations.is_empty() {
        subject.push(DnType::OrganizationName, organizations.join(","));
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn live(params: &mut CertificateParams, begin: i64, end: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(begin.unsigned_abs());
    params.not_after = epoch + Duration::from_secs(end.unsigned_abs());
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn an_authority_survives_a_restart_and_its_key_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let made = Authority::open(folder.path(), at(NOW)).unwrap();
        let again = Authority::open(folder.path(), at(NOW + 1)).unwrap();
        assert_eq!((made.pem(), made.certificate()), (again.pem(), again.certificate()));
        let mode = fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let own = again.client("a", &Grant::everywhere(Role::Admin), SignedDuration::from_hours(1), at(NOW)).unwrap();
        assert!(own.certificate.starts_with("-----BEGIN CERTIFICATE-----") && own.key.contains("PRIVATE KEY"));
    }

    #[test]
    fn half_of_an_authority_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path(), at(NOW)).unwrap();
        let other = tempfile::tempdir().unwrap();
        Authority::open(other.path(), at(NOW)).unwrap();
        let refusal = || Authority::open(folder.path(), at(NOW)).err().map(|error| error.to_string()).unwrap_or_default();
        fs::copy(other.path().join(KEY), folder.path().join(KEY)).unwrap();
        assert!(refusal().contains("is not the key of"), "{}", refusal());
        fs::write(folder.path().join(KEY), "nonsense").unwrap();
        assert!(refusal().contains("is not a private key"), "{}", refusal());
        fs::write(folder.path().join(CERTIFICATE), "nonsense").unwrap();
        assert!(refusal().contains("has no certificate of an authority"), "{}", refusal());
        fs::remove_file(folder.path().join(CERTIFICATE)).unwrap();
        assert!(refusal().contains("remove both"), "{}", refusal());
    }

    #[test]
    fn a_wrong_clock_at_the_first_start_does_not_spoil_the_authority() {
        for clock in [0, NOW, NOW + 30 * 365 * DAY] {
            let made = Authority::make(at(clock)).unwrap();
            let read = Certificate::parse(made.certificate()).unwrap();
            assert!(read.not_before <= NOW && read.not_after > NOW + 10 * 365 * DAY, "{clock}");
        }
    }

    #[test]
    fn a_server_certificate_has_ninety_days_and_every_name() {
        let mut names = Names::local();
        ["10.0.0.1", "prov.example"].iter().for_each(|text| names.add(text).unwrap());
        let made = Authority::make(at(NOW)).unwrap().server(&names, at(NOW)).unwrap();
        assert_eq!(made.not_after.as_second(), NOW + 90 * DAY);
        let read = Certificate::parse(made.key.cert.first().unwrap()).unwrap();
        assert_eq!((read.not_before, read.not_after), (NOW - BACK, NOW + 90 * DAY));
        assert_eq!(read.names(), ["DNS:localhost", "DNS:prov.example", "IP:10.0.0.1", "IP:127.0.0.1", "IP:::1"]);
        assert_eq!(made.key.cert.len(), 2, "with the authority, for a client that knows its fingerprint only");
    }

    #[test]
    fn no_certificate_outlives_the_authority() {
        let authority = Authority::make(at(NOW)).unwrap();
        let late = NOW + YEARS * 365 * DAY - 5 * DAY;
        let made = authority.server(&Names::local(), at(late)).unwrap();
        assert_eq!(made.not_after.as_second(), late + 5 * DAY);
    }
}
