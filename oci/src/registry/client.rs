//! Requests to a registry or its mirrors: plain HTTP or HTTPS, with the token or password each asks for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use machine::Chain;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderName, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;
use trust::Trust;

use super::auth::{self, Challenge};
use super::pace::{Halt, Limits, Pace};
use super::registries::{Checks, Endpoint, Registries, Settings, authority, in_plain};
use super::request::{DOCUMENT_MAX, RequestError};
use super::retry_after;
use super::said::{self, Said};
use super::ways::{Way, Ways};
use crate::Digest;
use crate::reference::Reference;

const REDIRECTS_MAX: usize = 5;
/// So long an unreachable endpoint is asked after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(60);
/// A name that a list of networks is compared with.
const LOOKUP: Duration = Duration::from_secs(5);
/// The answer of a token service. The token is a part of it.
const TOKEN_ANSWER_MAX: usize = 256 << 10;
/// Repositories whose `Authorization` is remembered, and endpoints that are shunned.
const REMEMBERED: usize = 256;

pub struct Client {
    http: reqwest::Client,
    /// For hosts with certificates of their own.
    special: HashMap<String, reqwest::Client>,
    /// For registries whose certificate does not matter, with whatever they redirect to.
    unchecked: reqwest::Client,
    registries: Registries,
    limits: Limits,
    ways: Ways,
    /// The `Authorization` that worked last, by endpoint and repository.
    authorized: Mutex<HashMap<String, String>>,
    shunned: Mutex<HashMap<Url, Instant>>,
}

/// An answer and who gave it.
pub struct Answer {
    pub response: Response,
    pub name: String,
    pace: Pace,
    within: Limits,
}

impl Answer {
    pub async fn chunk(&mut self, what: &str) -> Result<Option<Bytes>, RequestError> {
        let registry = || self.name.clone();
        self.pace.next(&mut self.response).await.map_err(|halt| match halt {
            Halt::Broken(source) => RequestError::unreachable(registry(), source),
            Halt::TooSlow => RequestError::TooSlow { registry: registry(), what: what.to_owned() },
        })
    }

