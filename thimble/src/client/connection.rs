//! Calls to the server's API. An error names the server and its answer.

use std::io::Write;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use api::{Event, Problem};
use futures_util::{Stream, StreamExt, TryStreamExt};
use machine::files::SERVER_SOCKET as SOCKET;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use trust::Trust;

use super::ServerArgs;
use super::login::{Login, Proof};

/// The server sends an empty line every 15 s if it has no event.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(60);
/// The longest line of an answer. A server never sends a longer one.
const MAX_LINE: usize = 8 << 20;

/// Where a command finds its server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Url { url: String, is_loopback: bool },
}

/// The URL that was given, else this host's socket.
fn place(url: Option<&str>) -> anyhow::Result<Place> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(Place::Socket(SOCKET.into())) };
    if let Some(path) = url.strip_prefix("unix:") {
        // Both unix:/PATH and unix:///PATH are common.
        return Ok(Place::Socket(path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path).into()));
    }
    let url = url.trim_end_matches('/').to_owned();
    let parsed = Url::parse(&url).ok().filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    let Some(parsed) = parsed else {
        bail!("{url:?} is not the URL of a server, such as https://192.0.2.1:{} or unix:{SOCKET}", machine::ports::API)
    };
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if parsed.scheme() == "http" {
        bail!(
            "{url} is without TLS, and serves no object. Leave it out to use {SOCKET} as root of the server's host; or run \
             `thimble kubeconfig > kubeconfig` there, and give the file with --kubeconfig here; or use https://{host}:{} with \
             THIMBLE_TOKEN",
            machine::ports::API
        )
    }
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    Ok(Place::Url { url, is_loopback })
}

/// How the API in Kubernetes' shape refuses.
#[derive(Deserialize)]
struct Status {
    message: String,
}

pub struct Connection {
    client: Client,
    base: String,
    /// What a person calls it.
    shown: String,
    /// That of the kubeconfig.
    namespace: Option<String>,
}

/// The answer to a request for lines.
pub(super) enum Opened<T> {
    Lines(Lines<T>),
    Refused(Answer),
}

/// An answer with any code.
pub(super) struct Answer {
    pub code: StatusCode,
    base: String,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        read(&self.body).with_context(|| format!("cannot read the answer of {}", self.base))
    }

    /// The error of an answer that is not a success, with the server's text.
    pub(super) fn refusal(&self) -> anyhow::Error {
        let said = serde_json::from_slice::<Problem>(&self.body).map(|problem| problem.error);
        match said.or_else(|_| serde_json::from_slice::<Status>(&self.body).map(|status| status.message)) {
            Ok(text) => anyhow!("{text}"),
            Err(_) => anyhow!("{} answered {}", self.base, self.code),
        }
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(json).context("this client cannot read it; do client and server have the same version?")
}

fn client() -> ClientBuilder {
    Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(SILENCE)
}

fn bearer(token: &str) -> anyhow::Result<HeaderMap> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

impl Connection {
    pub fn to(server: &ServerArgs) -> anyhow::Result<Self> {
        if let Some(path) = &server.kubeconfig {
            return Self::with(Login::read(path)?);
        }
        let token = std::env::var("THIMBLE_TOKEN").ok().filter(|token| !token.is_empty());
        let mut client = client();
        let (base, shown) = match place(server.url.as_deref())? {
            Place::Socket(path) => {
                let shown = path.display().to_string();
                client = client.unix_socket(path).no_proxy();
                // No TLS there. But reqwest's own refuses to start on a host without certificate authorities.
                client = client.tls_backend_preconfigured(Trust::default().client_config()?);
                ("http://localhost".to_owned(), shown)
            }
            Place::Url { url, is_loopback } => {
                if is_loopback {
                    client = client.no_proxy(); // a proxy has a loopback of its own
                }
                let extra = server.ca_file.as_deref().map(trust::certificates).transpose().context("cannot use --ca-file")?;
                let trust = Trust { extra: extra.unwrap_or_default(), ..Trust::default() };
                client = client.tls_backend_preconfigured(trust.client_config()?);
                (url.clone(), url)
            }
        };
        if let Some(token) = token {
            client = client.default_headers(bearer(&token).context("THIMBLE_TOKEN is not a token")?);
        }
        Ok(Self { client: client.build().context("cannot prepare HTTP")?, base, shown, namespace: None })
    }

    fn with(login: Login) -> anyhow::Result<Self> {
        let Login { url, authority, proof, namespace } = login;
        let trust = Trust { extra: authority, ..Trust::default() };
        let mut client = client();
        if matches!(place(Some(&url))?, Place::Url { is_loopback: true, .. }) {
            client = client.no_proxy();
        }
        client = match proof {
            Proof::Token(token) => {
                let headers = bearer(&token).context("the token of the kubeconfig is not a token")?;
                client.default_headers(headers).tls_backend_preconfigured(trust.client_config()?)
            }
            Proof::Certificate { chain, key } => client.tls_backend_preconfigured(trust.client_config_as(chain, key)?),
        };
        Ok(Self { client: client.build().context("cannot prepare HTTP")?, shown: url.clone(), base: url, namespace })
    }

