//! What happens, as it happens: one JSON object a line.

use std::convert::Infallible;

use api::paths::EVENTS;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::HEARTBEAT;
use crate::service::Server;

const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> Router<Server> {
    Router::new().route(EVENTS, get(events))
}

#[derive(Deserialize)]
struct EventsQuery {
    since: Option<u64>,
    /// With `false` the answer ends with the latest event.
    follow: Option<bool>,
}

async fn events(State(server): State<Server>, Query(query): Query<EventsQuery>) -> Response {
    let mut reader = server.events(query.since);
    if query.follow == Some(false) {
        let lines: Vec<u8> = std::iter::from_fn(|| reader.past()).flat_map(|event| json_line(&event)).collect();
        return ([(header::CONTENT_TYPE, NDJSON)], lines).into_response();
    }
    let stopping = server.stopping();
    drop(server); // a connected reader must not keep the store open
    let lines = futures_util::stream::unfold((reader, stopping), |(mut reader, mut stopping)| async move {
        let line = tokio::select! {
            event = reader.next() => json_line(&*event?),
            () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b"\n"),
            _ = stopping.wait_for(|stopping| *stopping) => return None,
        };
        Some((Ok::<_, Infallible>(line), (reader, stopping)))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

fn json_line(event: &api::Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}
