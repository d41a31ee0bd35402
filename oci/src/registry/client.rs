//! Requests to a registry or its mirrors: plain HTTP or HTTPS, with the token or password each asks for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::{self, Challenge, Token};
use super::pace::{Halt, Limits, Pace};
use super::registries::{Endpoint, Registries, Settings, authority};
use super::request::{DOCUMENT_MAX, RequestError};
use super::tls;
use crate::reference::Reference;

const REDIRECTS_MAX: usize = 5;
/// So long an unreachable endpoint is asked after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(60);

pub struct Client {
    http: reqwest::Client,
    /// For hosts with certificates of their own.
    special: HashMap<String, reqwest::Client>,
    registries: Registries,
    limits: Limits,
    /// The `Authorization` that worked last, by endpoint and repository.
    authorized: Mutex<HashMap<String, String>>,
    shunned: Mutex<HashMap<Url, Instant>>,
}

/// An answer and who gave it.
pub struct Answer {
    pub response: Response,
    pub name: String,
    pace: Pace,
}

impl Answer {
    pub async fn chunk(&mut self, what: &str) -> Result<Option<Bytes>, RequestError> {
        let registry = || self.name.clone();
        self.pace.next(&mut self.response).await.map_err(|halt| match halt {
            Halt::Broken(source) => RequestError::unreachable(registry(), source),
            Halt::TooSlow => RequestError::TooSlow { registry: registry(), what: what.to_owned() },
        })
    }

