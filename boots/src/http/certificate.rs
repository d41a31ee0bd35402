//! The operator's certificate for HTTPS. A new one in its files is taken while boots serves. One that no client would accept is
//! refused, and the certificate before it stays.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::machine::Chain;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use trust::TrustError;
use trust::x509;

/// How often the files are looked at. A change is taken at the second look: a program that renews writes two files.
const LOOK: Duration = Duration::from_secs(2);
/// Seconds. From then on a line a day says that the certificate ends.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;

/// Both may be the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate of this host, then those of its issuers.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Read(#[from] TrustError),
    #[error("the key in {key} cannot be used with the certificate in {certificate}")]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("the first certificate in {path} cannot be understood")]
    NotX509 { path: PathBuf },
    #[error("the certificate in {path} has expired at {at}; renew it")]
    Expired { path: PathBuf, at: Timestamp },
    #[error("the certificate in {path} is not valid before {at}; is the clock of this host right?")]
    NotYet { path: PathBuf, at: Timestamp },
}

/// What a look finds without reading a file. It changes with the content.
type Version = Vec<Option<(u64, u64, i64, i64)>>;

#[derive(Debug, Clone)]
struct Pair {
    key: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A certificate that follows its files.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    /// Of the files when they were opened.
    opened: Version,
    current: RwLock<Pair>,
}

impl Certificate {
    /// A certificate that has expired is used with a line, because a restart must not end DHCP.
    ///
    /// # Errors
    /// If the files cannot be read, or do not belong together.
    pub fn open(files: Files, now: Timestamp) -> Result<Self, CertificateError> {
        let opened = version(&files);
        let pair = Pair::read(&files)?;
        if let Err(error) = pair.check(&files.certificate, now) {
            log::error!("HTTPS: {error}; until then clients refuse this host");
        }
        Ok(Self { files, opened, current: RwLock::new(pair) })
    }

    /// Takes what is in the files, if it can be used now.
    ///
    /// # Errors
    /// If it cannot. The certificate before it stays.
    pub fn read_again(&self, now: Timestamp) -> Result<(), CertificateError> {
        let pair = Pair::read(&self.files)?;
        pair.check(&self.files.certificate, now)?;
        let is_new = pair.key.cert != self.pair().key.cert;
        let not_after = pair.not_after;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair;
        if is_new {
            log::info!("HTTPS: the certificate in {} is used now, until {not_after}", self.files.certificate.display());
        }
        Ok(())
    }

    /// Never ends. Takes a new certificate when the files have changed, and at SIGHUP.
    pub async fn follow(&self) -> Infallible {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let (mut used, mut seen) = (self.opened.clone(), version(&self.files));
        let (mut look, mut warned) = (tokio::time::interval(LOOK), Timestamp::UNIX_EPOCH);
        loop {
            let is_asked = tokio::select! {
                _ = look.tick() => false,
                Some(()) = async { hangups.as_mut()?.recv().await } => true,
            };
            let (version, now) = (version(&self.files), Timestamp::now());
            let is_settled = version == seen;
            seen.clone_from(&version);
            if is_asked || is_settled && version != used {
                used = version;
                if let Err(error) = self.read_again(now) {
                    log::error!("HTTPS: {}; the certificate before it stays in use", Chain(&error));
                }
            }
            if now.as_second() - warned.as_second() >= DAY
                && let Some(line) = self.pair().ends_soon(&self.files.certificate, now)
            {
                warned = now;
                log::warn!("{line}");
            }
        }
    }

    fn pair(&self) -> Pair {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair().key)
    }
}

impl Pair {
    fn read(files: &Files) -> Result<Self, CertificateError> {
        let Files { certificate, key } = files;
        let chain = trust::certificates(certificate)?;
        let not_x509 = || CertificateError::NotX509 { path: certificate.clone() };
        let (not_before, not_after) = {
            let read = chain.first().and_then(|first| x509::Certificate::parse(first)).ok_or_else(not_x509)?;
            let [from, to] = [read.not_before, read.not_after].map(Timestamp::from_second);
            (from.unwrap_or(Timestamp::MIN), to.unwrap_or(Timestamp::MAX))
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TrustError::Key { path: key.clone(), source })?;
        let pair = CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider());
        let failed = |source| CertificateError::Pair { certificate: certificate.clone(), key: key.clone(), source };
        Ok(Self { key: Arc::new(pair.map_err(failed)?), not_before, not_after })
    }

    fn check(&self, path: &Path, now: Timestamp) -> Result<(), CertificateError> {
        let path = path.to_owned();
        match now {
            _ if now > self.not_after => Err(CertificateError::Expired { path, at: self.not_after }),
            _ if now < self.not_before => Err(CertificateError::NotYet { path, at: self.not_before }),
            _ => Ok(()),
        }
    }

    fn ends_soon(&self, path: &Path, now: Timestamp) -> Option<String> {
        let left = self.not_after.as_second() - now.as_second();
        let text = || format!("HTTPS: the certificate in {} ends at {}; renew it", path.display(), self.not_after);
        (left < SOON).then(text)
    }
}

fn version(files: &Files) -> Version {
    let of = |path: &Path| -> io::Result<_> {
        let found = fs::metadata(path)?;
        Ok((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    [&files.certificate, &files.key].into_iter().map(|path| of(path).ok()).collect()
}
