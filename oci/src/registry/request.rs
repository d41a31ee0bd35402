//! Errors of a registry, and whether another attempt can help.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use machine::Chain;

use super::auth::BadToken;
use super::said::Said;
use crate::Digest;

/// The largest document. Manifests and configurations are kilobytes, and registries refuse more than 4 MiB.
pub const DOCUMENT_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("cannot reach registry {registry}")]
    Unreachable {
        registry: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("registry {registry} does not speak TLS: if plain HTTP is meant, name it in insecure_registries, with its port")]
    NoTls { registry: String },
    /// An error of a registry that may be used with or without TLS.
    #[error("registry {registry} answers neither HTTPS ({}) nor plain HTTP ({})", Chain(&**https), Chain(&**http))]
    Neither { registry: String, https: Box<RequestError>, http: Box<RequestError> },
    #[error(
        "the certificate of registry {registry} is not accepted ({}): build the ramdisk with its CA (--ca FILE), name it in \
         registries.json, or check whether the clock is right", trust::words(.problem)
    )]
    Untrusted { registry: String, problem: rustls::CertificateError },
    #[error("registry {registry} has no {what}{said}")]
    NotFound { registry: String, what: String, said: Said },
    #[error("registry {registry} refuses {what} with status {status}{said}: are REGISTRY_USERNAME and DOCKER_REGISTRY right?")]
    Denied { registry: String, what: String, status: StatusCode, said: Said },
    #[error("registry {registry} answered {what} with status {status}{said}")]
    Status { registry: String, what: String, status: StatusCode, retry_after: Option<Duration>, said: Said },
    #[error("registry {registry} has stored {stored} instead of {digest}")]
    Altered { registry: String, digest: Digest, stored: String },
    #[error("registry {registry} answers {what} with more than {limit} bytes")]
    TooLarge { registry: String, what: String, limit: usize },
    #[error("registry {registry} is too slow with {what}")]
    TooSlow { registry: String, what: String },
    #[error("registry {registry} redirects {what} {problem}")]
    Redirect { registry: String, what: String, problem: &'static str },
    #[error("registry {registry} redirects to a store that refuses {what} with status {status}{said}")]
    StoreDenied { registry: String, what: String, status: StatusCode, said: Said },
    #[error("registry {registry} wants a password sent unencrypted to {realm}")]
    Exposed { registry: String, realm: String },
    #[error("registry {registry} asks for a token from {realm:?}, which is not an http:// or https:// URL")]
    Realm { registry: String, realm: String },
    #[error("registry {registry} names a token service whose answer is not a token")]
    Token {
        registry: String,
        #[source]
        source: BadToken,
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
    /// The answer would be the same.
    None,
    /// The registry answers with a temporary error.
    Failing,
    /// The registry is unreachable. It may be starting, or the network may return.
    Absent,
}

impl RequestError {
    /// The error of a connection that failed or broke.
    pub fn unreachable(registry: String, source: reqwest::Error) -> Self {
        let no_tls = |cause: &(dyn Error + 'static)| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidMessage(_)));
        match trust::of_certificate(&source) {
            None if source.is_connect() && causes(&source).any(no_tls) => Self::NoTls { registry },
            Some(problem) => Self::Untrusted { registry, problem },
            None => Self::Unreachable { registry, source: source.without_url() },
        }
    }

    /// The error of one endpoint, or an error with the reasons of all.
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
            Self::Neither { https, http, .. } => https.hope().max(http.hope()),
            // The clock may be set later.
            Self::Untrusted { problem, .. } if trust::may_pass(problem) => Hope::Failing,
            Self::Status { status, .. } => hope_of_status(status.as_u16()),
            Self::TooSlow { .. } | Self::StoreDenied { .. } | Self::NoTls { .. } => Hope::Failing,
            // The last endpoint is the registry itself. If it does not have something, no mirror can have it.
            Self::Everywhere { .. } if self.is_not_found() => Hope::None,
            Self::Everywhere { tried } => tried.iter().map(Self::hope).max().unwrap_or(Hope::None),
            _ => Hope::None,
        }
    }

    /// The pause that the server asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Everywhere { tried } => tried.iter().filter_map(Self::retry_after).min(),
            Self::Neither { http, .. } => http.retry_after(),
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

    /// The registry does not support the request, as opposed to lacking the object.
    pub fn is_not_understood(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status.as_u16(), 400 | 405 | 406 | 501),
            Self::Everywhere { tried } => tried.last().is_some_and(Self::is_not_understood),
            _ => false,
        }
    }

    /// The registry is unreachable or out of order, as opposed to refusing.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoTls { .. }
            | Self::Untrusted { .. }
            | Self::Status { .. }
            | Self::TooSlow { .. }
            | Self::Neither { .. } => true,
            Self::Everywhere { tried } => tried.last().is_some_and(Self::is_gone),
            _ => false,
        }
    }

    /// No connection was made, so it is not known which protocol the server uses.
    pub(super) fn is_unconnected(&self) -> bool {
        matches!(self, Self::NoTls { .. }) || matches!(self, Self::Unreachable { source, .. } if source.is_connect())
    }

    /// Whether the error may come from a server that only supports TLS.
    pub(super) fn may_want_tls(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
            || matches!(self, Self::Status { status, .. } if matches!(status.as_u16(), 400 | 426))
    }

    /// Whether the server refused because of the range.
    pub(super) fn refuses_range(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status.as_u16(), 400 | 405 | 416 | 501),
            Self::Everywhere { tried } => tried.last().is_some_and(Self::refuses_range),
            _ => false,
        }
    }

    /// The machine itself has no network, as opposed to a registry that does not answer.
    pub fn is_network_lost(&self) -> bool {
        let source = match self {
            Self::Unreachable { source, .. } => source,
            Self::Neither { https, http, .. } => return https.is_network_lost() && http.is_network_lost(),
            Self::Everywhere { tried } => return tried.iter().all(Self::is_network_lost),
            _ => return false,
        };
        use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
        let lost = |error: &io::Error| matches!(error.kind(), HostUnreachable | NetworkDown | NetworkUnreachable);
        causes(source).filter_map(|cause| cause.downcast_ref()).any(lost)
    }
}

