//! Requests to a registry or its mirrors, and their order.

mod answer;
mod exchange;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, HeaderName, RANGE};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use tokio::time::timeout;
use trust::Trust;

pub use self::answer::Answer;
use super::pace::Limits;
use super::registries::{Checks, Endpoint, Registries, Settings, authority};
use super::request::{DOCUMENT_MAX, RequestError};
use super::said::Said;
use super::ways::Ways;
use crate::Digest;
use crate::manifest::Descriptor;
use crate::reference::Reference;

/// For this long an unreachable endpoint is used only after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
/// The limit for resolving a name to compare it with a list of networks.
const LOOKUP: Duration = Duration::from_secs(5);
/// Addresses of one layer that are tried.
const ELSEWHERE_MAX: usize = 4;
/// Repositories whose `Authorization` is remembered, and endpoints that are shunned.
const REMEMBERED: usize = 256;

pub struct Client {
    http: reqwest::Client,
    /// Clients for hosts with their own certificates.
    special: HashMap<String, reqwest::Client>,
    /// A client for insecure registries, and for their redirects.
    unchecked: reqwest::Client,
    registries: Registries,
    limits: Limits,
    ways: Ways,
    /// The last `Authorization` that worked, by endpoint and repository.
    authorized: Mutex<HashMap<String, String>>,
    shunned: Mutex<HashMap<Url, Instant>>,
}

/// Where a layer is.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// In the image's repository.
    Path(&'a str),
    Elsewhere(&'a Url),
}

type Dress<'a> = dyn Fn(RequestBuilder) -> RequestBuilder + Sync + 'a;

/// A request, which may be sent again with credentials.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    /// A description for messages.
    pub what: &'a str,
    pub dress: &'a Dress<'a>,
    /// What a token must allow: `pull`, or `pull,push`.
    pub access: &'a str,
}

impl Client {
    /// # Errors
    /// If a file of the settings or a certificate in it cannot be read.
    pub fn new(settings: &Settings, limits: Limits) -> anyhow::Result<Self> {
        let registries = Registries::read(settings)?;
        let build = |trust: &Trust| -> anyhow::Result<reqwest::Client> {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(trust.client_config()?)
                .user_agent(concat!("thimble/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(limits.connect)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(1);
            Ok(settings.proxies.configure(builder)?.build()?)
        };
        let extra = trust::certificates_if_there(settings.ca_file.as_deref())?;
        let common = Trust { extra, ..Trust::default() };
        let mut special = HashMap::new();
        for (name, host) in registries.hosts() {
            if host.ca_file.is_some() || host.certificate_file.is_some() || host.unverified {
                let mut trust = common.clone();
                if let Some(path) = &host.ca_file {
                    trust.extra.extend(trust::certificates(path)?);
                }
                trust.identity = host.certificate_file.clone().zip(host.key_file.clone());
                trust.unverified = host.unverified || registries.insecure.lists(name);
                special.insert(name.clone(), build(&trust)?);
            }
        }
        let unchecked = build(&Trust { unverified: true, ..Trust::default() })?;
        let http = build(&common)?;
        let (authorized, shunned) = (Mutex::default(), Mutex::default());
        Ok(Self { http, special, unchecked, registries, limits, ways: Ways::default(), authorized, shunned })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A complete small document, and the digest that the registry reports. An invalid digest is left out.
    pub async fn document(&self, image: &Reference, path: &str, accept: &str) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let answer = self.get(image, path, &|request| request.header(ACCEPT, accept)).await?;
        let named = answer.header(&HeaderName::from_static("docker-content-digest"));
        let named = named.and_then(|text| text.trim().parse::<Digest>().ok()).map(|digest| digest.to_string());
        Ok((answer.whole(path, DOCUMENT_MAX).await?, named))
    }

    /// A layer from byte `start` on. The answer may begin at 0 all the same: its status says so. A registry may lack a layer
    /// that it must not distribute. Then the manifest says where it is. A site with mirrors alone asks no other host.
    pub async fn layer(&self, image: &Reference, layer: &Descriptor, start: u64) -> Result<Answer, RequestError> {
        let path = format!("blobs/{}", layer.digest);
        let may_leave = || self.registries.endpoints(image).iter().any(|endpoint| endpoint.mirror_of.is_none());
        let missing = match self.from(image, Place::Path(&path), start).await {
            Err(error) if error.is_not_found() && !layer.urls.is_empty() && may_leave() => error,
            answer => return answer,
        };
        let mut tried = vec![missing];
        for url in layer.urls.iter().take(ELSEWHERE_MAX).filter_map(|url| Url::parse(url).ok()) {
            match self.from(image, Place::Elsewhere(&url), start).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tried.push(error),
            }
        }
        Err(RequestError::all(tried))
    }

    async fn from(&self, image: &Reference, place: Place<'_>, start: u64) -> Result<Answer, RequestError> {
        if start > 0 {
            match self.at(image, place, &|request| request.header(RANGE, format!("bytes={start}-"))).await {
                // A server without ranges should ignore the question. Some refuse it.
                Err(error) if error.refuses_range() => {}
                answer => return answer,
            }
        }
        self.at(image, place, &|request| request).await
    }

    async fn at(&self, image: &Reference, place: Place<'_>, dress: &Dress<'_>) -> Result<Answer, RequestError> {
        match place {
            Place::Path(path) => self.get(image, path, dress).await,
            Place::Elsewhere(url) => self.get_elsewhere(image, url, dress).await,
        }
    }

    /// An image chooses this address. So it gets no login, and is asked over HTTPS unless its host is listed as insecure.
    async fn get_elsewhere(&self, image: &Reference, url: &Url, dress: &Dress<'_>) -> Result<Answer, RequestError> {
        let (what, checks) = (&format!("a layer of {}", image.repository), self.registries.checks_at(url));
        let astray = |problem| RequestError::Redirect { registry: image.registry.clone(), what: what.clone(), problem };
        let url = exchange::without_user(url.clone()).ok_or_else(|| astray("by its manifest to something that is not HTTP"))?;
        if checks == Checks::Certificate && url.scheme() != "https" {
            return Err(astray("by its manifest to plain HTTP"));
        }
        let endpoint = Endpoint { registry: authority(&url), root: url.clone(), mirror_of: None, checks };
        self.ask_unknown(&endpoint, &Request { method: Method::GET, url, what, dress, access: "pull" }).await
    }

    /// The last four bytes of a blob, if the registry supports ranges.
    pub async fn trailer(&self, image: &Reference, digest: &str) -> Option<[u8; 4]> {
        let tail = |request: RequestBuilder| request.header(RANGE, "bytes=-4");
        let answer = self.get(image, &format!("blobs/{digest}"), &tail).await.ok()?;
        if answer.response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        answer.whole(digest, 4).await.ok()?.as_slice().try_into().ok()
    }

    /// The first successful answer of an endpoint. If all fail, the error contains all their reasons.
    async fn get(&self, image: &Reference, path: &str, dress: &Dress<'_>) -> Result<Answer, RequestError> {
        let (mut tried, mut last) = (Vec::new(), None);
        for endpoint in self.endpoints(image).await {
            match self.get_at(&endpoint, image, path, dress).await {
                Ok(answer) => return Ok(answer),
                Err(error) if endpoint.mirror_of.is_none() => last = Some(error),
                Err(error) => {
                    if error.is_gone() {
                        self.shun(&endpoint);
                    }
                    tried.push(error);
                }
            }
        }
        tried.extend(last); // the registry's error is last, whatever the order
        Err(RequestError::all(tried))
    }

    /// The endpoints in order. Recently unreachable mirrors come last.
    async fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let mut endpoints = self.registries.endpoints(image);
        for endpoint in endpoints.iter_mut().filter(|one| one.checks == Checks::Certificate && one.root.scheme() == "https") {
            if self.is_in_insecure_network(&endpoint.registry).await {
                endpoint.checks = if endpoint.mirror_of.is_none() { Checks::NothingOrPlain } else { Checks::Nothing };
            }
        }
        self.shunned_last(&mut endpoints);
        endpoints
    }

