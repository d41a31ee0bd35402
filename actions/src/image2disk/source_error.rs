//! Why the image's bytes are not available.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot get {url}: the server answers {status}")]
    Refused { url: String, status: u16 },
    #[error(
        "the certificate of {url} is not accepted ({problem}): give the action its CA, as the file SSL_CERT_FILE names or as a \
         volume below /etc/ssl/certs"
    )]
    Untrusted { url: String, problem: String },
    #[error("cannot get {url}")]
    Unusable {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("{url} ended after {got} bytes{}, and the time for retries is over: {reason}", of(*.total))]
    Lost { url: String, got: u64, total: Option<u64>, reason: String },
    #[error("{url} cannot be continued at byte {at}: {reason}")]
    CannotContinue { url: String, at: u64, reason: &'static str },
    #[error(
        "the parts of the qcow2 image {url} are not in order, so it is read by ranges, and the server does not serve ranges. Put \
         them in order: qemu-img convert -O qcow2 IMAGE new.qcow2"
    )]
    NoRanges { url: String },
    #[error("{reference}: {problem}")]
    Artifact { reference: String, problem: String },
    #[error("the certificates for the registry")]
    Trust(#[from] trust::TrustError),
    #[error("no URL")]
    NoUrl,
    #[error("cannot read {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} had {expected} bytes and ended after {got}")]
    FileCut { path: PathBuf, expected: u64, got: u64 },
}

fn of(total: Option<u64>) -> String {
    total.map(|total| format!(" of {total}")).unwrap_or_default()
}