    /// The namespace that the login is for.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.with_context(|| {
            format!("cannot reach the server at {}; does `thimble up` run there? --server chooses another one", self.shown)
        })
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: String) -> anyhow::Result<Answer> {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(ANSWER).body(body);
        self.answer(self.send(request).await?).await
    }

    async fn answer(&self, response: Response) -> anyhow::Result<Answer> {
        let code = response.status();
        let body = response.bytes().await.with_context(|| format!("the answer of {} was cut off", self.shown))?;
        Ok(Answer { code, base: self.shown.clone(), body: body.into() })
    }

    /// A call with an object.
    pub(super) async fn json(&self, method: Method, path: &str, object: &serde_json::Value) -> anyhow::Result<Answer> {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(ANSWER).json(object);
        self.answer(self.send(request).await?).await
    }

    /// The answer of a successful call. Any other answer is an error.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.call(Method::GET, path, String::new()).await?;
        if answer.code.is_success() { answer.read() } else { Err(answer.refusal()) }
    }

    /// Writes the body of an answer to a file, as it comes.
    pub(super) async fn download(&self, path: &str, to: &mut std::fs::File) -> anyhow::Result<()> {
        let response = self.send(self.client.get(format!("{}{path}", self.base))).await?;
        let (code, cut) = (response.status(), || format!("the answer of {} was cut off", self.shown));
        if !code.is_success() {
            let body = response.bytes().await.with_context(cut)?.into();
            return Err(Answer { code, base: self.shown.clone(), body }.refusal());
        }
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            to.write_all(&chunk.with_context(cut)?).context("cannot write the file")?;
        }
        Ok(())
    }

    /// A stream of events. It ends with the connection.
    pub(super) async fn events(&self, since: Option<u64>) -> anyhow::Result<Lines<Event>> {
        self.events_since(since, true).await
    }

    /// Those that the server remembers and, if it should follow them, those that come.
    pub(super) async fn events_since(&self, since: Option<u64>, follow: bool) -> anyhow::Result<Lines<Event>> {
        let since = since.map(|revision| format!("&since={revision}")).unwrap_or_default();
        self.lines(&format!("{}?follow={follow}{since}", api::paths::EVENTS)).await
    }

    /// An answer that has one JSON object a line.
    pub(super) async fn lines<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Lines<T>> {
        match self.open(path).await? {
            Opened::Lines(lines) => Ok(lines),
            Opened::Refused(answer) => Err(answer.refusal()),
        }
    }

    /// The same, with the answer of a server that refuses.
    pub(super) async fn open<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Opened<T>> {
        let response = self.send(self.client.get(format!("{}{path}", self.base))).await?;
        let code = response.status();
        if !code.is_success() {
            let body = response.bytes().await.unwrap_or_default().into();
            return Ok(Opened::Refused(Answer { code, base: self.shown.clone(), body }));
        }
        let chunks = response.bytes_stream().map_ok(Vec::from);
        Ok(Opened::Lines(Lines { chunks: Box::pin(chunks), pending: Vec::new(), of: PhantomData }))
    }
}

pub(super) struct Lines<T> {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    pending: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next object, or `None` when the connection has ended.
    ///
    /// # Errors
    /// When the line is not such an object.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = line.trim_ascii();
                if !line.is_empty() {
                    return read(line).map(Some).context("cannot read a line of the server");
                }
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) if self.pending.len() + chunk.len() <= MAX_LINE => self.pending.extend(chunk),
                Some(Ok(_)) => bail!("the server sent a line of more than {MAX_LINE} bytes"),
                Some(Err(_)) | None => return Ok(None), // the caller connects again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_finds_its_server_by_itself() {
        let url = |url: &str, is_loopback| Some(Place::Url { url: url.to_owned(), is_loopback });
        let socket = |path: &str| Some(Place::Socket(path.into()));
        for (given, expected) in [
            (None, socket(SOCKET)),
            (Some(""), socket(SOCKET)),
            (Some("unix:/tmp/api.sock"), socket("/tmp/api.sock")),
            (Some("unix:///tmp/api.sock"), socket("/tmp/api.sock")),
            (Some("unix:api.sock"), socket("api.sock")),
            (Some("https://prov.example:6443/"), url("https://prov.example:6443", false)),
            (Some("https://localhost:1"), url("https://localhost:1", true)),
            (Some("https://[::1]:1"), url("https://[::1]:1", true)),
            (Some("https://[::ffff:127.0.0.1]:1"), url("https://[::ffff:127.0.0.1]:1", true)),
            (Some("https://127.0.0.1.evil.example"), url("https://127.0.0.1.evil.example", false)),
            (Some("10.0.0.1:7080"), None),
            (Some("ftp://x"), None),
        ] {
            assert_eq!(place(given).ok(), expected, "{given:?}");
        }
        let refused = place(Some("http://10.0.0.1:7080")).unwrap_err().to_string();
        assert!(refused.contains("--kubeconfig") && refused.contains("https://10.0.0.1:6443"), "{refused}");
    }
}
