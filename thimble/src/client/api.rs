//! Calls to the server's API. An error names the server and what it said.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::StreamExt;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use server::Event;

/// The server sends an empty line every 15 s when nothing happens.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(60);
/// No event is longer; what is, is not from our server.
const MAX_LINE: usize = 1 << 20;

pub(super) struct Api {
    client: Client,
    base: String,
}

impl Api {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("{url:?} is not the URL of a server, such as http://127.0.0.1:7080");
        }
        let client = Client::builder().connect_timeout(Duration::from_secs(5)).read_timeout(SILENCE).build();
        Ok(Self { client: client.context("cannot prepare HTTP")?, base: url.trim_end_matches('/').to_owned() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.with_context(|| {
            format!("cannot reach the server at {}; does `thimble up` run there? --server says where", self.base)
        })
    }

    /// The answer's code and JSON, whatever the code is.
    pub(super) async fn call(&self, method: Method, path: &str, body: String) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(ANSWER).body(body);
        let response = self.send(request).await?;
        let code = response.status();
        let text = response.text().await.with_context(|| format!("the answer of {} was cut off", self.base))?;
        Ok((code, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// The JSON of a success; anything else is an error with the server's words.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (code, body) = self.call(Method::GET, path, String::new()).await?;
        if code.is_success() { Ok(body) } else { Err(self.refused(code, &body)) }
    }

    pub(super) fn refused(&self, code: StatusCode, body: &Value) -> anyhow::Error {
        match body.get("error").and_then(Value::as_str) {
            Some(text) => anyhow!("{text}"),
            None => anyhow!("{} answered {code}", self.base),
        }
    }

    /// A stream of events; it ends with the connection.
    pub(super) async fn events(&self, since: Option<u64>) -> anyhow::Result<EventStream> {
        let since = since.map(|revision| format!("?since={revision}")).unwrap_or_default();
        let response = self.send(self.client.get(format!("{}/v1/events{since}", self.base))).await?;
        let code = response.status();
        if !code.is_success() {
            return Err(anyhow!("{} answered {code} when asked for events", self.base));
        }
        Ok(EventStream { chunks: Box::pin(response.bytes_stream()), pending: Vec::new() })
    }
}

pub(super) struct EventStream {
    chunks: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<axum::body::Bytes>> + Send>>,
    pending: Vec<u8>,
}

impl EventStream {
    /// The next event, or `None` when the connection is over.
    ///
    /// # Errors
    /// When the line is none of ours.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = line.trim_ascii();
                if !line.is_empty() {
                    return serde_json::from_slice(line).map(Some).context("the server sent an event this client cannot read");
                }
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) if self.pending.len() + chunk.len() <= MAX_LINE => self.pending.extend_from_slice(&chunk),
                Some(Ok(_)) => bail!("the server sent an event of more than {MAX_LINE} bytes"),
                Some(Err(_)) | None => return Ok(None), // the caller connects again
            }
        }
    }
}
