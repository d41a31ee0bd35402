//! Several servers on one store. Each one's view is behind the store for a moment, and a caller may know from another server
//! what this one has not seen yet.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use machine::Chain;
use tokio::time::timeout;

use crate::heard::share;
use crate::http::problem;
use crate::leader::campaign;
use crate::service::Server;
use crate::store::StoreError;

/// For the view to show what is stored.
const SHOWN: Duration = Duration::from_secs(5);
/// For machines that boot, which ask again only a few times.
const HASTE: Duration = Duration::from_secs(1);

impl Server {
    /// Begins to take part in what several servers of a store do together.
    pub(crate) fn join_others(&self) {
        self.0.agents.share();
        tokio::spawn(campaign(Arc::downgrade(&self.0), self.stopping()));
        tokio::spawn(share(Arc::downgrade(&self.0)));
    }

    /// Waits until the view shows everything that is stored now. Calls of the same moment share one read. It costs none if this
    /// server is the only one.
    ///
    /// # Errors
    /// When the store fails, or the view does not come there in time. An answer from an old view could say that something does not
    /// exist which another server has just shown to the caller.
    pub(crate) async fn caught_up(&self) -> Result<(), StoreError> {
        if !self.0.store.is_shared() {
            return Ok(());
        }
        match self.0.latest.get(|| self.0.store.revision()).await? {
            Some(latest) if self.shows(latest).await => Ok(()),
            _ => Err(StoreError::Behind { seconds: SHOWN.as_secs() }),
        }
    }

    /// Like `caught_up`, for a machine that boots. Without the store it gets what was last known.
    pub async fn hurried(&self) {
        if self.0.store.is_shared() {
            let _ = timeout(HASTE, self.caught_up()).await; // the view is still the best answer
        }
    }

    /// Whether the view is at a revision, or comes there soon.
    pub(crate) async fn shows(&self, revision: u64) -> bool {
        let mut shown = self.0.revision.subscribe();
        matches!(timeout(SHOWN, shown.wait_for(|now| *now >= revision)).await, Ok(Ok(_)))
    }
}

/// Before each call of a client of the API, all but those that ask about this process.
pub(crate) async fn current(State(server): State<Server>, request: Request, next: Next) -> Response {
    let of_process = ["/healthz", "/livez", "/readyz", "/metrics"].contains(&request.uri().path());
    if !of_process && let Err(reason) = server.caught_up().await {
        return problem(StatusCode::SERVICE_UNAVAILABLE, Chain(&reason).to_string());
    }
    next.run(request).await
}

#[cfg(test)]
mod tests;
