//! Calls to the server's API. An error names the server and its answer.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use api::{Event, Problem};
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;

/// The server sends an empty line every 15 s if it has no event.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(60);
/// The longest line of events. A server never sends a longer one.
const MAX_LINE: usize = 1 << 20;

pub(super) struct Connection {
    client: Client,
    base: String,
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
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => anyhow!("{}", problem.error),
            Err(_) => anyhow!("{} answered {}", self.base, self.code),
        }
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(json).context("this client cannot read it; do client and server have the same version?")
}

impl Connection {
    pub(super) fn to(url: &str) -> anyhow::Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("{url:?} is not the URL of a server, such as http://127.0.0.1:{}", ::machine::ports::HTTP);
        }
        let client = Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(SILENCE).build();
        Ok(Self { client: client.context("cannot prepare HTTP")?, base: url.trim_end_matches('/').to_owned() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.with_context(|| {
            format!("cannot reach the server at {}; does `thimble up` run there? --server chooses another one", self.base)
        })
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: String) -> anyhow::Result<Answer> {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(ANSWER).body(body);
        let response = self.send(request).await?;
        let code = response.status();
        let body = response.bytes().await.with_context(|| format!("the answer of {} was cut off", self.base))?;
        Ok(Answer { code, base: self.base.clone(), body: body.into() })
    }

    /// The answer of a successful call. Any other answer is an error.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.call(Method::GET, path, String::new()).await?;
        if answer.code.is_success() { answer.read() } else { Err(answer.refusal()) }
    }

    /// A stream of events. It ends with the connection.
    pub(super) async fn events(&self, since: Option<u64>) -> anyhow::Result<EventStream> {
        let since = since.map(|revision| format!("?since={revision}")).unwrap_or_default();
        let response = self.send(self.client.get(format!("{}/v1/events{since}", self.base))).await?;
        let code = response.status();
        if !code.is_success() {
            bail!("{} answered {code} to the request for events", self.base);
        }
        let chunks = response.bytes_stream().map_ok(Vec::from);
        Ok(EventStream { chunks: Box::pin(chunks), pending: Vec::new() })
    }
}

pub(super) struct EventStream {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    pending: Vec<u8>,
}

impl EventStream {
    /// The next event, or `None` when the connection has ended.
    ///
    /// # Errors
    /// When the line is not an event.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = line.trim_ascii();
                if !line.is_empty() {
                    return read(line).map(Some).context("cannot read an event of the server");
                }
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) if self.pending.len() + chunk.len() <= MAX_LINE => self.pending.extend(chunk),
                Some(Ok(_)) => bail!("the server sent an event of more than {MAX_LINE} bytes"),
                Some(Err(_)) | None => return Ok(None), // the caller connects again
            }
        }
    }
}
