//! `/v1/rollouts`: one order for many machines.

use api::{RolloutOrder, RolloutSpec};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::ObjectName;
use serde::Deserialize;

use super::{MAX_REASON, failed, line, problem, see_log, someone};
use crate::rollout::RolloutError;
use crate::service::Server;

const MAX_BODY: usize = 64 << 10;

pub(super) fn routes() -> Router<Server> {
    Router::new()
        .route("/v1/rollouts", get(list))
        .route("/v1/rollouts/{namespace}/{name}", get(one).post(start).delete(remove))
        .route("/v1/rollouts/{namespace}/{name}/change", post(change))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn refusal(doing: &str, error: &RolloutError) -> Response {
    match error {
        RolloutError::Unknown(_) => problem(StatusCode::NOT_FOUND, error.to_string()),
        RolloutError::Refused { .. } => problem(StatusCode::CONFLICT, error.to_string()),
        RolloutError::Store(reason) => failed(doing, reason),
    }
}

async fn list(State(server): State<Server>) -> Response {
    match server.rollouts().await {
        Ok(rollouts) => Json(rollouts).into_response(),
        Err(reason) => failed("listing rollouts", &reason),
    }
}

async fn one(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>) -> Response {
    match server.rollout(&ObjectName::new(namespace, name)).await {
        Ok(progress) => Json(progress).into_response(),
        Err(error) => refusal("reading a rollout", &error),
    }
}

#[derive(Deserialize)]
struct StartQuery {
    #[serde(default)]
    by: String,
    /// Only returns what would be selected.
    #[serde(default)]
    dry_run: bool,
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
    let (name, by) = (ObjectName::new(namespace, name), someone(&query.by));
    match Server::detached(async move { server.start_rollout(&name, spec, &by, query.dry_run).await }).await {
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

async fn remove(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let name = ObjectName::new(namespace, name);
    match Server::detached(async move { server.delete_rollout(&name).await }).await {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(error)) => refusal("deleting a rollout", &error),
        None => see_log("deleting a rollout"),
    }
}
