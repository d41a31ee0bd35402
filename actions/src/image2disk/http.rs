//! One download over several connections: after a dropped connection it continues where it stopped.

use super::oci::Session;
use super::patience::Patience;
use super::proxy::{self, Proxies};
use super::source_error::SourceError;
use super::tls::{self, TlsConnector};
use crate::say;
use crate::variables::{VariableError, Variables};
use machine::Chain;
use rustls::ClientConfig;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Body, BodyReader};

const CONNECT: Duration = Duration::from_secs(10);
/// A connection without data for this long counts as lost.
pub const STALL: Duration = Duration::from_secs(30);

/// How servers are reached.
#[derive(Debug, Clone)]
pub struct Web {
    pub tls: Arc<ClientConfig>,
    pub proxies: Proxies,
    /// A registry, which may ask for a token.
    pub session: Option<Arc<Session>>,
}

impl Web {
    pub(crate) fn read<E: From<trust::TrustError> + From<VariableError>>(variables: &Variables) -> Result<Self, E> {
        Ok(Self { tls: tls::config(variables)?, proxies: Proxies::read(variables)?, session: None })
    }

    /// For an action that reads local files only. A system has hundreds of certificates, which would be read for nothing.
    pub(crate) fn without_certificates<E>(variables: &Variables) -> Result<Self, E>
    where
        E: From<trust::TrustError> + From<VariableError>,
    {
        Ok(Self { tls: tls::built_in()?, proxies: Proxies::read(variables)?, session: None })
    }
}

pub struct Download {
    agent: Agent,
    session: Option<Arc<Session>>,
    /// Mirrors of one file, and which one is asked.
    urls: Vec<String>,
    current: usize,
    /// The server's file, and the mirror that it was learned from.
    file: Identity,
    learned_from: usize,
    /// The whole is checked by a hash, so that parts may come from several mirrors.
    hashed: bool,
    offset: u64,
    /// From whatever places. An image that is read at several ones has its progress here.
    delivered: u64,
    body: Option<BodyReader<'static>>,
    patience: Patience,
    /// The image is read at several places, so the server must serve ranges.
    jumped: bool,
}

/// What shows that the server still has the same file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Identity {
    etag: Option<String>,
    modified: Option<String>,
    total: Option<u64>,
}

#[derive(Debug)]
pub enum Failure {
    /// It may succeed at another attempt.
    Transient(String),
    Final(SourceError),
}

impl Download {
    /// Connects, so size or refusal are known before anything is erased.
    pub fn start(urls: &[String], web: &Web, hashed: bool, patience: Patience) -> Result<Self, SourceError> {
        let mut download = Self {
            agent: agent(web, STALL),
            session: web.session.clone(),
            urls: urls.to_vec(),
            current: 0,
            file: Identity::default(),
            learned_from: 0,
            hashed,
            offset: 0,
            delivered: 0,
            body: None,
            patience,
            jumped: false,
        };
        download.connect_patiently()?;
        Ok(download)
    }

    pub fn total(&self) -> Option<u64> {
        self.file.total
    }

    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Goes on at this byte, with a new request.
    pub fn seek(&mut self, to: u64) {
        (self.offset, self.body, self.jumped) = (to, None, true);
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if buffer.is_empty() || self.file.total.is_some_and(|total| self.offset >= total) {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else {
                self.connect_patiently()?;
                continue;
            };
            let reason = match body.read(buffer) {
                Ok(0) if self.file.total.is_none() => return Ok(0),
                Ok(0) => "the server closed the connection".to_owned(),
                Ok(got) => {
                    self.offset += got as u64;
                    self.delivered += got as u64;
                    self.patience.reached(self.delivered, Instant::now());
                    return Ok(got);
                }
                Err(error) => error.to_string(),
            };
            self.body = None;
            self.wait_or_give_up(reason)?;
        }
    }

    fn url(&self) -> String {
        self.urls.get(self.current).cloned().unwrap_or_default()
    }

