//! Requests to a registry: plain HTTP or HTTPS, with the token or password it asks for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, RANGE, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::auth::{self, Challenge, Token};
use super::reference::Reference;
use crate::settings::{RegistryLogin, Settings};
use crate::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No byte for so long: the connection is dead, whatever TCP believes.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Manifests and configurations are kilobytes; registries refuse more than 4 MiB.
const DOCUMENT_MAX: usize = 4 << 20;

pub struct Client {
    http: reqwest::Client,
    login: RegistryLogin,
    insecure: std::collections::BTreeSet<String>,
    /// The `Authorization` that worked last, by registry and repository.
    authorized: Mutex<HashMap<String, String>>,
}

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
    Status { registry: String, what: String, status: StatusCode },
    #[error("registry {registry} answers {what} with more than {DOCUMENT_MAX} bytes")]
    TooLarge { registry: String, what: String },
    #[error("registry {registry} names a token service whose answer is no token")]
    Token {
        registry: String,
        #[source]
        source: serde_json::Error,
    },
}

/// What trying again could bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// The registry is not there: it may be starting, or the network may come back.
    Absent,
    /// It answers, but not as it should.
    Failing,
    /// The same answer is certain.
    None,
}

impl RequestError {
    pub fn hope(&self) -> Hope {
        match self {
            Self::Unreachable { source, .. } if source.is_builder() || source.is_redirect() => Hope::None,
            Self::Unreachable { .. } => Hope::Absent,
            Self::Status { status, .. } => hope_of_status(status.as_u16()),
            Self::NotFound { .. } | Self::Denied { .. } | Self::TooLarge { .. } | Self::Token { .. } => Hope::None,
        }
    }

    /// The machine itself has no way out, as opposed to a registry that does not answer.
    pub fn is_network_lost(&self) -> bool {
        let Self::Unreachable { source, .. } = self else { return false };
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

impl Client {
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(settings.ca_file.as_deref())?)
            .user_agent(concat!("thimble/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self {
            http,
            login: settings.registry.clone(),
            insecure: settings.insecure_registries.clone(),
            authorized: Mutex::default(),
        })
    }

    /// A small document, whole, with the digest the registry gives it.
    pub async fn document(&self, image: &Reference, path: &str, accept: &str) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let response = self.get(image, path, &|request| request.header(ACCEPT, accept)).await?;
        let named = response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok((whole(image, path, response).await?, named))
    }

    /// A blob from byte `start` on. The answer may begin at 0 all the same: its status says so.
    pub async fn blob(&self, image: &Reference, digest: &str, start: u64) -> Result<Response, RequestError> {
        let ranged = |request: RequestBuilder| if start > 0 { request.header(RANGE, format!("bytes={start}-")) } else { request };
        self.get(image, &format!("blobs/{digest}"), &ranged).await
    }

    /// The last four bytes of a blob, where the registry serves ranges.
    pub async fn trailer(&self, image: &Reference, digest: &str) -> Option<[u8; 4]> {
        let tail = |request: RequestBuilder| request.header(RANGE, "bytes=-4");
        let response = self.get(image, &format!("blobs/{digest}"), &tail).await.ok()?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        whole(image, digest, response).await.ok()?.as_slice().try_into().ok()
    }

    async fn get(&self, image: &Reference, path: &str, dress: &Dress<'_>) -> Result<Response, RequestError> {
        let url = format!("{}://{}/v2/{}/{path}", self.scheme(image), image.host(), image.repository);
        let key = format!("{}/{}", image.registry, image.repository);
        let remembered = self.authorized.lock().ok().and_then(|a| a.get(&key).cloned());
        let response = self.send(image, dress(self.http.get(&url)), remembered.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return checked(image, path, response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = challenges.iter().filter_map(|v| v.to_str().ok()).find_map(auth::parse);
        let Some(authorization) = self.authorize(image, challenge).await? else { return checked(image, path, response) };
        let response = self.send(image, dress(self.http.get(&url)), Some(&authorization)).await?;
        if let Ok(mut authorized) = self.authorized.lock() {
            authorized.insert(key, authorization);
        }
        checked(image, path, response)
    }

    async fn send(
        &self,
        image: &Reference,
        request: RequestBuilder,
        authorization: Option<&str>,
    ) -> Result<Response, RequestError> {
        let request = match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        request.send().await.map_err(|source| unreachable(image, source))
    }

    /// The header that answers the challenge, if we have one to give.
    async fn authorize(&self, image: &Reference, challenge: Option<Challenge>) -> Result<Option<String>, RequestError> {
        let login = self.login_for(image);
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(login.map(|l| basic(&l.username, &l.password))),
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", image.repository));
                let url = auth::token_url(&realm, service.as_deref(), &scope);
                let header = login.map(|l| basic(&l.username, &l.password));
                let response = self.send(image, self.http.get(url), header.as_deref()).await?;
                let response = checked(image, "a token", response)?;
                let token = serde_json::from_slice::<Token>(&whole(image, "a token", response).await?);
                token.map(Token::into_header).map_err(|source| RequestError::Token { registry: image.registry.clone(), source })
            }
        }
    }

    /// Credentials go to the registry they were given for and to no other.
    fn login_for(&self, image: &Reference) -> Option<&RegistryLogin> {
        Some(&self.login).filter(|l| !l.username.is_empty() && l.registry == image.registry)
    }

    fn scheme(&self, image: &Reference) -> &'static str {
        let host = image.registry.rsplit_once(':').map_or(image.registry.as_str(), |(host, _)| host);
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if local || self.insecure.contains(&image.registry) { "http" } else { "https" }
    }
}

type Dress<'a> = dyn Fn(RequestBuilder) -> RequestBuilder + Sync + 'a;

fn unreachable(image: &Reference, source: reqwest::Error) -> RequestError {
    RequestError::Unreachable { registry: image.registry.clone(), source: source.without_url() }
}

/// The body of a small answer; whoever sends more does not fill our memory with it.
async fn whole(image: &Reference, what: &str, mut response: Response) -> Result<Vec<u8>, RequestError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| unreachable(image, source))? {
        if body.len() + chunk.len() > DOCUMENT_MAX {
            return Err(RequestError::TooLarge { registry: image.registry.clone(), what: what.to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn checked(image: &Reference, what: &str, response: Response) -> Result<Response, RequestError> {
    let (registry, what) = (image.registry.clone(), format!("{what} of {}", image.repository));
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::NOT_FOUND => Err(RequestError::NotFound { registry, what }),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(RequestError::Denied { registry, what, status }),
        status => Err(RequestError::Status { registry, what, status }),
    }
}

/// RFC 7617.
fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
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
}