    /// The body of a small answer. A larger one does not fill the memory, and a slow one does not go on for ever.
    async fn whole(mut self, what: &str, limit: usize) -> Result<Vec<u8>, RequestError> {
        let (name, within) = (self.name.clone(), self.within);
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(what).await? {
                if body.len() + chunk.len() > limit {
                    return Err(RequestError::TooLarge { registry: self.name, what: what.to_owned(), limit });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        let slow = || RequestError::TooSlow { registry: name, what: what.to_owned() };
        timeout(within.document(), read).await.unwrap_or_else(|_| Err(slow()))
    }

    /// What the body of an error says, as far as it comes soon.
    async fn said(mut self) -> Said {
        let (mut body, within) = (Vec::new(), self.within.words());
        let read = async {
            while body.len() < said::READ
                && let Ok(Some(chunk)) = self.chunk("the words of an error").await
            {
                body.extend_from_slice(&chunk);
            }
        };
        let _ = timeout(within, read).await; // what has come by then is enough
        Said::read(&body)
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        text(self.response.headers(), name)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

type Dress<'a> = dyn Fn(RequestBuilder) -> RequestBuilder + Sync + 'a;

/// What is sent, and sent again with what the registry wants to see.
pub(super) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    /// For messages.
    pub what: &'a str,
    pub dress: &'a Dress<'a>,
    /// What a token must allow: `pull`, or `pull,push`.
    pub access: &'a str,
}

impl Client {
    /// # Errors
    /// If a file of the settings cannot be read, or a certificate in it.
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

    /// A small document, whole, with the digest the registry gives it. What is not a digest is not given on.
    pub async fn document(&self, image: &Reference, path: &str, accept: &str) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let answer = self.get(image, path, &|request| request.header(ACCEPT, accept)).await?;
        let named = answer.header(&HeaderName::from_static("docker-content-digest"));
        let named = named.and_then(|text| text.trim().parse::<Digest>().ok()).map(|digest| digest.to_string());
        Ok((answer.whole(path, DOCUMENT_MAX).await?, named))
    }

    /// A blob from byte `start` on. The answer may begin at 0 all the same: its status says so.
    pub async fn blob(&self, image: &Reference, digest: &str, start: u64) -> Result<Answer, RequestError> {
        let path = format!("blobs/{digest}");
        if start > 0 {
            match self.get(image, &path, &|request| request.header(RANGE, format!("bytes={start}-"))).await {
                // A server without ranges should ignore the question. Some refuse it.
                Err(error) if error.refuses_range() => {}
                answer => return answer,
            }
        }
        self.get(image, &path, &|request| request).await
    }

    /// The last four bytes of a blob, where the registry serves ranges.
    pub async fn trailer(&self, image: &Reference, digest: &str) -> Option<[u8; 4]> {
        let tail = |request: RequestBuilder| request.header(RANGE, "bytes=-4");
        let answer = self.get(image, &format!("blobs/{digest}"), &tail).await.ok()?;
        if answer.response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        answer.whole(digest, 4).await.ok()?.as_slice().try_into().ok()
    }

    /// The first endpoint that answers well. Otherwise the error has what each of them said.
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
        tried.extend(last); // the registry's own word, whenever it was asked
        Err(RequestError::all(tried))
    }

    /// Mirrors that were unreachable a moment ago come last.
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

    /// A name that does not resolve is in no network, as for dockerd.
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

    /// After wrong content from a mirror: the registry itself is asked first. Returns whether it may be asked.
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

    /// The answer, in the way that the registry speaks.
    pub(super) async fn ask(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        if endpoint.checks != Checks::NothingOrPlain {
            return self.ask_in_time(endpoint, repository, request).await;
        }
        let registry = endpoint.registry.as_str();
        let plain = (endpoint.in_plain(), Request { url: in_plain(&request.url), method: request.method.clone(), ..*request });
        if self.ways.settled(registry, Instant::now()) == Some(Way::Plain) {
            match self.ask_in_time(&plain.0, repository, &plain.1).await {
                Err(error) if error.may_want_tls() => self.ways.unsettle(registry),
                answer => return answer,
            }
        }
        let settled = self.ways.settled(registry, Instant::now()) == Some(Way::Tls);
        let https = match self.ask_in_time(endpoint, repository, request).await {
            Err(error) if error.is_unconnected() && !settled => error,
            answer => {
                if !answer.as_ref().is_err_and(RequestError::is_unconnected)
                    && self.ways.settle(registry, Way::Tls, Instant::now())
                {
                    log::info!("registry {registry} is insecure: it is spoken to over HTTPS, and its certificate is not checked");
                }
                return answer;
            }
        };
        match self.ask_in_time(&plain.0, repository, &plain.1).await {
            Err(http) if http.is_unconnected() => {
                let (https, http) = (Box::new(https), Box::new(http));
                Err(RequestError::Neither { registry: endpoint.name(), https, http })
            }
            answer => {
                if self.ways.settle(registry, Way::Plain, Instant::now()) {
                    let why = https.why_not_tls().unwrap_or_else(|| Chain(&https).to_string());
                    log::info!("registry {registry} is insecure: it is spoken to over plain HTTP, because {why}");
                }
                answer
            }
        }
    }

    async fn ask_in_time(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        let slow = |_| RequestError::TooSlow { registry: endpoint.name(), what: request.what.to_owned() };
        timeout(self.limits.exchange(), self.ask_here(endpoint, repository, request)).await.map_err(slow)?
    }

    /// With a login or a token if the registry wants one.
    async fn ask_here(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        let origin = endpoint.root.origin().ascii_serialization();
        let key = format!("{}/{repository}", endpoint.root);
        let remembered = self.authorized.lock().ok().and_then(|a| a.get(&key).cloned());
        let (answer, home) = self.send(endpoint, &origin, request, remembered.as_deref()).await?;
        // Only the registry may ask for its password, not a host that it redirects to.
        if answer.response.status() != StatusCode::UNAUTHORIZED || !home {
            return checked(answer, request, home).await;
        }
        let challenges = answer.response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = auth::choose(challenges.iter().filter_map(|v| v.to_str().ok()));
        let Some(authorization) = self.authorize(endpoint, repository, challenge, request.access).await? else {
            return checked(answer, request, home).await;
        };
        let (answer, home) = self.send(endpoint, &origin, request, Some(&authorization)).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED
            && let Ok(mut authorized) = self.authorized.lock()
        {
            forget_if_full(&mut authorized);
            authorized.insert(key, authorization);
        }
        checked(answer, request, home).await
    }

    #[cfg(feature = "push")]
    pub(super) fn checks_at(&self, url: &Url) -> Checks {
        self.registries.checks_at(url)
    }

    /// As for dockerd, what an insecure registry redirects to is not checked either, unless it has settings of its own.
    fn http(&self, endpoint: &Endpoint, url: &Url) -> &reqwest::Client {
        let fallback = if endpoint.checks == Checks::Certificate { &self.http } else { &self.unchecked };
        self.special.get(&authority(url)).unwrap_or(fallback)
    }

    /// Follows redirects. Credentials go to `home` only; the flag says whether the answer comes from there.
    async fn send(
        &self,
        endpoint: &Endpoint,
        home: &str,
        request: &Request<'_>,
        authorization: Option<&str>,
    ) -> Result<(Answer, bool), RequestError> {
        let mut url = request.url.clone();
        let what = || request.what.to_owned();
        let astray = |problem| RequestError::Redirect { registry: endpoint.name(), what: what(), problem };
        for _ in 0..=REDIRECTS_MAX {
            let at_home = url.origin().ascii_serialization() == home;
            let mut dressed = (request.dress)(self.http(endpoint, &url).request(request.method.clone(), url.clone()));
            if let Some(value) = authorization.filter(|_| at_home) {
                dressed = dressed.header(AUTHORIZATION, value);
            }
            let sent = timeout(self.limits.answer, dressed.send()).await;
            let sent = sent.map_err(|_| RequestError::TooSlow { registry: endpoint.name(), what: what() })?;
            let response = sent.map_err(|source| RequestError::unreachable(endpoint.name(), source))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                let (name, within) = (endpoint.name(), self.limits);
                return Ok((Answer { response, name, pace: Pace::new(within), within }, at_home));
            }
            let target = text(response.headers(), &LOCATION).and_then(|place| url.join(place).ok()).and_then(without_user);
            let target = target.ok_or_else(|| astray("to nowhere"))?;
            if endpoint.checks == Checks::Certificate && url.scheme() == "https" && target.scheme() != "https" {
                return Err(astray("from HTTPS to plain HTTP"));
            }
            url = target;
        }
        Err(astray("in circles"))
    }