    /// Asks each mirror in turn, beginning with the one that served last, and then waits.
    fn connect_patiently(&mut self) -> Result<(), SourceError> {
        loop {
            let (mut transient, mut last) = (None, None);
            for _ in 0..self.urls.len() {
                match self.connect() {
                    Ok(()) => return Ok(()),
                    Err(Failure::Transient(reason)) => transient = Some(reason),
                    Err(Failure::Final(error)) => {
                        if self.urls.len() > 1 {
                            say(&Chain(&error).to_string());
                        }
                        // To start again is better than to fail.
                        last = last.filter(|last| matches!(last, SourceError::CannotContinue { .. })).or(Some(error));
                    }
                }
                self.current = (self.current + 1) % self.urls.len().max(1);
            }
            match (transient, last) {
                (Some(_), Some(again @ SourceError::CannotContinue { .. })) | (None, Some(again)) => return Err(again),
                (Some(reason), _) => self.wait_or_give_up(reason)?,
                (None, None) => return Err(SourceError::NoUrl),
            }
        }
    }

    fn wait_or_give_up(&mut self, reason: String) -> Result<(), SourceError> {
        let Some(pause) = self.patience.pause(Instant::now()) else {
            return Err(SourceError::Lost { url: self.url(), got: self.offset, total: self.file.total, reason });
        };
        say(&format!("{reason} at byte {}; trying again in {} s", self.offset, pause.as_secs_f32()));
        std::thread::sleep(pause);
        Ok(())
    }

    fn request(&self) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(self.url()).header(header::ACCEPT_ENCODING, "identity");
        if self.offset > 0 || self.jumped {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        if let Some(authorization) = self.session.as_ref().and_then(|session| session.authorization()) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.call().map_err(|error| unanswered(&self.url(), error))
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let mut answer = self.request()?;
        if let Some(session) = self.session.as_ref().filter(|_| answer.status() == StatusCode::UNAUTHORIZED) {
            session.renew(answer.headers())?;
            answer = self.request()?;
        }
        match (answer.status(), self.offset) {
            (StatusCode::OK, _) if self.jumped => return Err(Failure::Final(SourceError::NoRanges { url: self.url() })),
            (StatusCode::OK, 0) => {
                self.file = Identity::of(answer.headers(), answer.body().content_length());
                self.learned_from = self.current;
            }
            (StatusCode::PARTIAL_CONTENT, _) if self.offset > 0 || self.jumped => self.must_continue(&answer)?,
            (StatusCode::OK, _) => return Err(self.cannot_continue("the server sends the whole file only")),
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => return Err(self.cannot_continue("the file became shorter")),
            (status, _) => return Err(self.refused(status)),
        }
        self.body = Some(answer.into_body().into_reader());
        Ok(())
    }

    fn must_continue(&self, answer: &Response<Body>) -> Result<(), Failure> {
        let range = text(answer.headers(), header::CONTENT_RANGE).as_deref().and_then(content_range);
        let Some((start, total)) = range else { return Err(self.cannot_continue("the server does not say which part it sends")) };
        if start != self.offset {
            return Err(self.cannot_continue("the server sends another part"));
        }
        if self.current != self.learned_from {
            // ETag and date are the other server's own. The hash over the whole shows whether it has the same file.
            return match self.hashed && total.is_some() && total == self.file.total {
                true => Ok(()),
                false => Err(self.cannot_continue("it is another mirror, and without a checksum the file could be another one")),
            };
        }
        if Identity::of(answer.headers(), total.or(self.file.total)) != self.file {
            return Err(self.cannot_continue("the server has another file now"));
        }
        if self.file == Identity::default() {
            return Err(self.cannot_continue("the server gives neither size, ETag nor date"));
        }
        Ok(())
    }

    fn cannot_continue(&self, reason: &'static str) -> Failure {
        Failure::Final(SourceError::CannotContinue { url: self.url(), at: self.offset, reason })
    }

