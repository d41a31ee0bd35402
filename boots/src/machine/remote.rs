//! The servers as source of machines. While none answers, the last answer is used. So a booting machine keeps its address while
//! the server restarts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::machine::Chain;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use model::{Hardware, Mac, ObjectName};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::pki_types::CertificateDer;
use trust::Fingerprint;

use super::remote_leases::RemoteLeases;
use super::upstream::Upstream;
use super::{BootInterface, HardwareFuture, MachineSource, SourceError, SourceFuture};
use crate::dhcp::SharedLeases;
use crate::syslog::{RemoteSink, sink};

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
    upstream: Arc<Upstream>,
    last: Mutex<HashMap<String, (Instant, BootInterface)>>,
    authority: Arc<OnceLock<CertificateDer<'static>>>,
}

impl RemoteSource {
    /// `bases` are the servers' URLs, such as `https://10.0.0.1:6443`.
    ///
    /// # Errors
    /// When no HTTP client can be made, which means a broken TLS set-up.
    pub fn new(bases: &[String]) -> Result<Self, SourceError> {
        Self::with(bases, None)
    }

    /// The same for servers that want to know who asks.
    ///
    /// # Errors
    /// As `new`, and if the token would travel without TLS.
    pub fn with(bases: &[String], login: Option<&Login>) -> Result<Self, SourceError> {
        let bases: Vec<String> = bases.iter().map(|base| base.trim_end_matches('/').to_owned()).collect();
        // This has no effect if the program has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority_seen = Arc::default();
        let (mut headers, mut tls) = (HeaderMap::new(), None);
        if let Some(Login { token, authority }) = login {
            if let Some(url) = bases.iter().find(|base| !base.starts_with("https://")) {
                return Err(SourceError::Login { url: url.clone() });
            }
            let url = || bases.first().cloned().unwrap_or_default();
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SourceError::Login { url: url() })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            let config = authority.client_config_with(Arc::clone(&authority_seen));
            tls = Some(config.map_err(|source| SourceError::Tls { url: url(), source })?);
        }
        let upstream = Arc::new(Upstream::new(bases, headers, tls)?);
        Ok(Self { upstream, last: Mutex::default(), authority: authority_seen })
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

    /// The leases of DHCP pools, which the servers keep for all boots of the site.
    #[must_use]
    pub fn leases(&self) -> Arc<dyn SharedLeases> {
        Arc::new(RemoteLeases(Arc::clone(&self.upstream)))
    }

    /// A sink for lines of machines, which the server keeps. The future sends them, until the sink is dropped.
    pub fn sink(&self) -> (RemoteSink, impl Future<Output = ()> + Send + use<>) {
        sink(Arc::clone(&self.upstream))
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
        let said = self.upstream.call(&api::paths::machine(key), |client, url| client.get(url)).await?;
        if said.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !said.status.is_success() {
            return Err(said.refused());
        }
        said.json().map(Some)
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
        Box::pin(async move {
            let path = api::paths::machine_booted(&mac.to_string());
            let said = self.upstream.call(&path, |client, url| client.post(url).body(text.clone())).await?;
            match said.status {
                status if status.is_success() => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(said.refused()),
            }
        })
    }
}
