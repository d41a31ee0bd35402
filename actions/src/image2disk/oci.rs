//! A disk image in a registry: `oci://[REGISTRY/]REPOSITORY[:TAG][@DIGEST][#FILE]`, as `oras push` and `docker push` put it there.
//!
//! The manifest names the blob and its digest, so that the image is checked without a further variable. The blob itself is a
//! download as any other one, which continues after a dropped connection. What is chosen in the documents is pure.

mod document;
mod session;

use super::checksum::{Algorithm, Checksum};
use super::http::{Failure, Web};
use super::patience::Patience;
use super::source_error::SourceError;
use super::tls;
use crate::say;
use crate::variables::{VariableError, Variables, unusable_because};
use oci::insecure::{Insecure, is_loopback};
use oci::reference::{BadReference, Version};
use oci::{Digest, Reference};
use serde_json::Value;
use std::fmt;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Instant;

pub use document::{Layer, entry, is_index, layer, layers};
pub use session::Session;

pub const PREFIX: &str = "oci://";
const SHA256: &str = "sha256";
const HTTPS_PORT: u16 = 443;

/// What the URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub reference: Reference,
    /// The title of one of its files.
    pub file: Option<String>,
}

impl Artifact {
    /// Parses what follows [`PREFIX`].
    ///
    /// # Errors
    /// A reference that Docker would refuse, too.
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        let (reference, file) = text.split_once('#').map_or((text, None), |(reference, file)| (reference, Some(file)));
        Ok(Self { reference: reference.parse()?, file: file.filter(|file| !file.is_empty()).map(str::to_owned) })
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.reference)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "#{file}"))
    }
}

/// How registries may be reached, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Access {
    login: Option<Login>,
    insecure: Arc<Insecure>,
    /// `SKIP_VERIFY` of Tinkerbell's oci2disk: HTTPS, and any certificate.
    unverified: bool,
}

#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Access {
    /// # Errors
    /// An entry of `INSECURE_REGISTRIES` that is neither a registry nor a network, or a value that is not a flag.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        const LIST: &str = "INSECURE_REGISTRIES";
        let text = |name| variables.optional(name).map(|_| variables.text(name)).transpose();
        let list = text(LIST)?.unwrap_or_default();
        let entries: Vec<String> = list.split([',', ' ']).map(str::to_owned).collect();
        let (insecure, wrong) = Insecure::parse(&entries);
        if let Some(wrong) = wrong.first() {
            return Err(unusable_because(LIST, wrong, &"it is neither a registry such as 10.0.0.1:5000 nor a network"));
        }
        let login = text("REGISTRY_USERNAME")?.map(|username| -> Result<Login, VariableError> {
            Ok(Login { username, password: text("REGISTRY_PASSWORD")?.unwrap_or_default() })
        });
        let unverified = variables.flag("SKIP_VERIFY")?.unwrap_or(false);
        Ok(Self { login: login.transpose()?, insecure: Arc::new(insecure), unverified })
    }

    fn is_insecure(&self, registry: &str) -> bool {
        let in_network = || {
            let name = self.insecure.must_resolve(registry)?;
            (name, HTTPS_PORT).to_socket_addrs().ok().map(|mut all| all.any(|address| self.insecure.has(address.ip())))
        };
        is_loopback(registry) || self.insecure.lists(registry) || in_network().unwrap_or(false)
    }
}

/// A registry that has answered for one repository.
#[derive(Debug)]
pub struct Registry {
    pub session: Arc<Session>,
    /// The image's manifest, for this machine's architecture.
    pub manifest: Value,
}

impl Registry {
    /// Asks for the manifest until it comes, or the time is over.
    ///
    /// # Errors
    /// What the registry refuses, and what is not an image or artifact.
    pub fn find(artifact: &Artifact, access: &Access, web: &Web, mut patience: Patience) -> Result<Self, SourceError> {
        let reference = &artifact.reference;
        loop {
            let reason = match attempt(reference, access, web) {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient(reason)) => reason,
            };
            let url = artifact.to_string();
            let Some(pause) = patience.pause(Instant::now()) else {
                return Err(SourceError::Lost { url, got: 0, total: None, reason });
            };
            say(&format!("{reason}; trying again in {} s", pause.as_secs_f32()));
            std::thread::sleep(pause);
        }
    }

    /// Where this blob is, for a download with this session.
    pub fn blob(&self, digest: &Digest) -> String {
        self.session.url(&format!("blobs/{digest}"))
    }
}

/// A disk image to download.
#[derive(Debug)]
pub struct Found {
    pub url: String,
    pub checksum: Checksum,
    pub session: Arc<Session>,
}

/// # Errors
/// Those of [`Registry::find`], and an artifact of which it is not clear which file is the disk image.
pub fn find(artifact: &Artifact, access: &Access, web: &Web, patience: Patience) -> Result<Found, SourceError> {
    let registry = Registry::find(artifact, access, web, patience)?;
    let unclear = |problem| SourceError::Artifact { reference: artifact.to_string(), problem };
    let Layer { digest, .. } = layer(&registry.manifest, artifact.file.as_deref()).map_err(unclear)?;
    let algorithm = if digest.algorithm() == SHA256 { Algorithm::Sha256 } else { Algorithm::Sha512 };
    let Some(checksum) = Checksum::of("the digest in the manifest", algorithm, digest.hex()) else {
        return Err(unclear(format!("its file has a {} digest, and only sha256 and sha512 are checked", digest.algorithm())));
    };
    Ok(Found { url: registry.blob(&digest), checksum, session: registry.session })
}

fn attempt(reference: &Reference, access: &Access, web: &Web) -> Result<Registry, Failure> {
    let (session, bytes) = first_answer(reference, access, web)?;
    let wrong = |problem| Failure::Final(SourceError::Artifact { reference: reference.to_string(), problem });
    let parsed = |bytes: &[u8], digest: Option<&Digest>| {
        if let Some(digest) = digest.filter(|digest| digest.like(bytes) != **digest) {
            return Err(wrong(format!("the registry gives another manifest than {digest}")));
        }
        serde_json::from_slice::<Value>(bytes).map_err(|error| wrong(format!("its manifest is not JSON ({error})")))
    };
    let pinned = match &reference.version {
        Version::Digest(digest) => Some(digest),
        Version::Tag(_) => None,
    };
    let mut manifest = parsed(&bytes, pinned)?;
    if is_index(&manifest) {
        let digest = entry(&manifest, document::architecture(std::env::consts::ARCH)).map_err(wrong)?;
        manifest = parsed(&session.document(&format!("manifests/{digest}"))?, Some(&digest))?;
    }
    Ok(Registry { session: Arc::new(session), manifest })
}

/// An insecure registry is asked over TLS first, as dockerd does.
fn first_answer(reference: &Reference, access: &Access, web: &Web) -> Result<(Session, Vec<u8>), Failure> {
    let insecure = access.is_insecure(&reference.registry);
    let mut web = web.clone();
    if insecure || access.unverified {
        web.tls = tls::unverified().map_err(|error| Failure::Final(SourceError::Trust(error)))?;
    }
    let path = format!("manifests/{}", reference.manifest());
    let ask = |scheme| {
        let session = Session::new(scheme, reference, access.login.as_ref(), &web);
        session.document(&path).map(|bytes| (session, bytes))
    };
    match ask("https") {
        Err(Failure::Transient(secure)) if insecure => ask("http").map_err(|failure| match failure {
            Failure::Transient(plain) => Failure::Transient(format!("{secure}; {plain}")),
            other => other,
        }),
        other => other,
    }
}
