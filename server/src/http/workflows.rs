//! `/v1/workflows/NAMESPACE/NAME/...`: orders for one workflow, and its event log.

use api::WorkflowOrder;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use model::ObjectName;

use super::{MAX_REASON, failed, line, problem, see_log, someone};
use crate::machines::OrderError;
use crate::service::Server;
use crate::workflows::WorkflowError;

const MAX_BODY: usize = 4 << 10;

pub(super) fn routes() -> Router<Server> {
    Router::new()
        .route("/v1/workflows/{namespace}/{name}/change", post(change).layer(DefaultBodyLimit::max(MAX_BODY)))
        .route("/v1/workflows/{namespace}/{name}/history", get(history))
        .route("/v1/workflows/{namespace}/{name}/waiting", get(waiting))
}

async fn change(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>, body: Bytes) -> Response {
    let WorkflowOrder { change, by, reason } = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => {
            let expected = "the body must be an order such as {\"order\": \"retry\", \"by\": \"...\", \"reason\": \"...\"}";
            return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("{expected}: {error}"));
        }
    };
    let (name, by, reason) = (ObjectName::new(namespace, name), someone(&by), line(&reason, MAX_REASON));
    match Server::detached(async move { server.change_workflow(&name, &change, &by, &reason).await }).await {
        Some(Ok(ordered)) => Json(ordered).into_response(),
        Some(Err(error)) => refusal(&error),
        None => see_log("changing a workflow"),
    }
}

fn refusal(error: &WorkflowError) -> Response {
    match error {
        WorkflowError::Unknown(_) => problem(StatusCode::NOT_FOUND, error.to_string()),
        WorkflowError::Store(reason) | WorkflowError::Order(OrderError::Store(reason)) => failed("changing a workflow", reason),
        WorkflowError::Refused { .. }
        | WorkflowError::Unable { .. }
        | WorkflowError::Unfinished { .. }
        | WorkflowError::Again { .. }
        | WorkflowError::Order(_) => problem(StatusCode::CONFLICT, error.to_string()),
    }
}

/// `null` if the workflow waits for nothing.
async fn waiting(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>) -> Response {
    Json(server.waiting(&ObjectName::new(namespace, name), Timestamp::now())).into_response()
}

async fn history(State(server): State<Server>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let name = ObjectName::new(namespace, name);
    match server.history(&name).await {
        Ok(Some(entries)) => Json(entries).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, format!("Workflow {name} does not exist")),
        Err(reason) => failed("reading the log of a workflow", &reason),
    }
}
