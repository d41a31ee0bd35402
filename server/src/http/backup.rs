//! The whole store as it is at one revision, while writers go on.

use std::convert::Infallible;

use api::backup::{Entry, Head, LAYOUT, Writer};
use api::paths::BACKUP;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use jiff::Timestamp;
use log::info;

use super::failed;
use crate::service::Server;
use crate::store::{FORMAT, KeyValue};

/// Of the body, at least.
const CHUNK: usize = 64 << 10;

/// For admins: it has every secret.
pub(super) fn routes() -> Router<Server> {
    Router::new().route(BACKUP, get(backup))
}

async fn backup(State(server): State<Server>) -> Response {
    let (pairs, revision) = match server.0.store.list("").await {
        Ok(listed) => listed,
        Err(reason) => return failed("reading the store for a backup", &reason),
    };
    let (entries, taken) = (pairs.len() as u64, Timestamp::now());
    info!("a backup of {entries} entries at revision {revision} is taken");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let head = Head { thimble_backup: LAYOUT, format: FORMAT, revision, entries, taken, version };
    let lines = Body::from_stream(stream::unfold(Sending::begin(&head, pairs), |state| async move { state?.chunk() }));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

/// What is left to send.
struct Sending {
    writer: Writer,
    pending: Vec<u8>,
    pairs: std::vec::IntoIter<KeyValue>,
}

type Chunk = (Result<Bytes, Infallible>, Option<Sending>);

impl Sending {
    fn begin(head: &Head, pairs: Vec<KeyValue>) -> Option<Self> {
        let mut writer = Writer::default();
        let pending = writer.head(head);
        Some(Self { writer, pending, pairs: pairs.into_iter() })
    }

    fn chunk(mut self) -> Option<Chunk> {
        while self.pending.len() < CHUNK {
            let Some(KeyValue { key, value, created, modified }) = self.pairs.next() else {
                self.pending.extend(self.writer.end());
                return Some((Ok(self.pending.into()), None));
            };
            self.pending.extend(self.writer.entry(Entry { key, created, modified, value }));
        }
        let chunk = std::mem::take(&mut self.pending);
        Some((Ok(chunk.into()), Some(self)))
    }
}
