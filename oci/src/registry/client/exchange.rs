//! One request to one registry: over TLS or in plain text, with redirects, and with the token or password that it requires.

use std::time::{Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machine::Chain;
use reqwest::header::{AUTHORIZATION, DATE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use tokio::time::timeout;

use super::answer::{Answer, text};
use super::{Client, Request, forget_if_full};
use crate::registry::auth::{self, Challenge};
use crate::registry::pace::Pace;
use crate::registry::registries::{Checks, Endpoint, authority, in_plain};
use crate::registry::request::RequestError;
use crate::registry::retry_after;
use crate::registry::ways::Way;

const REDIRECTS_MAX: usize = 5;
/// The largest answer of a token service. The token is a part of it.
const TOKEN_ANSWER_MAX: usize = 256 << 10;

impl Client {
    /// Sends the request with or without TLS, depending on what the registry supports.
    pub(in crate::registry) async fn ask(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        request: &Request<'_>,
    ) -> Result<Answer, RequestError> {
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
                    log::info!("registry {registry} is insecure: HTTPS is used, and its certificate is not checked");
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
                    let why = match https {
                        RequestError::NoTls { .. } => "it does not speak TLS".to_owned(),
                        other => Chain(&other).to_string(),
                    };
                    log::info!("registry {registry} is insecure: plain HTTP is used, because {why}");
                }
                answer
            }
        }
    }

    async fn ask_in_time(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        let slow = |_| RequestError::TooSlow { registry: endpoint.name(), what: request.what.to_owned() };
        timeout(self.limits.exchange(), self.ask_here(endpoint, repository, request)).await.map_err(slow)?
    }

    /// Sends the request, with a login or a token if the registry requires one.
    async fn ask_here(&self, endpoint: &Endpoint, repository: &str, request: &Request<'_>) -> Result<Answer, RequestError> {
        let origin = endpoint.root.origin().ascii_serialization();
        let key = format!("{}/{repository}", endpoint.root);
        let remembered = self.authorized.lock().ok().and_then(|a| a.get(&key).cloned());
        let (answer, home) = self.send(endpoint, &origin, request, remembered.as_deref()).await?;
        // Only the registry may ask for its password, and not a host that it redirects to.
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

    /// Without any login, whatever it asks for.
    pub(super) async fn ask_unknown(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Answer, RequestError> {
        let asked = async {
            let (answer, _) = self.send(endpoint, "", request, None).await?;
            checked(answer, request, false).await
        };
        let slow = |_| RequestError::TooSlow { registry: endpoint.name(), what: request.what.to_owned() };
        timeout(self.limits.exchange(), asked).await.map_err(slow)?
    }

    #[cfg(feature = "push")]
    pub(in crate::registry) fn checks_at(&self, url: &Url) -> Checks {
        self.registries.checks_at(url)
    }

    /// As in dockerd, redirects of an insecure registry are not checked either, unless the target has its own settings.
    fn http(&self, endpoint: &Endpoint, url: &Url) -> &reqwest::Client {
        let fallback = if endpoint.checks == Checks::Certificate { &self.http } else { &self.unchecked };
        self.special.get(&authority(url)).unwrap_or(fallback)
    }

    /// Follows redirects. Credentials go to `home` only. The flag says whether the answer comes from there.
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

    /// The header that answers the challenge, if credentials exist.
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
                // A token for checking must also be valid for the upload that follows.
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
pub(super) fn without_user(mut url: Url) -> Option<Url> {
    let fits = matches!(url.scheme(), "http" | "https") && url.set_username("").is_ok() && url.set_password(None).is_ok();
    fits.then_some(url)
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
        // A blob store's 403 means that its signed URL has expired. The registry gives a new one.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !home => RequestError::StoreDenied { registry, what, status, said },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RequestError::Denied { registry, what, status, said },
        status => RequestError::Status { registry, what, status, retry_after, said },
    })
}

/// RFC 7617.
fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