    /// The header that answers the challenge, if there is one to give.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        challenge: Option<Challenge>,
        access: &str,
    ) -> Result<Option<String>, RequestError> {
        let login = self.registries.login(&endpoint.registry, repository);
        let login = login.map(|login| basic(&login.username, &login.password));
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(login),
            Some(Challenge::Bearer { realm, service, scope }) => {
                // A token that was asked for by a look must be good for the upload that follows.
                let scope = scope.filter(|scope| access == "pull" || scope.contains("push"));
                let scope = scope.unwrap_or_else(|| format!("repository:{repository}:{access}"));
                let what = &format!("a token for {repository}");
                let Some(url) = auth::token_url(&endpoint.root, &realm, service.as_deref(), &scope) else {
                    return Err(RequestError::Realm { registry: endpoint.name(), realm });
                };
                let checked_only = endpoint.checks == Checks::Certificate;
                if login.is_some() && checked_only && endpoint.root.scheme() == "https" && url.scheme() != "https" {
                    return Err(RequestError::Exposed { registry: endpoint.name(), realm });
                }
                let request = Request { method: Method::GET, url, what, dress: &|request| request, access };
                let (answer, home) =
                    self.send(endpoint, &request.url.origin().ascii_serialization(), &request, login.as_deref()).await?;
                let body = checked(answer, &request, home).await?.whole(what, TOKEN_ANSWER_MAX).await?;
                let wrong = |source| RequestError::Token { registry: endpoint.name(), source };
                Ok(Some(format!("Bearer {}", auth::token(&body).map_err(wrong)?)))
            }
        }
    }
}

/// A user in the address of a redirect is not sent as a login.
fn without_user(mut url: Url) -> Option<Url> {
    let fits = matches!(url.scheme(), "http" | "https") && url.set_username("").is_ok() && url.set_password(None).is_ok();
    fits.then_some(url)
}

fn forget_if_full<K, V>(remembered: &mut HashMap<K, V>) {
    if remembered.len() >= REMEMBERED {
        remembered.clear();
    }
}

async fn checked(answer: Answer, request: &Request<'_>, home: bool) -> Result<Answer, RequestError> {
    let (registry, what, status) = (answer.name.clone(), request.what.to_owned(), answer.response.status());
    if status.is_success() {
        return Ok(answer);
    }
    let asked = answer.header(&RETRY_AFTER);
    let retry_after = asked.and_then(|text| retry_after::pause(text, answer.header(&DATE), SystemTime::now()));
    let said = answer.said().await;
    Err(match status {
        StatusCode::NOT_FOUND => RequestError::NotFound { registry, what, said },
        // A blob store's 403 means that its signed URL is too old; the registry gives a new one.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !home => RequestError::StoreDenied { registry, what, status, said },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RequestError::Denied { registry, what, status, said },
        status => RequestError::Status { registry, what, status, retry_after, said },
    })
}

/// RFC 7617.
fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