    fn shunned_last(&self, endpoints: &mut [Endpoint]) {
        if let Ok(shunned) = self.shunned.lock() {
            let away = |e: &Endpoint| shunned.get(&e.root).is_some_and(|since| since.elapsed() < SHUNNED_FOR);
            endpoints.sort_by_key(|e| e.mirror_of.is_some() && away(e));
        }
    }

    /// As in dockerd, a name that does not resolve is not in any network.
    async fn is_in_insecure_network(&self, registry: &str) -> bool {
        let insecure = &self.registries.insecure;
        let Some(name) = insecure.must_resolve(registry) else { return false };
        match timeout(LOOKUP, tokio::net::lookup_host((name, 443))).await {
            Ok(Ok(mut addresses)) => addresses.any(|address| insecure.has(address.ip())),
            _ => false,
        }
    }

    fn shun(&self, endpoint: &Endpoint) {
        if let Ok(mut shunned) = self.shunned.lock() {
            forget_if_full(&mut shunned);
            shunned.insert(endpoint.root.clone(), Instant::now());
        }
    }

    /// After wrong content from a mirror, the registry itself is used first. Returns whether it may be used.
    pub fn distrust_mirrors(&self, image: &Reference) -> bool {
        let endpoints = self.registries.endpoints(image);
        let mirrors = endpoints.iter().filter(|e| e.mirror_of.is_some()).inspect(|e| self.shun(e)).count();
        mirrors > 0 && endpoints.len() > mirrors
    }

    async fn get_at(
        &self,
        endpoint: &Endpoint,
        image: &Reference,
        path: &str,
        dress: &Dress<'_>,
    ) -> Result<Answer, RequestError> {
        let what = &format!("{path} of {}", image.repository);
        let Some(url) = endpoint.url(&image.repository, path) else {
            let (registry, said) = (endpoint.name(), Said::default());
            return Err(RequestError::NotFound { registry, what: what.clone(), said });
        };
        self.ask(endpoint, &image.repository, &Request { method: Method::GET, url, what, dress, access: "pull" }).await
    }
}

fn forget_if_full<K, V>(remembered: &mut HashMap<K, V>) {
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
