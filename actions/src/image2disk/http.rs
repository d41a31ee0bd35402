//! One download over several connections: after a dropped connection it continues where it stopped.

use super::patience::Patience;
use super::source_error::SourceError;
use super::tls::TlsConnector;
use crate::say;
use machine::Chain;
use rustls::ClientConfig;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Body, BodyReader};

const CONNECT: Duration = Duration::from_secs(10);
/// A connection without data for this long counts as lost.
const STALL: Duration = Duration::from_secs(30);

pub struct Download {
    agent: Agent,
    url: String,
    file: Identity,
    offset: u64,
    body: Option<BodyReader<'static>>,
    patience: Patience,
}

/// What shows that the server still has the same file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Identity {
    etag: Option<String>,
    modified: Option<String>,
    total: Option<u64>,
}

enum Failure {
    /// It may succeed at another attempt.
    Transient(String),
    Final(SourceError),
}

impl Download {
    /// Connects, so size or refusal are known before anything is erased.
    pub fn start(url: &str, tls: &Arc<ClientConfig>, patience: Patience) -> Result<Self, SourceError> {
        let (agent, file) = (agent(tls), Identity::default());
        let mut download = Self { agent, url: url.to_owned(), file, offset: 0, body: None, patience };
        download.connect_patiently()?;
        Ok(download)
    }

    pub fn total(&self) -> Option<u64> {
        self.file.total
    }

    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if buffer.is_empty() || self.file.total == Some(self.offset) {
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
                    self.patience.reached(self.offset, Instant::now());
                    return Ok(got);
                }
                Err(error) => error.to_string(),
            };
            self.body = None;
            self.wait_or_give_up(reason)?;
        }
    }

    fn connect_patiently(&mut self) -> Result<(), SourceError> {
        loop {
            match self.connect() {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient(reason)) => self.wait_or_give_up(reason)?,
            }
        }
    }

    fn wait_or_give_up(&mut self, reason: String) -> Result<(), SourceError> {
        let Some(pause) = self.patience.pause(Instant::now()) else {
            return Err(SourceError::Lost { url: self.url.clone(), got: self.offset, total: self.file.total, reason });
        };
        say(&format!("{reason} at byte {}; trying again in {} s", self.offset, pause.as_secs_f32()));
        std::thread::sleep(pause);
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let mut request = self.agent.get(&self.url).header(header::ACCEPT_ENCODING, "identity");
        if self.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        let answer = request.call().map_err(|error| self.not_answered(error))?;
        match (answer.status(), self.offset) {
            (StatusCode::OK, 0) => self.file = Identity::of(answer.headers(), answer.body().content_length()),
            (StatusCode::PARTIAL_CONTENT, 1..) => self.must_continue(&answer)?,
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
        if Identity::of(answer.headers(), total.or(self.file.total)) != self.file {
            return Err(self.cannot_continue("the server has another file now"));
        }
        if self.file == Identity::default() {
            return Err(self.cannot_continue("the server gives neither size, ETag nor date"));
        }
        Ok(())
    }

    fn cannot_continue(&self, reason: &'static str) -> Failure {
        Failure::Final(SourceError::CannotContinue { url: self.url.clone(), at: self.offset, reason })
    }

    fn refused(&self, status: StatusCode) -> Failure {
        if status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) {
            return Failure::Transient(format!("{} answers {status}", self.url));
        }
        Failure::Final(SourceError::Refused { url: self.url.clone(), status: status.as_u16() })
    }

    fn not_answered(&self, error: ureq::Error) -> Failure {
        use ureq::Error::{ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
        let problem = if let Io(error) = &error { trust::of_certificate(error) } else { None };
        if let Some(problem) = problem.as_ref().filter(|problem| !trust::may_pass(problem)) {
            return Failure::Final(SourceError::Untrusted { url: self.url.clone(), problem: trust::words(problem) });
        }
        match error {
            Io(_) | Timeout(_) | HostNotFound | ConnectionFailed | Protocol(_) => {
                let reason = problem.map_or_else(
                    || Chain(&error).to_string(),
                    |problem| format!("its certificate is not accepted ({})", trust::words(&problem)),
                );
                Failure::Transient(format!("cannot reach {}: {reason}", self.url))
            }
            source => Failure::Final(SourceError::Unusable { url: self.url.clone(), source }),
        }
    }
}

fn agent(tls: &Arc<ClientConfig>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_resolve(Some(CONNECT))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        .max_idle_connections(0)
        .user_agent(concat!("thimble-image2disk/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(TlsConnector(tls.clone()));
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
