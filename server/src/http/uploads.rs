//! Uploads take turns, so that many large ones at once do not fill the memory. A slow client does not delay the others.

use std::sync::Arc;

use api::Problem;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use log::error;
use model::{Mistake, Noted, parse_noting};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::Server;

/// How many bodies are received at once. A client has a minute for each (`api::serve`).
const READ_AT_ONCE: usize = 16;
/// How many uploads are parsed, rendered and stored at once. Meanwhile each needs several times its size.
const STORED_AT_ONCE: usize = 2;

pub struct Turns {
    reads: Arc<Semaphore>,
    stores: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { reads: Arc::new(Semaphore::new(READ_AT_ONCE)), stores: Arc::new(Semaphore::new(STORED_AT_ONCE)) }
    }
}

/// Waits for a turn. None if there are no more turns, because the server stops.
async fn turn(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.ok()
}

/// A complete body, with its turn.
pub struct Upload {
    bytes: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

/// Why an upload is refused.
pub enum NotObjects {
    NotText,
    Mistakes(Vec<Mistake>),
    /// The parser ended early. The log says why.
    Ended,
}

impl FromRequest<Server> for Upload {
    type Rejection = Response;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Response> {
        let read = turn(&server.0.uploads.reads).await;
        let bytes = Bytes::from_request(request, server)
            .await
            .map_err(|refused| (refused.status(), Json(Problem { error: refused.body_text() })).into_response())?;
        let turn = turn(&server.0.uploads.stores).await;
        drop(read);
        Ok(Self { bytes, _turn: turn })
    }
}

impl Upload {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses on a separate thread, because a large text takes long.
    pub async fn objects(&self, file: String) -> Result<Noted, NotObjects> {
        let bytes = self.bytes.clone();
        let parse = move || {
            let text = str::from_utf8(&bytes).map_err(|_| NotObjects::NotText)?;
            parse_noting(text, &file).map_err(NotObjects::Mistakes)
        };
        tokio::task::spawn_blocking(parse).await.unwrap_or_else(|failure| {
            error!("reading an upload ended early: {failure}");
            Err(NotObjects::Ended)
        })
    }
}
