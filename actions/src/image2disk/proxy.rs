//! Which way a request takes. Through a proxy, `http://` goes in absolute form (RFC 9112, section 3.2.2), because many proxies
//! allow CONNECT to port 443 only. `https://` goes through a tunnel, which ureq makes.

use super::tls::TlsConnector;
use crate::variables::{VariableError, Variables, unusable};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use ureq::http::Uri;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};
use ureq::{Error, Proxy};

/// The variables that curl and Go read, in the action's environment.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Way<'p> {
    Direct,
    Forward(&'p Proxy),
    Tunnel,
}

impl Proxies {
    /// # Errors
    /// The URL of a proxy that is none. Without that a machine would go round the proxy in silence.
    pub fn read(variables: &Variables) -> Result<Self, VariableError> {
        let first = |names: &[&'static str]| -> Result<Option<Proxy>, VariableError> {
            let Some(name) = names.iter().find(|name| variables.optional(name).is_some()) else { return Ok(None) };
            let text = variables.text(name)?;
            Proxy::new(&text).map(Some).map_err(|_| unusable(name, "***", "the URL of a proxy such as http://proxy.example:3128"))
        };
        let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| variables.text(name).ok()).unwrap_or_default();
        Ok(Self {
            http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            exceptions: exceptions.split([',', ' ']).filter(|entry| !entry.is_empty()).map(str::to_ascii_lowercase).collect(),
        })
    }

    /// For ureq's configuration, which makes tunnels by it. `None` if there is no proxy at all.
    pub fn tunnel(&self) -> Option<Proxy> {
        self.https.clone().or_else(|| self.http.clone())
    }

    fn way(&self, uri: &Uri) -> Way<'_> {
        if self.excepts(uri.host().unwrap_or_default()) {
            return Way::Direct;
        }
        match (uri.scheme_str(), &self.http, &self.https) {
            (Some("https"), _, Some(_)) => Way::Tunnel,
            (Some("http"), Some(proxy), _) => Way::Forward(proxy),
            _ => Way::Direct,
        }
    }

    /// An entry is a host, a domain with its hosts, an address, a network such as 10.0.0.0/8, or `*`.
    fn excepts(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        self.exceptions.iter().any(|entry| {
            let domain = entry.trim_start_matches('*').trim_start_matches('.');
            let below = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            entry == "*" || !domain.is_empty() && below || in_network(&host, entry)
        })
    }
}

