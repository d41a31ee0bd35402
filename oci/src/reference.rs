//! Image references: `[registry/]repository[:tag][@digest]`. oci-spec's parser is not used, because its regular expression
//! takes 11 MB of the machine's memory.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, NotADigest};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `host` or `host:port`, the same as in credentials and in lists of insecure registries.
    pub registry: String,
    pub repository: String,
    pub version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    Tag(String),
    /// Pinned: the manifest must have this digest, whatever the tag beside it.
    Digest(Digest),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    #[error("the image reference is empty")]
    Empty,
    #[error("image reference {reference:?}: {part:?} is not a valid {what}")]
    Part { reference: String, part: String, what: &'static str },
    #[error("image reference {reference:?}")]
    Digest {
        reference: String,
        #[source]
        source: NotADigest,
    },
}

/// Short names belong to Docker Hub, as in Docker, containerd and Tinkerbell's agent.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// One name for each registry: host names ignore case, and Docker Hub has several names.
pub fn canonical(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    match lower.as_str() {
        "index.docker.io" | "registry.hub.docker.com" | HUB_HOST => HUB.to_owned(),
        _ => lower,
    }
}

impl Reference {
    /// The host that serves the registry.
    pub fn host(&self) -> &str {
        if self.registry == HUB { HUB_HOST } else { &self.registry }
    }

    /// The part after `/manifests/` in the registry's API.
    pub fn manifest(&self) -> String {
        match &self.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if text.is_empty() {
            return Err(BadReference::Empty);
        }
        let bad = |part: &str, what| BadReference::Part { reference: text.to_owned(), part: part.to_owned(), what };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let parsed = digest.parse().map_err(|source| BadReference::Digest { reference: text.to_owned(), source })?;
                (name, Some(parsed))
            }
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((left, tag)) if !tag.contains('/') => (left, Some(tag)),
            _ => (name, None),
        };
        if let Some(tag) = tag.filter(|t| !is_tag(t)) {
            return Err(bad(tag, "tag"));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(&registry) {
            return Err(bad(&registry, "registry"));
        }
        if !is_repository(&repository) {
            return Err(bad(&repository, "repository name"));
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self { registry, repository, version })
    }
}

/// The first component is a registry if it has a dot or a port, or is `localhost`. A repository's component cannot have
/// these.
fn split_registry(name: &str) -> (String, String) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            let registry = canonical(first);
            let official = registry == HUB && !rest.contains('/');
            (registry, if official { format!("library/{rest}") } else { rest.to_owned() })
        }
        Some(_) => (HUB.to_owned(), name.to_owned()),
        None => (HUB.to_owned(), format!("library/{name}")),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')),
    };
    host_ok && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// Whether it is a valid repository: names with slashes between them. It cannot climb, because no name begins with a dot.
pub fn is_repository(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    inner(first) && inner(last) && text.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
}

pub fn is_tag(text: &str) -> bool {
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first_ok && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_expand_as_docker_expands_them() {
        let pinned = format!("a/b@sha256:{}", "0".repeat(64));
        for (given, want) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("registry-1.docker.io/a/b", "docker.io/a/b:latest"),
            ("Registry.Example/a", "registry.example/a:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("10.0.0.1:5000/image2disk:v1.0.0", "10.0.0.1:5000/image2disk:v1.0.0"),
            ("[fd00::1]:5000/a/b", "[fd00::1]:5000/a/b:latest"),
            ("quay.io/tinkerbell/actions/writefile:latest", "quay.io/tinkerbell/actions/writefile:latest"),
            (pinned.as_str(), &format!("docker.io/{pinned}")),
            (&pinned.replace('@', ":tag@"), &format!("docker.io/{pinned}")),
        ] {
            assert_eq!(given.parse::<Reference>().unwrap().to_string(), want, "{given}");
        }
    }

    #[test]
    fn an_invalid_reference_is_refused_and_quoted() {
        for bad in ["", "a b", "UPPER/case", "reg.example:99999/a", "a//b", "a:b c", "../../etc", "a@sha256:zz", "a/", "x.y/-a"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was accepted");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_accepted_reference_is_unchanged_when_written_and_read(text in "[a-z0-9.:/@_-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }

    #[test]
    fn docker_hub_is_served_by_another_host() {
        assert_eq!("alpine".parse::<Reference>().unwrap().host(), "registry-1.docker.io");
    }
}
