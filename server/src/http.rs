//! The API under `/v1/`: objects in and out, machines, events. A thin edge that bounds bodies. All calls but `booted` are
//! only for loopback and the networks that the operator named.

mod backup;
mod callers;
mod import;
pub(crate) mod logs;
mod machines;
pub(crate) mod probes;
mod rollouts;
pub(crate) mod uploads;
mod workflows;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use access::{is_operator, page};
use api::{Applied, Cancelled, List, Problem};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use log::error;
use machine::Chain;
use model::{Kind, Mistake, Object, ObjectName};
use serde::Deserialize;

use crate::service::{ApplyError, DeleteError, Server};
use crate::store::StoreError;
use crate::work::CancelError;
pub use callers::for_callers;
use uploads::{NotObjects, Upload};

const MAX_APPLY: usize = 8 << 20;
/// The most characters of the name of the person who orders something, and of the reason.
const MAX_BY: usize = 64;
const MAX_REASON: usize = 500;
/// The pause between empty lines. By these lines each side notices that the other one is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The routes. Serve them with `api::serve`, because a call without a known address is refused.
pub fn router(server: Server) -> Router {
    // Hardware holds password hashes and user data, so other hosts may not even read it.
    let operators = operators().merge(probes::metrics()).route_layer(from_fn_with_state(server.clone(), only_allowed));
    let machines = machines::for_machines().route_layer(from_fn(not_of_a_page));
    operators.merge(machines).merge(probes::probes()).with_state(server)
}

fn operators() -> Router<Server> {
    Router::new()
        .route("/v1/apply", post(apply).layer(DefaultBodyLimit::max(MAX_APPLY)))
        .route("/v1/{kind}", get(list))
        .route("/v1/{kind}/{namespace}/{name}", get(one).delete(remove))
        .route("/v1/workflows/{namespace}/{name}/cancel", post(cancel))
        .route("/v1/events", get(events))
        .merge(logs::routes())
        .merge(machines::for_operators())
        .merge(rollouts::routes())
        .merge(workflows::routes())
}

async fn only_allowed(State(server): State<Server>, request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if let Err(refused) = page::check(request.headers(), &server.0.config.names) {
        return problem(StatusCode::FORBIDDEN, refused.to_string());
    }
    match from {
        Some(address) if is_operator(address, &server.0.config.api_allow) => next.run(request).await,
        Some(address) => {
            problem(StatusCode::FORBIDDEN, format!("{address} may not use the API; --api-allow names networks that may"))
        }
        None => problem(StatusCode::FORBIDDEN, "the address of the caller is not known, so it may not use the API"),
    }
}

/// A machine may know this host by any name. A page shows itself by its origin.
async fn not_of_a_page(request: Request, next: Next) -> Response {
    match page::origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => problem(StatusCode::FORBIDDEN, refused.to_string()),
    }
}

fn problem(code: StatusCode, text: impl Into<String>) -> Response {
    (code, Json(Problem { error: text.into() })).into_response()
}

/// Makes the text one line of bounded length.
fn line(text: &str, most: usize) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(most).collect()
}

/// The name of the person or program that orders something.
fn someone(by: &str) -> String {
    let by = line(by, MAX_BY);
    if by.is_empty() { "an operator".to_owned() } else { by }
}

/// The answer when the store fails.
fn failed(doing: &str, reason: &StoreError) -> Response {
    if matches!(reason, StoreError::Conflict { .. }) {
        return problem(StatusCode::CONFLICT, reason.to_string());
    }
    error!("{doing}: {}", Chain(reason));
    see_log(doing)
}

fn see_log(doing: &str) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, format!("{doing} failed; the server's log says why"))
}

#[derive(Deserialize)]
struct ApplyQuery {
    /// The name of the file, for its mistakes.
    file: Option<String>,
    /// Only returns what would be done.
    #[serde(default)]
    dry_run: bool,
}

async fn apply(State(server): State<Server>, Query(query): Query<ApplyQuery>, upload: Upload) -> Response {
    applied(server, query.file, query.dry_run, upload, |_| Ok(())).await
}

/// Applies the objects of an upload: all of them, or none. `may` refuses objects that the caller may not write.
async fn applied(
    server: Server,
    file: Option<String>,
    dry_run: bool,
    upload: Upload,
    may: impl FnOnce(&[Object]) -> Result<(), Box<Response>>,
) -> Response {
    let file = file.unwrap_or_else(|| "request".to_owned());
    let refused = |mistakes: Vec<Mistake>| {
        let error = Some(format!("nothing was changed: {} mistakes", mistakes.len()));
        (StatusCode::UNPROCESSABLE_ENTITY, Json(Applied { error, mistakes, ..Applied::default() })).into_response()
    };
    let objects = match upload.objects(file.clone()).await {
        Ok(objects) => objects,
        Err(NotObjects::Mistakes(mistakes)) => return refused(mistakes),
        Err(NotObjects::NotText) => return problem(StatusCode::UNPROCESSABLE_ENTITY, format!("{file} is not UTF-8 text")),
        Err(NotObjects::Ended) => return see_log("apply"),
    };
    if let Err(refused) = may(&objects) {
        return *refused;
    }
    let applied =
        Server::detached(async move { if dry_run { server.try_apply(objects).await } else { server.apply(objects).await } });
    match applied.await {
        Some(Ok(applied)) => Json(applied).into_response(),
        Some(Err(ApplyError::Refused(mistakes))) => refused(mistakes),
        Some(Err(ApplyError::Store(reason))) => failed("apply", &reason),
        None => see_log("apply"),
    }
}

fn known(plural: &str) -> Result<Kind, Box<Response>> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural);
    kind.ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::plural).collect();
        Box::new(problem(StatusCode::NOT_FOUND, format!("{plural} is not a kind of objects; the kinds are {}", known.join(", "))))
    })
}

async fn list(State(server): State<Server>, Path(plural): Path<String>) -> Response {
    match known(&plural) {
        Ok(kind) => Json(List::of(kind, server.list(kind))).into_response(),
        Err(response) => *response,
    }
}

async fn one(State(server): State<Server>, Path((plural, namespace, name)): Path<(String, String, String)>) -> Response {
    let name = ObjectName::new(namespace, name);
    match known(&plural).map(|kind| (kind, server.get(kind, &name))) {
        Ok((_, Some(object))) => Json(object).into_response(),
        Ok((kind, None)) => problem(StatusCode::NOT_FOUND, format!("{kind} {name} does not exist")),
        Err(response) => *response,
    }
}

#[derive(Deserialize)]
struct DeleteQuery {
    /// Also deletes an object that an unfinished workflow uses.
    #[serde(default)]
    force: bool,
}

async fn remove(
    State(server): State<Server>,
    Path((plural, namespace, name)): Path<(String, String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Response {
    let name = ObjectName::new(namespace, name);
    let kind = match known(&plural) {
        Ok(kind) => kind,
        Err(response) => return *response,
    };
    match Server::detached(async move { server.delete(kind, &name, query.force).await }).await {
        Some(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Some(Err(missing @ DeleteError::NotFound { .. })) => problem(StatusCode::NOT_FOUND, missing.to_string()),
        Some(Err(used @ DeleteError::InUse { .. })) => problem(StatusCode::CONFLICT, used.to_string()),
        Some(Err(DeleteError::Store(reason))) => failed("delete", &reason),
        None => see_log("delete"),
    }
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

#[derive(Deserialize)]
struct EventsQuery {
    since: Option<u64>,
}

async fn events(State(server): State<Server>, Query(query): Query<EventsQuery>) -> Response {
    let reader = server.events(query.since);
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
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn json_line(event: &api::Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}
