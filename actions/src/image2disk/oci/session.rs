//! Requests to one repository of a registry, with a token if the registry wants one.

use super::Login;
use crate::image2disk::http::{self, Failure, Web};
use crate::image2disk::source_error::SourceError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci::Reference;
use oci::challenge::{self, Challenge, escape};
use std::fmt;
use std::io::Read;
use std::sync::Mutex;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

const ACCEPT: &str = oci::manifest::ACCEPT;
/// Registries take manifests of up to 4 MiB. Those of disk images have some hundred bytes.
const DOCUMENT_MAX: u64 = 512 << 10;

pub struct Session {
    agent: Agent,
    /// `https://HOST/v2/REPOSITORY/`
    root: String,
    reference: String,
    repository: String,
    /// The header for a user with a password.
    basic: Option<String>,
    /// The header that the registry wants. A token ends after some minutes, and is asked for again then.
    authorization: Mutex<Option<String>>,
}

/// A header has the password.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(scheme: &str, reference: &Reference, login: Option<&Login>, web: &Web) -> Self {
        let words = |login: &Login| BASE64_STANDARD.encode(format!("{}:{}", login.username, login.password));
        Self {
            agent: http::agent(web, http::STALL),
            root: format!("{scheme}://{}/v2/{}/", reference.host(), reference.repository),
            reference: reference.to_string(),
            repository: reference.repository.clone(),
            basic: login.map(|login| format!("Basic {}", words(login))),
            authorization: Mutex::new(None),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// For the next request, if the registry has asked for it.
    pub fn authorization(&self) -> Option<String> {
        self.authorization.lock().ok()?.clone()
    }

    /// A manifest or a configuration.
    pub fn document(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let url = self.url(path);
        let mut answer = self.get(&url)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.renew(answer.headers())?;
            answer = self.get(&url)?;
        }
        match answer.status() {
            StatusCode::OK => body(answer, &url),
            status => Err(self.refused(&url, status)),
        }
    }

    fn get(&self, url: &str) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url).header(header::ACCEPT, ACCEPT);
        if let Some(authorization) = self.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.call().map_err(|error| http::unanswered(url, error))
    }

    /// What the registry wants after status 401: the password, or a token for this repository.
    pub fn renew(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let offered = headers.get_all(header::WWW_AUTHENTICATE);
        let wanted = match challenge::choose(offered.iter().filter_map(|value| value.to_str().ok())) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                Some(format!("Bearer {}", self.token(&realm, service.as_deref(), &scope)?))
            }
            // With a second challenge the password was wrong.
            _ => self.basic.clone().filter(|basic| self.authorization().as_ref() != Some(basic)),
        };
        let Some(wanted) = wanted else { return Err(self.refused(&self.root, StatusCode::UNAUTHORIZED)) };
        if let Ok(mut authorization) = self.authorization.lock() {
            *authorization = Some(wanted);
        }
        Ok(())
    }

    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, Failure> {
        let url = self.token_url(realm, service, scope);
        let mut request = self.agent.get(&url);
        if let Some(basic) = &self.basic {
            request = request.header(header::AUTHORIZATION, basic);
        }
        let answer = request.call().map_err(|error| http::unanswered(&url, error))?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(&url, answer.status()));
        }
        challenge::token(&body(answer, &url)?).map_err(|error| self.unusable(format!("{url} gives no token: {error}")))
    }

    /// A relative realm belongs to the registry. Over HTTPS, a realm without it would get the password in plain text.
    fn token_url(&self, realm: &str, service: Option<&str>, scope: &str) -> String {
        let host = self.root.split("/v2/").next().unwrap_or_default();
        let realm = if realm.starts_with('/') { format!("{host}{realm}") } else { realm.to_owned() };
        let realm = match realm.strip_prefix("http://") {
            Some(rest) if host.starts_with("https://") => format!("https://{rest}"),
            _ => realm,
        };
        let realm = realm.split('#').next().unwrap_or_default();
        let mut query: Vec<String> = service.map(|service| format!("service={}", escape(service))).into_iter().collect();
        query.extend(scope.split_ascii_whitespace().map(|scope| format!("scope={}", escape(scope))));
        format!("{realm}{}{}", if realm.contains('?') { '&' } else { '?' }, query.join("&"))
    }

    /// An error of the server may pass. The others are for the operator.
    fn refused(&self, url: &str, status: StatusCode) -> Failure {
        let problem = match status.as_u16() {
            401 | 403 => "the registry refuses it: REGISTRY_USERNAME and REGISTRY_PASSWORD name who may read it".to_owned(),
            404 => "the registry does not have it, or hides it from this user".to_owned(),
            408 | 429 | 500.. => return Failure::Transient(format!("{url} answers {status}")),
            _ => format!("{url} answers {status}"),
        };
        self.unusable(problem)
    }

    fn unusable(&self, problem: String) -> Failure {
        Failure::Final(SourceError::Artifact { reference: self.reference.clone(), problem })
    }
}

fn body(answer: Response<Body>, url: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = answer.into_body().into_reader().take(DOCUMENT_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Transient(format!("{url} ended early: {error}")))?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        let problem = format!("{url} has more than {DOCUMENT_MAX} bytes, which is not the manifest of a disk image");
        return Err(Failure::Final(SourceError::Artifact { reference: url.to_owned(), problem }));
    }
    Ok(bytes)
}