    /// The body of a small answer. A larger one does not fill the memory.
    async fn whole(mut self, what: &str) -> Result<Vec<u8>, RequestError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(what).await? {
            if body.len() + chunk.len() > DOCUMENT_MAX {
                return Err(RequestError::TooLarge { registry: self.name, what: what.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
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
        let build = |trust: &tls::Trust| -> anyhow::Result<reqwest::Client> {
            let builder = reqwest::Client::builder()
                .tls_backend_preconfigured(tls::client_config(trust)?)
                .user_agent(concat!("thimble/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(limits.connect)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(1);
            Ok(settings.proxies.configure(builder)?.build()?)
        };
        let common = tls::Trust::extra(tls::extra_certificates(settings.ca_file.as_deref())?);
        let mut special = HashMap::new();
        for (name, host) in registries.hosts() {
            if host.ca_file.is_some() || host.certificate_file.is_some() || host.unverified {
                special.insert(name.clone(), build(&common.for_host(host)?)?);
            }
        }
        let http = build(&common)?;
        Ok(Self { http, special, registries, limits, authorized: Mutex::default(), shunned: Mutex::default() })
    }

    /// A small document, whole, with the digest the registry gives it.
    pub async fn document(&self, image: &Reference, path: &str, accept: &str) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let answer = self.get(image, path, &|request| request.header(ACCEPT, accept)).await?;
        let named = answer.response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok((answer.whole(path).await?, named))
    }

    /// A blob from byte `start` on. The answer may begin at 0 all the same: its status says so.
    pub async fn blob(&self, image: &Reference, digest: &str, start: u64) -> Result<Answer, RequestError> {
        let ranged = |request: RequestBuilder| if start > 0 { request.header(RANGE, format!("bytes={start}-")) } else { request };
        self.get(image, &format!("blobs/{digest}"), &ranged).await
    }

    /// The last four bytes of a blob, where the registry serves ranges.
    pub async fn trailer(&self, image: &Reference, digest: &str) -> Option<[u8; 4]> {
        let tail = |request: RequestBuilder| request.header(RANGE, "bytes=-4");
        let answer = self.get(image, &format!("blobs/{digest}"), &tail).await.ok()?;
        if answer.response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        answer.whole(digest).await.ok()?.as_slice().try_into().ok()
    }

    /// The first endpoint that answers well. Otherwise the error has what each of them said.
    async fn get(&self, image: &Reference, path: &str, dress: &Dress<'_>) -> Result<Answer, RequestError> {
        let (mut tried, mut last) = (Vec::new(), None);
        for endpoint in self.endpoints(image) {
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
    fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let mut endpoints = self.registries.endpoints(image);
        if let Ok(shunned) = self.shunned.lock() {
            let away = |e: &Endpoint| shunned.get(&e.root).is_some_and(|since| since.elapsed() < SHUNNED_FOR);
            endpoints.sort_by_key(|e| e.mirror_of.is_some() && away(e));
        }
        endpoints
    }

    fn shun(&self, endpoint: &Endpoint) {
        if let Ok(mut shunned) = self.shunned.lock() {
            shunned.insert(endpoint.root.clone(), Instant::now());
        }
    }

    /// After wrong content from a mirror: the registry itself is asked first. Returns whether it may be asked.
    pub fn distrust_mirrors(&self, image: &Reference) -> bool {
        let endpoints = self.endpoints(image);
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
            return Err(RequestError::NotFound { registry: endpoint.name(), what: what.clone() });
        };
        self.ask(endpoint, &image.repository, &Request { method: Method::GET, url, what, dress, access: "pull" }).await
    }

    /// The answer, with a login or a token if the registry wants one.
    pub(super) async fn ask(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        let origin = endpoint.root.origin().ascii_serialization();
        let key = format!("{}/{repository}", endpoint.root);
        let remembered = self.authorized.lock().ok().and_then(|a| a.get(&key).cloned());
        let (answer, home) = self.send(endpoint, &origin, request, remembered.as_deref()).await?;
        // Only the registry may ask for its password, not a host that it redirects to.
        if answer.response.status() != StatusCode::UNAUTHORIZED || !home {
            return checked(answer, request, home).await;
        }
        let challenges = answer.response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = challenges.iter().filter_map(|v| v.to_str().ok()).find_map(auth::parse);
        let Some(authorization) = self.authorize(endpoint, repository, challenge, request.access).await? else {
            return checked(answer, request, home).await;
        };
        let (answer, home) = self.send(endpoint, &origin, request, Some(&authorization)).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED
            && let Ok(mut authorized) = self.authorized.lock()
        {
            authorized.insert(key, authorization);
        }
        checked(answer, request, home).await
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
            let client = self.special.get(&authority(&url)).unwrap_or(&self.http);
            let mut dressed = (request.dress)(client.request(request.method.clone(), url.clone()));
            if let Some(value) = authorization.filter(|_| at_home) {
                dressed = dressed.header(AUTHORIZATION, value);
            }
            let sent = tokio::time::timeout(self.limits.answer, dressed.send()).await;
            let sent = sent.map_err(|_| RequestError::TooSlow { registry: endpoint.name(), what: what() })?;
            let response = sent.map_err(|source| RequestError::unreachable(endpoint.name(), source))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((Answer { response, name: endpoint.name(), pace: Pace::new(self.limits) }, at_home));
            }
            let target = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).and_then(|v| url.join(v).ok());
            let target = target.ok_or_else(|| astray("to nowhere"))?;
            if url.scheme() == "https" && target.scheme() != "https" {
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
                let url = Url::parse(&auth::token_url(&realm, service.as_deref(), &scope)).ok();
                let Some(url) = url.filter(Url::has_host) else {
                    return Err(RequestError::NotFound {
                        registry: endpoint.name(),
                        what: format!("token service at {realm:?}"),
                    });
                };
                if login.is_some() && endpoint.root.scheme() == "https" && url.scheme() != "https" {
                    return Err(RequestError::Exposed { registry: endpoint.name(), realm });
                }
                let request = Request { method: Method::GET, url, what, dress: &|request| request, access };
                let (answer, home) =
                    self.send(endpoint, &request.url.origin().ascii_serialization(), &request, login.as_deref()).await?;
                let body = checked(answer, &request, home).await?.whole(what).await?;
                let wrong = |source| RequestError::Token { registry: endpoint.name(), source };
                serde_json::from_slice::<Token>(&body).map(Token::into_header).map_err(wrong)
            }
        }
    }
}

async fn checked(answer: Answer, request: &Request<'_>, home: bool) -> Result<Answer, RequestError> {
    let (registry, what) = (answer.name.clone(), request.what.to_owned());
    match answer.response.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND => Err(RequestError::NotFound { registry, what }),
        // A blob store's 403 means that its signed URL is too old; the registry gives a new one.
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if !home => {
            Err(RequestError::StoreDenied { registry, what, status })
        }
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(RequestError::Denied { registry, what, status }),
        // What is wrong with an upload stands in the answer.
        status if request.method == Method::PUT || request.method == Method::POST => {
            let text = String::from_utf8_lossy(&answer.whole(request.what).await?).chars().take(300).collect();
            Err(RequestError::Refused { registry, what, status, text })
        }
        status => {
            let asked = answer.response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
            Err(RequestError::Status { registry, what, status, retry_after: asked.map(Duration::from_secs) })
        }
    }
}

/// RFC 7617.
fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
