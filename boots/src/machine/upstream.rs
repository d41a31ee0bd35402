//! The servers of a site. Each knows every machine, so boots asks the one that answered last, and the next while it is away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::machine::Chain;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::SourceError;

/// A client repeats its DISCOVER after 1 to 4 seconds; a later answer is of no use. All servers share this time.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Upstream {
    client: Client,
    /// URLs without a slash at their end. Never empty.
    bases: Vec<String>,
    /// The one that answered last.
    first: AtomicUsize,
}

/// What a server said, and at which URL.
pub struct Said {
    pub url: String,
    pub status: StatusCode,
    pub body: Bytes,
}

impl Said {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, SourceError> {
        serde_json::from_slice(&self.body).map_err(|source| SourceError::Nonsense { url: self.url.clone(), source })
    }

    pub fn refused(&self) -> SourceError {
        let body = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        SourceError::Refused { url: self.url.clone(), status: self.status.as_u16(), body }
    }
}

impl Upstream {
    pub fn new(bases: Vec<String>, headers: HeaderMap, tls: Option<rustls::ClientConfig>) -> Result<Self, SourceError> {
        let each = PATIENCE / u32::try_from(bases.len().max(1)).unwrap_or(u32::MAX);
        let mut client = Client::builder().timeout(each).default_headers(headers);
        if let Some(tls) = tls {
            client = client.tls_backend_preconfigured(tls);
        }
        let url = bases.first().cloned().unwrap_or_default();
        let client = client.build().map_err(|source| SourceError::Unreachable { url, source })?;
        Ok(Self { client, bases, first: AtomicUsize::new(0) })
    }

    /// Calls a path. A server that is away or in trouble is left for the next one.
    ///
    /// # Errors
    /// That of the last server, if none answers. A server in trouble that answers is no error here.
    pub async fn call(&self, path: &str, request: impl Fn(&Client, &str) -> RequestBuilder) -> Result<Said, SourceError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for index in (first..self.bases.len()).chain(0..first) {
            let Some(base) = self.bases.get(index) else { continue };
            let url = format!("{base}{path}");
            let said = said(request(&self.client, &url), url).await;
            if said.as_ref().is_ok_and(|said| !said.status.is_server_error()) {
                self.answered(index, first, last.as_ref());
                return said;
            }
            // A server that answers says more than one that is away.
            last = Some(last.filter(Result::is_ok).unwrap_or(said));
        }
        last.unwrap_or_else(|| Err(SourceError::Other("no server is named".into())))
    }

    /// Opens a stream at the server that answered last.
    ///
    /// # Errors
    /// When it does not answer, or not with a stream.
    pub async fn open(&self, path: &str, limit: Duration) -> Result<Response, SourceError> {
        let base = self.bases.get(self.first.load(Ordering::Relaxed)).map_or("", String::as_str);
        let url = format!("{base}{path}");
        let response = self.client.get(&url).timeout(limit).send().await;
        let response = response.map_err(|source| SourceError::Unreachable { url: url.clone(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(Said { url, status, body: response.bytes().await.unwrap_or_default() }.refused())
    }

    fn answered(&self, index: usize, first: usize, before: Option<&Result<Said, SourceError>>) {
        if index == first || self.first.swap(index, Ordering::Relaxed) == index {
            return; // nothing new, or another call has said it
        }
        let next = self.bases.get(index).map_or("", String::as_str);
        match before {
            Some(Err(error)) => log::warn!("{}; the server {next} is asked from now on", Chain(error)),
            Some(Ok(said)) => log::warn!("{}; the server {next} is asked from now on", Chain(&said.refused())),
            None => {}
        }
    }
}

async fn said(request: RequestBuilder, url: String) -> Result<Said, SourceError> {
    let unreachable = |source| SourceError::Unreachable { url: url.clone(), source };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    Ok(Said { url, status, body })
}
