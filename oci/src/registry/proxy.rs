//! Proxies, configured by the usual variables.

use std::fmt;

/// As in Go's programs, services on the machine itself are not reached through a proxy.
pub const LOCAL: &str = "localhost,127.0.0.0/8,::1";

#[derive(Clone, Default)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    /// Addresses, networks (CIDR), names and suffixes of names, separated by commas.
    pub exceptions: Option<String>,
}

/// A proxy's URL may contain a password, which must not be shown.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = |proxy: &Option<String>| proxy.as_ref().map(|_| "…");
        f.debug_struct("Proxies")
            .field("http", &given(&self.http))
            .field("https", &given(&self.https))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

impl Proxies {
    /// Sets only these proxies, because reqwest does not read the environment here.
    ///
    /// # Errors
    /// If a proxy is not a URL.
    pub fn configure(&self, mut builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::ClientBuilder> {
        builder = builder.no_proxy();
        let exceptions = [LOCAL, self.exceptions.as_deref().unwrap_or_default()].join(",");
        let except = || reqwest::NoProxy::from_string(&exceptions);
        if let Some(url) = &self.http {
            builder = builder.proxy(reqwest::Proxy::http(url)?.no_proxy(except()));
        }
        if let Some(url) = &self.https {
            builder = builder.proxy(reqwest::Proxy::https(url)?.no_proxy(except()));
        }
        Ok(builder)
    }
}