/// An error and its causes. The `source` of an io::Error skips the error that it wraps, so this adds it.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| {
        let error: &'e (dyn Error + 'static) = *error;
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// 502 to 504 come from a proxy in front of a registry that is down.
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
    fn only_temporary_errors_are_tried_again() {
        for (status, hope) in [(503, Hope::Absent), (500, Hope::Failing), (429, Hope::Failing), (400, Hope::None)] {
            assert_eq!(hope_of_status(status), hope, "{status}");
        }
    }

    #[test]
    fn a_refused_certificate_is_tried_again_only_if_the_clock_may_be_wrong() {
        use rustls::CertificateError::{Expired, NotValidYet, UnknownIssuer};
        for (problem, hope) in [(UnknownIssuer, Hope::None), (Expired, Hope::Failing), (NotValidYet, Hope::Failing)] {
            let inside = io::Error::other(rustls::Error::InvalidCertificate(problem.clone()));
            let found = trust::of_certificate(&io::Error::other(inside)).unwrap();
            assert_eq!(RequestError::Untrusted { registry: "x".into(), problem: found }.hope(), hope, "{problem:?}");
        }
        assert_eq!(trust::of_certificate(&io::Error::other("reset")), None);
    }

    #[test]
    fn every_endpoint_keeps_its_reason_and_the_registrys_reason_is_last() {
        let missing = |name: &str| RequestError::NotFound { registry: name.into(), what: "x".into(), said: Said::default() };
        let slow = |name: &str| RequestError::TooSlow { registry: name.into(), what: "x".into() };
        let judged = RequestError::all(vec![slow("mirror"), missing("hub")]);
        assert_eq!(judged.to_string(), "registry mirror is too slow with x; then registry hub has no x");
        assert_eq!((judged.hope(), judged.is_not_found()), (Hope::None, true));
        let open = RequestError::all(vec![missing("mirror"), slow("hub")]);
        assert_eq!((open.hope(), open.is_not_found(), open.is_gone()), (Hope::Failing, false, true));
        assert!(matches!(RequestError::all(vec![missing("hub")]), RequestError::NotFound { .. }));
    }
}
