//! What can go wrong with a registry, and whether another attempt can help.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use machine::Chain;

use crate::Digest;

/// Manifests and configurations are kilobytes; registries refuse more than 4 MiB.
pub const DOCUMENT_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("cannot reach registry {registry}")]
    Unreachable {
        registry: String,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "the certificate of registry {registry} is not accepted ({}): build the ramdisk with its CA (--ca FILE), name it in \
         registries.json, or see whether the clock is right", said(.problem)
    )]
    Untrusted { registry: String, problem: rustls::CertificateError },
    #[error("registry {registry} has no {what}")]
    NotFound { registry: String, what: String },
    #[error("registry {registry} refuses {what} with status {status}: are REGISTRY_USERNAME and DOCKER_REGISTRY right?")]
    Denied { registry: String, what: String, status: StatusCode },
    #[error("registry {registry} answers {what} with status {status}")]
    Status { registry: String, what: String, status: StatusCode, retry_after: Option<Duration> },
    #[error("registry {registry} refuses {what} with status {status}: {text}")]
    Refused { registry: String, what: String, status: StatusCode, text: String },
    #[error("registry {registry} has stored {stored} instead of {digest}")]
    Altered { registry: String, digest: Digest, stored: String },
    #[error("registry {registry} answers {what} with more than {DOCUMENT_MAX} bytes")]
    TooLarge { registry: String, what: String },
    #[error("registry {registry} is too slow with {what}")]
    TooSlow { registry: String, what: String },
    #[error("registry {registry} redirects {what} {problem}")]
    Redirect { registry: String, what: String, problem: &'static str },
    #[error("registry {registry} redirects to a store that refuses {what} with status {status}")]
    StoreDenied { registry: String, what: String, status: StatusCode },
    #[error("registry {registry} wants a password sent unencrypted to {realm}")]
    Exposed { registry: String, realm: String },
    #[error("registry {registry} names a token service whose answer is not a token")]
    Token {
        registry: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("registry {registry} cannot give {what}")]
    Disk {
        registry: String,
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{}", tried.iter().map(|error| Chain(error).to_string()).collect::<Vec<_>>().join("; then "))]
    Everywhere { tried: Vec<RequestError> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hope {
    /// The same answer is certain.
    None,
    /// It answers, but not as it should.
    Failing,
    /// The registry is unreachable: it may be starting, or the network may come back.
    Absent,
}

impl RequestError {
    /// A connection that failed, or broke.
    pub fn unreachable(registry: String, source: reqwest::Error) -> Self {
        match certificate_problem(&source) {
            Some(problem) => Self::Untrusted { registry, problem },
            None => Self::Unreachable { registry, source: source.without_url() },
        }
    }

    /// One endpoint's error as it is, several with every reason.
    pub fn all(mut tried: Vec<Self>) -> Self {
        match tried.pop() {
            Some(only) if tried.is_empty() => only,
            last => {
                tried.extend(last);
                Self::Everywhere { tried }
            }
        }
    }

    pub fn hope(&self) -> Hope {
        match self {
            Self::Unreachable { source, .. } if source.is_builder() => Hope::None,
            Self::Unreachable { .. } => Hope::Absent,
            Self::Untrusted { problem, .. } => hope_of_certificate(problem),
            Self::Status { status, .. } => hope_of_status(status.as_u16()),
            Self::TooSlow { .. } | Self::StoreDenied { .. } => Hope::Failing,
            // The last one asked is the registry itself: what it does not have, no mirror can have.
            Self::Everywhere { .. } if self.is_not_found() => Hope::None,
            Self::Everywhere { tried } => tried.iter().map(Self::hope).max().unwrap_or(Hope::None),
            _ => Hope::None,
        }
    }

    /// The pause the server asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Everywhere { tried } => tried.iter().filter_map(Self::retry_after).min(),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Everywhere { tried } => tried.last().is_some_and(Self::is_not_found),
            _ => false,
        }
    }

    /// The registry does not know what it was asked, as opposed to not having it.
    pub fn is_not_understood(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status.as_u16(), 400 | 405 | 406 | 501),
            Self::Everywhere { tried } => tried.last().is_some_and(Self::is_not_understood),
            _ => false,
        }
    }

    /// It is unreachable or out of order, as opposed to refusing.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Status { .. } | Self::TooSlow { .. } => true,
            Self::Everywhere { tried } => tried.last().is_some_and(Self::is_gone),
            _ => false,
        }
    }

    /// The machine itself has no way out, as opposed to a registry that does not answer.
    pub fn is_network_lost(&self) -> bool {
        let source = match self {
            Self::Unreachable { source, .. } => source,
            Self::Everywhere { tried } => return tried.iter().all(Self::is_network_lost),
            _ => return false,
        };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
                return matches!(io.kind(), HostUnreachable | NetworkDown | NetworkUnreachable);
            }
            cause = error.source();
        }
        false
    }
}

/// What the TLS library says, from inside the connection's errors.
fn certificate_problem(error: &(dyn Error + 'static)) -> Option<rustls::CertificateError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(problem.clone());
        }
        // The source of an io::Error is not what it carries, but what is behind that.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// In words, where the library has a name only.
fn said(problem: &rustls::CertificateError) -> String {
    match problem {
        rustls::CertificateError::UnknownIssuer => "its issuer is unknown to this machine".to_owned(),
        other => other.to_string(),
    }
}

/// The clock may still be set.
fn hope_of_certificate(problem: &rustls::CertificateError) -> Hope {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match problem {
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => Hope::Failing,
        _ => Hope::None,
    }
}

/// 502 to 504 come from the proxy in front of a registry that is down.
fn hope_of_status(status: u16) -> Hope {
    match status {
        502..=504 => Hope::Absent,
        408 | 429 | 500..=599 => Hope::Failing,
        _ => Hope::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_is_tried_again() {
        for (status, hope) in [(503, Hope::Absent), (500, Hope::Failing), (429, Hope::Failing), (400, Hope::None)] {
            assert_eq!(hope_of_status(status), hope, "{status}");
        }
    }

    #[test]
    fn a_certificate_is_asked_for_again_only_if_the_clock_may_be_wrong() {
        use rustls::CertificateError::{Expired, NotValidYet, UnknownIssuer};
        for (problem, hope) in [(UnknownIssuer, Hope::None), (Expired, Hope::Failing), (NotValidYet, Hope::Failing)] {
            let inside = io::Error::other(rustls::Error::InvalidCertificate(problem.clone()));
            let found = certificate_problem(&io::Error::other(inside)).unwrap();
            assert_eq!(RequestError::Untrusted { registry: "x".into(), problem: found }.hope(), hope, "{problem:?}");
        }
        assert_eq!(certificate_problem(&io::Error::other("reset")), None);
    }

    #[test]
    fn every_endpoint_keeps_its_reason_and_the_registry_itself_has_the_last_word() {
        let missing = |name: &str| RequestError::NotFound { registry: name.into(), what: "x".into() };
        let slow = |name: &str| RequestError::TooSlow { registry: name.into(), what: "x".into() };
        let judged = RequestError::all(vec![slow("mirror"), missing("hub")]);
        assert_eq!(judged.to_string(), "registry mirror is too slow with x; then registry hub has no x");
        assert_eq!((judged.hope(), judged.is_not_found()), (Hope::None, true));
        let open = RequestError::all(vec![missing("mirror"), slow("hub")]);
        assert_eq!((open.hope(), open.is_not_found(), open.is_gone()), (Hope::Failing, false, true));
        assert!(matches!(RequestError::all(vec![missing("hub")]), RequestError::NotFound { .. }));
    }
}