fn in_network(host: &str, network: &str) -> bool {
    let Some((address, length)) = network.split_once('/') else { return false };
    let (Ok(host), Ok(address), Ok(length)) = (host.parse::<IpAddr>(), address.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    match (host, address) {
        (IpAddr::V4(host), IpAddr::V4(address)) if length <= 32 => {
            (host.to_bits() ^ address.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(host), IpAddr::V6(address)) if length <= 128 => {
            (host.to_bits() ^ address.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Connects where ureq would not: directly, or to a proxy that forwards.
#[derive(Debug)]
pub struct Router {
    pub proxies: Proxies,
    pub tls: TlsConnector,
}

impl<In: Transport> Connector<In> for Router {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        // ureq connects to the proxy of a tunnel by the same chain, with a configuration that has none.
        if details.config.proxy().is_none() {
            return Ok(None);
        }
        match self.proxies.way(details.uri) {
            Way::Tunnel => Ok(None),
            Way::Direct => Ok(self.reach(details, details.uri)?.map(Either::B)),
            Way::Forward(proxy) => {
                let Some(transport) = self.reach(details, proxy.uri())? else { return Ok(None) };
                let socket = TransportAdapter::new(transport, details.current_time.clone());
                let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
                let authority = details.uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
                let forward = Forward { buffers, socket, head: Some(Head { authority, authorization: authorization(proxy) }) };
                Ok(Some(Either::B(forward.boxed())))
            }
        }
    }
}

impl Router {
    fn reach(&self, details: &ConnectionDetails<'_>, uri: &Uri) -> Result<Option<Box<dyn Transport>>, Error> {
        let to = ConnectionDetails {
            uri,
            addrs: details.resolver.resolve(uri, details.config, details.timeout)?,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let socket = Connector::<()>::connect(&TcpConnector::default(), &to, None)?;
        Ok(self.tls.connect(&to, socket)?.map(Transport::boxed))
    }
}

fn authorization(proxy: &Proxy) -> Option<String> {
    let user = proxy.username()?;
    let words = format!("{user}:{}", proxy.password().unwrap_or_default());
    Some(format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(words)))
}

/// A connection to a proxy, on which the first line of the request names the server, too.
struct Forward {
    buffers: LazyBuffers,
    socket: TransportAdapter,
    /// Until the request's first line was sent.
    head: Option<Head>,
}

struct Head {
    authority: String,
    authorization: Option<String>,
}

impl Head {
    /// `GET /image HTTP/1.1` becomes `GET http://server/image HTTP/1.1`. ureq writes the line in one piece.
    fn rewrite(&self, output: &[u8]) -> Vec<u8> {
        let space = output.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let end = output.windows(2).position(|pair| pair == b"\r\n").map_or(output.len(), |at| at + 2);
        let (method, rest) = output.split_at(space);
        let (target, headers) = rest.split_at(end.saturating_sub(space).min(rest.len()));
        let authorization = self.authorization.as_deref().unwrap_or_default();
        [method, b"http://", self.authority.as_bytes(), target, authorization.as_bytes(), headers].concat()
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forward")
    }
}

impl Transport for Forward {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.socket.set_timeout(timeout);
        let output = self.buffers.output();
        let output = output.get(..amount).unwrap_or_default();
        match self.head.take() {
            Some(head) => self.socket.write_all(&head.rewrite(output))?,
            None => self.socket.write_all(output)?,
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        use std::io::Read;
        self.socket.set_timeout(timeout);
        let amount = self.socket.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.socket.get_mut().is_open()
    }
}

/// For the chain of an agent.
pub fn router(proxies: &Proxies, tls: &Arc<rustls::ClientConfig>) -> Router {
    Router { proxies: proxies.clone(), tls: TlsConnector(tls.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_and_the_exceptions_choose_the_way() {
        let proxies = Proxies::read(&Variables::of([
            ("HTTP_PROXY", "http://plain.example:3128"),
            ("https_proxy", "http://tunnel.example:3128"),
            ("NO_PROXY", "local.example,.corp.example, 10.0.0.0/8,fd00::/8"),
        ]))
        .unwrap();
        for (uri, expected) in [
            ("http://images.example/d", "Forward"),
            ("https://images.example/d", "Tunnel"),
            ("http://local.example/d", "Direct"),
            ("http://a.local.example/d", "Direct"),
            ("http://notlocal.example/d", "Forward"),
            ("https://x.corp.example:8443/d", "Direct"),
            ("http://10.77.0.1:7080/d", "Direct"),
            ("http://11.77.0.1:7080/d", "Forward"),
            ("http://[fd12::1]:7080/d", "Direct"),
            ("http://[fe12::1]:7080/d", "Forward"),
        ] {
            let way = format!("{:?}", proxies.way(&uri.parse().unwrap()));
            assert!(way.starts_with(expected), "{uri}: {way}");
        }
        let all = Proxies::read(&Variables::of([("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "*")])).unwrap();
        assert_eq!(all.way(&"http://a/".parse().unwrap()), Way::Direct);
        assert_eq!(Proxies::default().way(&"http://a/".parse().unwrap()), Way::Direct);
    }

    #[test]
    fn a_proxy_that_is_none_is_named_without_its_password() {
        let error = Proxies::read(&Variables::of([("HTTP_PROXY", "sockz://joe:t0p@proxy")])).unwrap_err().to_string();
        assert!(error.contains("HTTP_PROXY") && !error.contains("t0p"), "{error}");
    }

    #[test]
    fn the_first_line_names_the_server() {
        let head =
            Head { authority: "images.example:8080".into(), authorization: Some("Proxy-Authorization: Basic eA==\r\n".into()) };
        assert_eq!(
            String::from_utf8(head.rewrite(b"GET /d?x=1 HTTP/1.1\r\nhost: images.example\r\n\r\n")).unwrap(),
            "GET http://images.example:8080/d?x=1 HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nhost: images.example\r\n\r\n"
        );
    }
}
