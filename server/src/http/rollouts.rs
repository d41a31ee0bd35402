//! Parts of a Rollout, which is one order for many machines: its start, changes, and how far each machine is.

use api::paths::of_rollout;
use api::{RolloutOrder, RolloutSpec};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::ObjectName;
use serde::Deserialize;

use super::{MAX_REASON, failed, line, only_tries, problem, see_log, someone};
use crate::rollout::RolloutError;
use crate::service::Server;

const MAX_BODY: usize = 64 << 10;

pub(super) fn routes() -> Router<Server> {
    let any = ObjectName::new("{namespace}", "{name}");
    Router::new()
        .route(&of_rollout(&any, "start"), post(start))
        .route(&of_rollout(&any, "change"), post(change))
        .route(&of_rollout(&any, "progress"), get(progress))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn refusal(doing: &str, error: &RolloutError) -> Response {
    match error {
        RolloutError::Unknown(_) => problem(StatusCode::NOT_FOUND, error.to_string()),
        RolloutError::Refused { .. } => problem(StatusCode::CONFLICT, error.to_string()),
        RolloutError::Store(reason) => failed(doing, reason),
    }
}

async fn progress(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>) -> Response {
    match server.rollout(&ObjectName::new(namespace, name)).await {
        Ok(progress) => Json(progress).into_response(),
        Err(error) => refusal("reading a rollout", &error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartQuery {
    #[serde(default)]
    by: String,
    /// `All` only returns what would be selected.
    dry_run: Option<String>,
}

async fn start(
    State(server): State<Server>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<StartQuery>,
    body: Bytes,
) -> Response {
    let spec: RolloutSpec = match serde_json::from_slice(&body) {
        Ok(spec) => spec,
        Err(reason) => return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("the body is not a rollout: {reason}")),
    };
    let dry_run = match only_tries(query.dry_run.as_deref()) {
        Ok(dry_run) => dry_run,
        Err(refused) => return *refused,
    };
    let (name, by) = (ObjectName::new(namespace, name), someone(&query.by));
    match Server::detached(async move { server.start_rollout(&name, spec, &by, dry_run).await }).await {
        Some(Ok(rollout)) => Json(rollout).into_response(),
        Some(Err(error)) => refusal("starting a rollout", &error),
        None => see_log("starting a rollout"),
    }
}

async fn change(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>, body: Bytes) -> Response {
    let Ok(RolloutOrder { order, by, reason }) = serde_json::from_slice(&body) else {
        let expected = "the body must be an order such as {\"order\": \"pause\", \"by\": \"...\", \"reason\": \"...\"}";
        return problem(StatusCode::UNPROCESSABLE_ENTITY, expected);
    };
    let (name, by, reason) = (ObjectName::new(namespace, name), someone(&by), line(&reason, MAX_REASON));
    match Server::detached(async move { server.change_rollout(&name, order, &by, &reason).await }).await {
        Some(Ok(rollout)) => Json(rollout).into_response(),
        Some(Err(error)) => refusal("changing a rollout", &error),
        None => see_log("changing a rollout"),
    }
}
