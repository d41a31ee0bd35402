//! The server as source of machines. While it does not answer, its last answer is used. So a booting machine keeps its address
//! while the server restarts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use model::Mac;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use trust::Fingerprint;

use super::{BootInterface, MachineSource, SourceError, SourceFuture};
use crate::syslog::{RemoteSink, sink};

/// A client repeats its DISCOVER after 1 to 4 seconds; a later answer is of no use.
const PATIENCE: Duration = Duration::from_secs(3);
/// An older answer could send an installed machine into installation again.
const STALE: Duration = Duration::from_secs(60);
const KEPT: usize = 4096;

/// How boots shows who it is, and by what it knows the server.
#[derive(Clone)]
pub struct Login {
    pub token: String,
    pub authority: Fingerprint,
}

#[derive(Debug)]
pub struct RemoteSource {
    base: String,
    client: reqwest::Client,
    last: Mutex<HashMap<String, (Instant, BootInterface)>>,
}

impl RemoteSource {
    /// `base` is the server's URL, such as `https://10.0.0.1:6443`.
    ///
    /// # Errors
    /// When no HTTP client can be made, which means a broken TLS set-up.
    pub fn new(base: &str) -> Result<Self, SourceError> {
        Self::with(base, None)
    }

    /// The same for a server that wants to know who asks.
    ///
    /// # Errors
    /// As `new`, and if the token would travel without TLS.
    pub fn with(base: &str, login: Option<&Login>) -> Result<Self, SourceError> {
        let base = base.trim_end_matches('/').to_owned();
        // This has no effect if the program has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().timeout(PATIENCE);
        if let Some(Login { token, authority }) = login {
            let value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| base.starts_with("https://"));
            let mut value = value.ok_or_else(|| SourceError::Login { url: base.clone() })?;
            value.set_sensitive(true);
            client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
            let tls = authority.client_config().map_err(|source| SourceError::Tls { url: base.clone(), source })?;
            client = client.tls_backend_preconfigured(tls);
        }
        let client = client.build().map_err(|source| SourceError::Unreachable { url: base.clone(), source })?;
        Ok(Self { base, client, last: Mutex::default() })
    }

    /// A sink for lines of machines, which the server keeps. The future sends them, until the sink is dropped.
    pub fn sink(&self) -> (RemoteSink, impl Future<Output = ()> + Send + use<>) {
        sink(self.client.clone(), &self.base)
    }

    async fn ask(&self, key: String) -> Result<Option<BootInterface>, SourceError> {
        let answer = self.fetch(&key).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(Some(machine)) => {
                if last.len() >= KEPT {
                    last.retain(|_, (at, _)| at.elapsed() < STALE);
                }
                if last.len() < KEPT {
                    last.insert(key, (Instant::now(), machine.clone()));
                }
                Ok(Some(machine))
            }
            Ok(None) => {
                last.remove(&key);
                Ok(None)
            }
            Err(error) => match last.get(&key) {
                Some((at, machine)) if at.elapsed() < STALE => {
                    let age = at.elapsed().as_secs();
                    log::warn!("{}; using its answer of {age} seconds ago for {key}", Chain(&error));
                    Ok(Some(machine.clone()))
                }
                _ => Err(error),
            },
        }
    }

    async fn fetch(&self, key: &str) -> Result<Option<BootInterface>, SourceError> {
        let url = format!("{}{}", self.base, api::paths::machine(key));
        let unreachable = |source| SourceError::Unreachable { url: url.clone(), source };
        let response = self.client.get(&url).send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(SourceError::Refused { url, status: status.as_u16(), body });
        }
        let mut answer: api::Machine = serde_json::from_slice(&body).map_err(|source| SourceError::Nonsense { url, source })?;
        answer.mac = answer.mac.or_else(|| key.parse().ok());
        Ok(BootInterface::known(&answer, key.parse().ok()))
    }
}

impl MachineSource for RemoteSource {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        Box::pin(self.ask(mac.to_string()))
    }

    /// The server looks a machine up by address under the same path.
    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        Box::pin(self.ask(address.to_string()))
    }
}
