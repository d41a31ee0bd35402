//! The server as source of machines. While it does not answer, its last answer is used. So a booting machine keeps its address
//! while the server restarts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use model::{Hardware, Mac, ObjectName};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::pki_types::CertificateDer;
use trust::Fingerprint;

use super::{BootInterface, HardwareFuture, MachineSource, SourceError, SourceFuture};
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
    authority: Arc<OnceLock<CertificateDer<'static>>>,
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
        let authority_seen = Arc::default();
        let mut client = reqwest::Client::builder().timeout(PATIENCE);
        if let Some(Login { token, authority }) = login {
            let value = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| base.starts_with("https://"));
            let mut value = value.ok_or_else(|| SourceError::Login { url: base.clone() })?;
            value.set_sensitive(true);
            client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
            let tls = authority
                .client_config_with(Arc::clone(&authority_seen))
                .map_err(|source| SourceError::Tls { url: base.clone(), source })?;
            client = client.tls_backend_preconfigured(tls);
        }
        let client = client.build().map_err(|source| SourceError::Unreachable { url: base.clone(), source })?;
        Ok(Self { base, client, last: Mutex::default(), authority: authority_seen })
    }

    /// Asks for a machine that does not exist, and returns the certificate of the server's authority as PEM. `None` if the
    /// server is not called by TLS.
    ///
    /// # Errors
    /// If the server does not answer, or does not take this caller.
    pub async fn greet(&self) -> Result<Option<String>, SourceError> {
        self.fetch(&Mac::new([0; 6]).to_string()).await?;
        Ok(self.authority.get().map(|certificate| pem(certificate)))
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
        let Some(mut answer) = self.machine_of(key).await? else { return Ok(None) };
        answer.mac = answer.mac.or_else(|| key.parse().ok());
        Ok(BootInterface::known(&answer, key.parse().ok()))
    }

    /// Without memory of earlier answers: what a machine may read can change.
    async fn hardware(&self, key: String) -> Result<Option<Arc<Hardware>>, SourceError> {
        Ok(self.machine_of(&key).await?.map(|machine| Arc::new(machine.hardware)))
    }

    async fn machine_of(&self, key: &str) -> Result<Option<api::Machine>, SourceError> {
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
        serde_json::from_slice(&body).map(Some).map_err(|source| SourceError::Nonsense { url, source })
    }
}

/// RFC 7468 section 5.1.
fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

impl MachineSource for RemoteSource {
    fn machine(&self, mac: Mac) -> SourceFuture<'_> {
        Box::pin(self.ask(mac.to_string()))
    }

    /// The server looks a machine up by address under the same path.
    fn machine_at(&self, address: IpAddr) -> SourceFuture<'_> {
        Box::pin(self.ask(address.to_string()))
    }

    fn hardware_at(&self, address: IpAddr) -> HardwareFuture<'_> {
        Box::pin(async move {
            let Some(machine) = self.machine_of(&address.to_string()).await? else { return Ok(None) };
            if machine.same_address.is_empty() {
                return Ok(Some(Arc::new(machine.hardware)));
            }
            let others = machine.same_address.iter().filter_map(|name| name.parse().ok());
            let names = std::iter::once(machine.hardware.name()).chain(others).collect();
            Err(SourceError::Ambiguous { address, names })
        })
    }

    fn hardware_with(&self, mac: Mac) -> HardwareFuture<'_> {
        Box::pin(self.hardware(mac.to_string()))
    }

    fn hardware_named(&self, name: &ObjectName) -> HardwareFuture<'_> {
        Box::pin(self.hardware(name.to_string()))
    }

    fn booted(&self, mac: Mac, text: String) -> BoxFuture<'_, Result<bool, SourceError>> {
        let url = format!("{}{}", self.base, api::paths::machine_booted(&mac.to_string()));
        Box::pin(async move {
            let unreachable = |source| SourceError::Unreachable { url: url.clone(), source };
            let response = self.client.post(&url).body(text).send().await.map_err(unreachable)?;
            match response.status() {
                status if status.is_success() => Ok(true),
                reqwest::StatusCode::NOT_FOUND => Ok(false),
                status => {
                    let body = response.text().await.unwrap_or_default().chars().take(200).collect();
                    Err(SourceError::Refused { url, status: status.as_u16(), body })
                }
            }
        })
    }
}
