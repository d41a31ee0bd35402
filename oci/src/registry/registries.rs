//! The sources of images: mirrors, credentials and trust of each registry, from `registries.json`. Docker's `config.json`
//! has the same form, with credentials only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use super::proxy::Proxies;
use crate::insecure::{Insecure, is_loopback};
use crate::reference::{Reference, canonical};

/// The host's settings for registries.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Mirrors, credentials and certificates of registries, as JSON.
    pub file: Option<PathBuf>,
    /// Entries of the form `REGISTRY=URL[,URL]`.
    pub mirrors: Vec<String>,
    /// Registries that need no valid certificate and may use plain HTTP, as in dockerd's list: `host[:port]` as in image
    /// references, or a network.
    pub insecure: BTreeSet<String>,
    /// Used only if it has a user name.
    pub login: Login,
    /// PEM bundle trusted in addition to the built-in roots.
    pub ca_file: Option<PathBuf>,
    pub proxies: Proxies,
    /// A user's `config.json` of Docker. Its logins are used for registries without another one.
    pub docker_file: Option<PathBuf>,
}

/// Credentials, sent only to the registry they belong to.
#[derive(Clone, Default)]
pub struct Login {
    pub registry: String,
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("registry", &self.registry).field("username", &self.username).finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
pub struct Registries {
    /// By the registry's name in image references. `*` stands for every registry without an entry.
    #[serde(default)]
    mirrors: BTreeMap<String, Mirrors>,
    /// By `host` or `host:port`, for registries and mirrors.
    #[serde(default)]
    hosts: BTreeMap<String, Host>,
    #[serde(default)]
    auths: BTreeMap<String, DockerLogin>,
    #[serde(skip)]
    pub insecure: Insecure,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mirrors {
    endpoints: Vec<Root>,
    /// Never use the registry itself.
    #[serde(default)]
    only: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    username: String,
    password: String,
    /// PEM bundle that is also trusted for this host.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate with its chain, and its key, as PEM.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// TLS is used, but the certificate is not checked.
    pub unverified: bool,
    plain_http: bool,
}

/// Debug is not derived, so that the password is not in any log.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("username", &self.username).field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerLogin {
    auth: String,
    username: String,
    password: String,
}

impl fmt::Debug for DockerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DockerLogin")
    }
}

/// The root of a registry's API, up to the repository: `https://host/v2`, or with a prefix after it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root(Url);

/// One server to request an image from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The registry's name in references and credentials.
    pub registry: String,
    pub root: Url,
    /// The registry that this one replaces, if it is a mirror.
    pub mirror_of: Option<String>,
    pub checks: Checks,
}

/// How the server of an endpoint is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// HTTPS with a trusted certificate.
    Certificate,
    /// No check, with the scheme of the URL.
    Nothing,
    /// No check, and plain HTTP if the server does not speak TLS.
    NothingOrPlain,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a list of registries")]
    Form {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("thimble.mirror {0:?}: expected REGISTRY=URL[,URL]")]
    Mirror(String),
    #[error("{path} has more than {FILE_MAX} bytes, which is too much for a list of registries")]
    TooLarge { path: PathBuf },
    #[error("registry {0} has more than {MIRRORS_MAX} mirrors: name the nearest")]
    TooManyMirrors(String),
}

const FILE_MAX: u64 = 1 << 20;
/// The most mirrors, because each one may delay a pull.
const MIRRORS_MAX: usize = 16;

impl Registries {
    pub fn read(settings: &Settings) -> Result<Self, RegistriesError> {
        let mut registries = match &settings.file {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        if let Some(path) = &settings.docker_file {
            for (registry, login) in Self::from_file(path)?.auths {
                registries.auths.entry(registry).or_insert(login);
            }
        }
        for text in &settings.mirrors {
            let (registry, endpoints) = mirrors(text).ok_or_else(|| RegistriesError::Mirror(text.clone()))?;
            registries.mirrors.insert(registry, Mirrors { endpoints, only: false });
        }
        if let Some((name, _)) = registries.mirrors.iter().find(|(_, mirrors)| mirrors.endpoints.len() > MIRRORS_MAX) {
            return Err(RegistriesError::TooManyMirrors(name.clone()));
        }
        let (insecure, wrong) = Insecure::parse(&settings.insecure);
        for entry in wrong {
            log::warn!("insecure_registries: {entry:?} is neither HOST[:PORT] nor a network such as 10.0.0.0/8; it is ignored");
        }
        registries.insecure = insecure;
        if !settings.login.username.is_empty() {
            let host = registries.hosts.entry(settings.login.registry.clone()).or_default();
            host.username.clone_from(&settings.login.username);
            host.password.clone_from(&settings.login.password);
        }
        Ok(registries)
    }

    fn from_file(path: &Path) -> Result<Self, RegistriesError> {
        let failed = |source| RegistriesError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(RegistriesError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&bytes).map_err(|source| RegistriesError::Form { path: path.to_owned(), source })
    }

    fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let read: Self = serde_json::from_slice(bytes)?;
        Ok(Self {
            mirrors: read.mirrors.into_iter().map(|(name, value)| (canonical(&name), value)).collect(),
            hosts: read.hosts.into_iter().map(|(name, value)| (canonical(&name), value)).collect(),
            auths: read.auths,
            insecure: Insecure::default(),
        })
    }

    pub fn hosts(&self) -> impl Iterator<Item = (&String, &Host)> {
        self.hosts.iter()
    }

