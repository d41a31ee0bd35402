//! What can go wrong between us and a registry, and what trying again could bring.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use crate::report::chain;

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
    #[error("registry {registry} has no {what}")]
    NotFound { registry: String, what: String },
    #[error("registry {registry} refuses {what} with status {status}: are REGISTRY_USERNAME and DOCKER_REGISTRY right?")]
    Denied { registry: String, what: String, status: StatusCode },
    #[error("registry {registry} answers {what} with status {status}")]
    Status { registry: String, what: String, status: StatusCode, retry_after: Option<Duration> },
    #[error("registry {registry} answers {what} with more than {DOCUMENT_MAX} bytes")]
    TooLarge { registry: String, what: String },
    #[error("registry {registry} is too slow with {what}")]
    TooSlow { registry: String, what: String },
    #[error("registry {registry} redirects {what} {problem}")]
    Redirect { registry: String, what: String, problem: &'static str },
    #[error("registry {registry} sends us to a store that refuses {what} with status {status}")]
    StoreDenied { registry: String, what: String, status: StatusCode },
    #[error("registry {registry} wants a password sent unencrypted to {realm}")]
    Exposed { registry: String, realm: String },
    #[error("registry {registry} names a token service whose answer is no token")]
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
    #[error("{}", tried.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; then "))]
    Everywhere { tried: Vec<RequestError> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hope {
    /// The same answer is certain.
    None,
    /// It answers, but not as it should.
    Failing,
    /// The registry is not there: it may be starting, or the network may come back.
    Absent,
}

impl RequestError {
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

    /// It is away or out of order, as opposed to saying no.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Status { .. } | Self::TooSlow { .. } => true,
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
