//! The logs of workflows and machines as lines: plain text, or JSON with `format=json`. With `follow=true` the answer goes
//! on until the workflow is over, or the client has gone.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::logs::Reader;
use api::paths::SYSLOG;
use api::{LogLine, SyslogLine};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::{self, BoxStream};
use jiff::{SignedDuration, Timestamp};
use log::error;
use machine::Chain;
use model::{ObjectName, Workflow, WorkflowState};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{HEARTBEAT, problem};
use crate::service::{Inner, Server};
use crate::view::Stored;
use crate::wake::{Subject, Waiting};

/// For the lines of one call.
const MAX_SYSLOG: usize = 4 << 20;
/// The number of the run that a log is of, as a header. A name can have several logs, one after the other.
pub(super) const RUN: &str = "thimble-run";
/// How long a follower waits for late lines of a workflow that is over.
const LATE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Server> {
    Router::new().route(SYSLOG, post(syslog).layer(DefaultBodyLimit::max(MAX_SYSLOG)))
}

/// Lines that boots got on another host.
async fn syslog(State(server): State<Server>, body: Bytes) -> Response {
    let lines: Vec<SyslogLine> = match serde_json::from_slice(&body) {
        Ok(lines) => lines,
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("the body must be an array of lines: {error}")),
    };
    let now = Timestamp::now();
    for SyslogLine { mac, address, tag, text, step } in lines {
        match (mac, step) {
            (Some(mac), Some(step)) => server.step_elsewhere(mac, step, now).await,
            _ => server.keep_syslog(crate::SyslogLine { mac, address, tag: &tag, text: &text }, now),
        }
    }
    StatusCode::NO_CONTENT.into_response()
}

/// The names are those of Kubernetes' `pods/log`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    /// Only lines of this action.
    pub action: Option<String>,
    pub follow: bool,
    pub since_seconds: Option<i64>,
    /// Only lines at or after this time.
    pub since_time: Option<Timestamp>,
    pub format: Format,
    /// Only the lines that this server has itself. With it servers ask each other.
    pub here: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl LogQuery {
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let ago = |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MIN);
        self.since_time.or_else(|| self.since_seconds.map(ago))
    }
}

/// Whose log is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// What the actions of a workflow said. An earlier workflow of the name has no part in it.
    Workflow(ObjectName),
    /// What a machine said outside of workflows.
    Machine(ObjectName),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(name) => write!(out, "Workflow {name}"),
            Self::Machine(name) => write!(out, "Hardware {name}"),
        }
    }
}

/// Lines as they come. What is empty only shows that there is nothing new now.
pub(super) type Lines = BoxStream<'static, Vec<LogLine>>;

/// The lines that this server has, as an answer. `None` if there is nothing of that name.
pub(super) fn own(server: Server, place: &Place, query: LogQuery) -> Option<Response> {
    let format = query.format;
    let (run, lines) = lines_of(server, place, query)?;
    Some(sent(format, run, lines))
}

/// The same as lines, with the number of the run that they are of.
pub(super) fn lines_of(server: Server, place: &Place, query: LogQuery) -> Option<(u64, Lines)> {
    let since = query.since(Timestamp::now());
    let (reader, workflow) = match place {
        Place::Workflow(name) => (server.workflow_log(name, since)?.of_action(query.action), Some(name.clone())),
        Place::Machine(name) => (server.machine_log(name, since)?, None),
    };
    let run = reader.source().run();
    let stopping = server.stopping();
    let changes = workflow.clone().map(|name| server.wait_for(Subject::Workflow(name)));
    let server = Arc::downgrade(&server.0); // a connected reader must not keep the store open
    let (follow, marks) = (query.follow, query.here);
    let reading = Reading { reader: Some(reader), follow, marks, workflow, server, stopping, quiet: None, changes };
    let lines = stream::unfold(reading, |mut reading| async move { Some((reading.next().await?, reading)) });
    Some((run, lines.boxed()))
}

/// An answer of lines.
pub(super) fn sent(format: Format, run: u64, lines: Lines) -> Response {
    let kind = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Json => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static(RUN), HeaderValue::from(run)),
    ];
    let bytes = lines.filter_map(move |lines| ready(form(format, &lines).map(Ok::<_, Infallible>)));
    (headers, Body::from_stream(bytes)).into_response()
}

/// In text nothing shows that there is nothing new.
fn form(format: Format, lines: &[LogLine]) -> Option<Bytes> {
    if lines.is_empty() {
        return (format == Format::Json).then(|| Bytes::from_static(b"\n"));
    }
    let mut out = String::new();
    for line in lines {
        match format {
            Format::Text => out.push_str(&line.to_string()),
            Format::Json => out.push_str(&serde_json::to_string(line).unwrap_or_default()),
        }
        out.push('\n');
    }
    Some(Bytes::from(out))
}

struct Reading {
    /// Away while a thread reads for it.
    reader: Option<Reader>,
    follow: bool,
    /// It shows once that everything was sent which there was.
    marks: bool,
    workflow: Option<ObjectName>,
    server: Weak<Inner>,
    stopping: watch::Receiver<bool>,
    /// Since when the workflow is over and has no new line.
    quiet: Option<Instant>,
    /// Changes of the workflow.
    changes: Option<Waiting>,
}

async fn changed_of(changes: &mut Option<Waiting>) {
    match changes {
        Some(changes) => changes.changed().await,
        None => std::future::pending().await,
    }
}

impl Reading {
    /// The next lines. `None` at the end of the answer.
    async fn next(&mut self) -> Option<Vec<LogLine>> {
        loop {
            if let Some(changes) = &mut self.changes {
                changes.look(); // before the state of the workflow
            }
            let lines = self.read().await?;
            if !lines.is_empty() {
                self.quiet = None;
                return Some(lines);
            }
            if !self.follow || self.is_over() {
                return None;
            }
            if std::mem::take(&mut self.marks) {
                return Some(Vec::new());
            }
            let wait = if self.quiet.is_some() { LATE } else { HEARTBEAT };
            let changed = self.reader.as_mut()?.changed();
            tokio::select! {
                () = changed => {}
                () = changed_of(&mut self.changes) => {}
                () = sleep(wait) => if self.quiet.is_none() {
                    return Some(Vec::new()); // each side notices that the other one is gone
                },
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
        }
    }

    async fn read(&mut self) -> Option<Vec<LogLine>> {
        let mut reader = self.reader.take()?;
        let (reader, lines) = tokio::task::spawn_blocking(move || {
            let lines = reader.read();
            (reader, lines)
        })
        .await
        .ok()?;
        self.reader = Some(reader);
        lines.inspect_err(|reason| error!("a log of machines cannot be read: {}", Chain(reason))).ok()
    }

    /// Whether nothing more will come. Late lines of a workflow that is over are waited for.
    fn is_over(&mut self) -> bool {
        let Some(inner) = self.server.upgrade() else { return true };
        let Some(name) = &self.workflow else { return false };
        if !has_ended(&Server(inner), name) {
            self.quiet = None;
            return false;
        }
        self.quiet.get_or_insert_with(Instant::now).elapsed() >= LATE
    }
}

/// Whether the actions of a workflow say nothing more, but for late lines.
pub(super) fn has_ended(server: &Server, name: &ObjectName) -> bool {
    let state = |stored: &Stored<Workflow>| stored.object.status.state;
    server.view().workflows.get(name).is_none_or(|stored| state(stored).is_some_and(WorkflowState::is_final))
}