    /// The servers to request an image from, in order.
    pub fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let mirrors = self.mirrors.get(&image.registry).or_else(|| self.mirrors.get("*"));
        let stands_in = |root: &Root| Endpoint {
            registry: authority(&root.0),
            root: root.0.clone(),
            mirror_of: Some(image.registry.clone()),
            checks: self.checks_at(&root.0),
        };
        let mut endpoints: Vec<Endpoint> = mirrors.iter().flat_map(|m| &m.endpoints).map(stands_in).collect();
        let (scheme, checks) = self.way(&image.registry);
        let itself = Url::parse(&format!("{scheme}://{}/v2", image.host())).ok();
        let itself = itself.filter(|_| !mirrors.is_some_and(|m| m.only && !m.endpoints.is_empty()));
        endpoints.extend(itself.map(|root| Endpoint { registry: image.registry.clone(), root, mirror_of: None, checks }));
        endpoints
    }

    /// The checks for a registry that is named by its URL.
    pub fn checks_at(&self, url: &Url) -> Checks {
        if self.is_insecure(&authority(url)) { Checks::Nothing } else { Checks::Certificate }
    }

    /// Whether the list names it, or it is on this machine and has no other settings.
    fn is_insecure(&self, registry: &str) -> bool {
        self.insecure.lists(registry) || (is_loopback(registry) && !self.hosts.get(registry).is_some_and(Host::is_about_tls))
    }

    /// Credentials are only sent to the registry they were given for.
    pub fn login(&self, registry: &str, repository: &str) -> Option<Login> {
        let registry = canonical(registry);
        let login = |username: &str, password: &str| Login {
            registry: registry.clone(),
            username: username.to_owned(),
            password: password.to_owned(),
        };
        if let Some(host) = self.hosts.get(&registry).filter(|host| !host.username.is_empty()) {
            return Some(login(&host.username, &host.password));
        }
        let fitting = self.auths.iter().filter_map(|(key, auth)| Some((covers(key, &registry, repository)?, auth)));
        let (_, auth) = fitting.max_by_key(|(length, _)| *length)?;
        if !auth.username.is_empty() {
            return Some(login(&auth.username, &auth.password));
        }
        let text = String::from_utf8(STANDARD.decode(auth.auth.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(login(username, password))
    }

    fn way(&self, registry: &str) -> (&'static str, Checks) {
        match self.hosts.get(registry) {
            Some(host) if host.plain_http => ("http", Checks::Certificate),
            _ if self.is_insecure(registry) => ("https", Checks::NothingOrPlain),
            _ => ("https", Checks::Certificate),
        }
    }
}

impl Host {
    fn is_about_tls(&self) -> bool {
        self.ca_file.is_some() || self.unverified || self.certificate_file.is_some()
    }
}

impl Endpoint {
    /// The registry at this URL.
    #[cfg(feature = "push")]
    pub fn itself(base: &Url, checks: Checks) -> Self {
        let mut root = base.clone();
        root.set_path("v2");
        root.set_query(None);
        Self { registry: authority(base), root, mirror_of: None, checks }
    }

    /// The same endpoint without TLS.
    pub fn in_plain(&self) -> Self {
        Self { root: in_plain(&self.root), checks: Checks::Nothing, ..self.clone() }
    }

    pub fn url(&self, repository: &str, path: &str) -> Option<Url> {
        let mut url = Url::parse(&format!("{}/{repository}/{path}", self.root.as_str().trim_end_matches('/'))).ok()?;
        if let Some(registry) = &self.mirror_of {
            url.query_pairs_mut().append_pair("ns", registry); // containerd uses this parameter to name the registry to a cache
        }
        Some(url)
    }

    /// The name for messages.
    pub fn name(&self) -> String {
        match &self.mirror_of {
            Some(registry) => format!("{} (mirror of {registry})", self.registry),
            None => self.registry.clone(),
        }
    }
}

/// The same URL without TLS: with its port if it has one, otherwise with HTTP's.
pub fn in_plain(url: &Url) -> Url {
    let mut plain = url.clone();
    let _ = plain.set_scheme("http"); // an https URL accepts it
    plain
}

/// Checks whether this is a `registries.json` that the agent understands.
///
/// # Errors
/// The line, and what is wrong there.
pub fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    Registries::parse(text).map(drop)
}

/// `host` or `host:port` in the form of references and credentials.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    canonical(&url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// How much of the repository's name a key of `auths` covers, or `None` if it is for another one.
fn covers(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let inside = path.is_empty() || repository.strip_prefix(path).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    (canonical(host) == registry && inside).then_some(path.len())
}

/// Parses `REGISTRY=URL[,URL]`.
fn mirrors(text: &str) -> Option<(String, Vec<Root>)> {
    let (registry, urls) = text.split_once('=')?;
    let roots = urls.split(',').map(|url| Root::parse(url.trim())).collect::<Option<Vec<_>>>()?;
    (!registry.is_empty()).then(|| (canonical(registry), roots))
}

impl Root {
    /// A path that contains `v2` is the API's root. Any other path is a prefix of the repositories.
    fn parse(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host())?;
        if !url.username().is_empty() || url.password().is_some() {
            return None; // credentials have a separate setting, which is not logged
        }
        let path = url.path().trim_matches('/').to_owned();
        let path = match path.split('/').any(|part| part == "v2") {
            true => path,
            false => format!("v2/{path}"),
        };
        url.set_path(path.trim_end_matches('/'));
        url.set_query(None);
        url.set_fragment(None);
        Some(Self(url))
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a mirror is an http:// or https:// URL without credentials");
        Self::parse(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
#[path = "registries_tests.rs"]
mod tests;