    fn refused(&self, status: StatusCode) -> Failure {
        if status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) {
            return Failure::Transient(format!("{} answers {status}", self.url()));
        }
        Failure::Final(SourceError::Refused { url: self.url(), status: status.as_u16() })
    }
}

/// Whether to ask again after an error of the connection.
pub fn unanswered(url: &str, error: ureq::Error) -> Failure {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
    let problem = if let Io(error) = &error { trust::of_certificate(error) } else { None };
    if let Some(problem) = problem.as_ref().filter(|problem| !trust::may_pass(problem)) {
        return Failure::Final(SourceError::Untrusted { url: url.to_owned(), problem: trust::words(problem) });
    }
    match error {
        Io(_) | Timeout(_) | HostNotFound | ConnectionFailed | Protocol(_) => {
            let reason = problem.map_or_else(
                || Chain(&error).to_string(),
                |problem| format!("its certificate is not accepted ({})", trust::words(&problem)),
            );
            Failure::Transient(format!("cannot reach {url}: {reason}"))
        }
        source => Failure::Final(SourceError::Unusable { url: url.to_owned(), source }),
    }
}

pub(crate) fn agent(Web { tls, proxies, .. }: &Web, answer_within: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_resolve(Some(CONNECT))
        .timeout_recv_response(Some(answer_within))
        .timeout_per_read(Some(STALL))
        .max_idle_connections(0)
        // A registry's token is not for the store that it redirects to.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .proxy(proxies.tunnel())
        .user_agent(concat!("thimble-image2disk/", env!("CARGO_PKG_VERSION")))
        .build();
    let router = proxy::router(proxies, tls);
    let connector =
        ().chain(router).chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(TlsConnector(tls.clone()));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

impl Identity {
    fn of(headers: &HeaderMap, total: Option<u64>) -> Self {
        Self { etag: text(headers, header::ETAG), modified: text(headers, header::LAST_MODIFIED), total }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// `bytes 100-199/1000` begins at 100 of 1000; the total may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// From a server that answers each request with the next text, and then no more.
    fn download(answers: &'static [&str], patience: Patience) -> Download {
        let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/d", server.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut connection, _) = server.accept().unwrap();
                let _ = connection.read(&mut [0; 4096]).unwrap();
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        let none = Variables::of([("http_proxy", "")]);
        let web = Web { tls: tls::config(&none).unwrap(), proxies: Proxies::read(&none).unwrap(), session: None };
        Download::start(&[url], &web, false, patience).unwrap_or_else(|error| panic!("{error}"))
    }

    const WHOLE: &str = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd";
    const END: &str = "HTTP/1.1 206 Partial Content\r\nETag: \"1\"\r\nContent-Length: 2\r\nContent-Range: bytes 2-3/4\r\n\r\ncd";

    #[test]
    fn a_jump_is_not_progress() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(60), start);
        patience.reached(4, start); // before the write started again
        let pauses = [patience.pause(start), patience.pause(start)];
        let mut download = download(&[WHOLE, END], patience);
        download.seek(2);
        assert_eq!(download.read(&mut [0; 2]).unwrap(), 2);
        let next = download.patience.pause(start);
        assert!(next > pauses[1] && pauses[1] > pauses[0], "{pauses:?} {next:?}");
    }

    #[test]
    fn there_is_nothing_behind_the_end() {
        let mut download = download(&[WHOLE], Patience::new(Duration::ZERO, Instant::now()));
        download.seek(5);
        assert_eq!(download.read(&mut [0; 2]).unwrap(), 0);
    }

    #[test]
    fn a_content_range_has_start_and_total() {
        for (text, expected) in [
            ("bytes 100-199/1000", Some((100, Some(1000)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes */1000", None),
            ("items 1-2/3", None),
            ("bytes 1-2", None),
            ("bytes -5-2/x", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
