//! Uploads: the blobs that the registry lacks, then the manifest that names them.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Method, RequestBuilder, Url};

use super::client::{Answer, Client, Request};
use super::registries::Endpoint;
use super::request::RequestError;
use super::said::Said;
use crate::Digest;
use crate::build::Blob;
use crate::manifest::{MANIFEST, media_type};

const ACCESS: &str = "pull,push";

/// A registry as the target of a push. Mirrors are not used.
pub struct Push<'c> {
    client: &'c Client,
    endpoint: Endpoint,
}

impl Client {
    /// `base` is the registry's `http://` or `https://` URL. Its path is ignored.
    pub fn push_to(&self, base: &Url) -> Push<'_> {
        Push { client: self, endpoint: Endpoint::itself(base, self.checks_at(base)) }
    }
}

impl Push<'_> {
    /// Uploads a blob unless the repository has it. `mount` names a repository of the same registry that may have it.
    ///
    /// # Errors
    /// If the registry cannot be reached or refuses.
    pub async fn blob(&self, repository: &str, blob: &Blob, mount: Option<&str>) -> Result<(), RequestError> {
        match self.ask(Method::HEAD, repository, self.url(repository, &format!("blobs/{}", blob.digest))?, &|r| r).await {
            Ok(_) => return Ok(()),
            // The blob is missing, or a server (or a store behind it) does not support HEAD. The upload decides.
            Err(error) if error.is_not_found() || error.is_not_understood() => {}
            Err(RequestError::StoreDenied { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut start = self.url(repository, "blobs/uploads/")?;
        if let Some(from) = mount {
            start.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", from);
        }
        let answer = self.ask(Method::POST, repository, start, &|r| r).await?.response;
        if mount.is_some() && answer.status() == reqwest::StatusCode::CREATED {
            return Ok(());
        }
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.and_then(|place| answer.url().join(place).ok());
        let astray = |problem| RequestError::Redirect { registry: self.endpoint.name(), what: blob.digest.to_string(), problem };
        let mut place = place.ok_or_else(|| astray("to nowhere"))?;
        if self.endpoint.root.scheme() == "https" && place.scheme() != "https" {
            return Err(astray("from HTTPS to plain HTTP"));
        }
        place.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let body = Bytes::from(blob.bytes.clone());
        let with_body = |r: RequestBuilder| r.header(CONTENT_TYPE, "application/octet-stream").body(body.clone());
        self.ask(Method::PUT, repository, place, &with_body).await.map(|_| ())
    }

    /// Stores a manifest or an index under a tag, or under its digest.
    ///
    /// # Errors
    /// If the registry cannot be reached, refuses, or stores something else.
    pub async fn manifest(&self, repository: &str, tag: &str, manifest: &Blob) -> Result<(), RequestError> {
        let body = Bytes::from(manifest.bytes.clone());
        let kind = media_type(&manifest.bytes).unwrap_or_else(|| MANIFEST.to_owned());
        let with_body = |r: RequestBuilder| r.header(CONTENT_TYPE, &kind).body(body.clone());
        let url = self.url(repository, &format!("manifests/{tag}"))?;
        let answer = self.ask(Method::PUT, repository, url, &with_body).await?;
        let stored = answer.response.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
        match stored.map(|stored| (stored, stored.parse::<Digest>())) {
            Some((_, Ok(digest))) if digest == manifest.digest => Ok(()),
            None => Ok(()),
            Some((stored, _)) => Err(RequestError::Altered {
                registry: answer.name.clone(),
                digest: manifest.digest.clone(),
                stored: stored.to_owned(),
            }),
        }
    }

    fn url(&self, repository: &str, path: &str) -> Result<Url, RequestError> {
        let what = || format!("{path} of {repository}");
        let missing = || RequestError::NotFound { registry: self.endpoint.name(), what: what(), said: Said::default() };
        self.endpoint.url(repository, path).ok_or_else(missing)
    }

    async fn ask(
        &self,
        method: Method,
        repository: &str,
        url: Url,
        dress: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Answer, RequestError> {
        let what = format!("{method} {}", url.path());
        self.client.ask(&self.endpoint, repository, &Request { method, url, what: &what, dress, access: ACCESS }).await
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
