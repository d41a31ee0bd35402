//! Parts of a Workflow: orders for it, its event log, and what it waits for.

use api::{Cancelled, WorkflowOrder};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use model::ObjectName;
use serde::Deserialize;

use super::{MAX_REASON, failed, line, of_workflows, problem, see_log, someone};
use crate::machines::OrderError;
use crate::service::Server;
use crate::work::CancelError;
use crate::workflows::WorkflowError;

const MAX_BODY: usize = 4 << 10;

pub(super) fn routes() -> Router<Server> {
    let parts: [(&str, MethodRouter<Server>); 4] = [
        ("cancel", post(cancel)),
        ("change", post(change).layer(DefaultBodyLimit::max(MAX_BODY))),
        ("history", get(history)),
        ("waiting", get(waiting)),
    ];
    let routes = parts.into_iter().flat_map(|(part, does)| of_workflows(part).map(|path| (path, does.clone())));
    routes.fold(Router::new(), |router, (path, does)| router.route(&path, does))
}

#[derive(Deserialize)]
struct CancelQuery {
    /// Does not wait for the agent.
    #[serde(default)]
    now: bool,
}

async fn cancel(
    State(server): State<Server>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<CancelQuery>,
    body: Bytes,
) -> Response {
    let name = ObjectName::new(namespace, name);
    let reason = String::from_utf8_lossy(&body);
    let reason = if reason.trim().is_empty() { "by an operator".to_owned() } else { line(&reason, MAX_REASON) };
    match Server::detached(async move { server.cancel(&name, &reason, query.now).await }).await {
        Some(Ok(running)) => Json(Cancelled { ended: running.is_none(), running }).into_response(),
        Some(Err(missing @ CancelError::NoWorkflow(_))) => problem(StatusCode::NOT_FOUND, missing.to_string()),
        Some(Err(over @ (CancelError::Over { .. } | CancelError::Refused { .. }))) => {
            problem(StatusCode::CONFLICT, over.to_string())
        }
        Some(Err(CancelError::Store(reason))) => failed("cancel", &reason),
        None => see_log("cancel"),
    }
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
