//! `/healthz`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::service::Server;

/// For everyone: they show no more than whether the server works.
pub(crate) fn probes() -> Router<Server> {
    Router::new().route("/healthz", get(healthz)).route("/livez", get(healthz)).route("/readyz", get(readyz))
}

pub(crate) fn metrics() -> Router<Server> {
    Router::new().route("/metrics", get(scrape))
}

async fn healthz(State(server): State<Server>) -> Response {
    answer(&server.ill().await)
}

async fn readyz(State(server): State<Server>) -> Response {
    answer(&server.unready().await)
}

fn answer(reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return "ok".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}

/// On a thread of its own: ten thousand workflows take a while.
async fn scrape(State(server): State<Server>) -> Response {
    match tokio::task::spawn_blocking(move || server.metrics()).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => super::see_log("a scrape"),
    }
}
