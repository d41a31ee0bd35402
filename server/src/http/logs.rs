//! The logs of workflows and machines as lines: plain text, or JSON with `format=json`. With `follow=true` the answer goes
//! on until the workflow is over, or the client has gone.

use std::convert::Infallible;
use std::sync::Weak;
use std::time::Duration;

use ::logs::Reader;
use api::paths::SYSLOG;
use api::{LogLine, SyslogLine};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
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
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogQuery {
    /// Only lines of this action.
    pub action: Option<String>,
    pub follow: bool,
    pub since_seconds: Option<i64>,
    /// Only lines at or after this time.
    pub since_time: Option<Timestamp>,
    pub format: Format,
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

/// What a workflow's actions said. `None` if there is nothing of that name. An earlier workflow of the name has no part in it.
pub(crate) fn workflow_log(server: Server, name: &ObjectName, query: LogQuery) -> Option<Response> {
    let reader = server.workflow_log(name, query.since(Timestamp::now()))?;
    Some(answer(server, reader.of_action(query.action), query.follow, query.format, Some(name.clone())))
}

/// What a machine said outside of workflows.
pub(crate) fn machine_log(server: Server, name: &ObjectName, query: LogQuery) -> Option<Response> {
    let reader = server.machine_log(name, query.since(Timestamp::now()))?;
    Some(answer(server, reader, query.follow, query.format, None))
}

fn answer(server: Server, reader: Reader, follow: bool, format: Format, workflow: Option<ObjectName>) -> Response {
    let stopping = server.stopping();
    let changes = workflow.clone().map(|name| server.wait_for(Subject::Workflow(name)));
    let server = std::sync::Arc::downgrade(&server.0); // a connected reader must not keep the store open
    let reading = Reading { reader: Some(reader), follow, format, workflow, server, stopping, quiet: None, changes };
    let stream = futures_util::stream::unfold(reading, |mut reading| async move {
        let bytes = reading.next().await?;
        Some((Ok::<_, Infallible>(bytes), reading))
    });
    let kind = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Json => "application/x-ndjson",
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Body::from_stream(stream)).into_response()
}

struct Reading {
    /// Away while a thread reads for it.
    reader: Option<Reader>,
    follow: bool,
    format: Format,
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
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(changes) = &mut self.changes {
                changes.look(); // before the state of the workflow
            }
            let lines = self.read().await?;
            if !lines.is_empty() {
                self.quiet = None;
                return Some(self.form(&lines));
            }
            if !self.follow || self.is_over() {
                return None;
            }
            let wait = if self.quiet.is_some() { LATE } else { HEARTBEAT };
            let changed = self.reader.as_mut()?.changed();
            tokio::select! {
                () = changed => {}
                () = changed_of(&mut self.changes) => {}
                () = sleep(wait) => if self.format == Format::Json && self.quiet.is_none() {
                    return Some(Bytes::from_static(b"\n")); // each side notices that the other one is gone
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

    fn form(&self, lines: &[LogLine]) -> Bytes {
        let mut out = String::new();
        for line in lines {
            match self.format {
                Format::Text => out.push_str(&line.to_string()),
                Format::Json => out.push_str(&serde_json::to_string(line).unwrap_or_default()),
            }
            out.push('\n');
        }
        Bytes::from(out)
    }

    /// Whether nothing more will come. Late lines of a workflow that is over are waited for.
    fn is_over(&mut self) -> bool {
        let Some(inner) = self.server.upgrade() else { return true };
        let Some(name) = &self.workflow else { return false };
        let server = Server(inner);
        let state = |stored: &Stored<Workflow>| stored.object.status.state;
        let is_final = server.view().workflows.get(name).is_none_or(|stored| state(stored).is_some_and(WorkflowState::is_final));
        if !is_final {
            self.quiet = None;
            return false;
        }
        self.quiet.get_or_insert_with(Instant::now).elapsed() >= LATE
    }
}
