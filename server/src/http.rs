//! HTTP beside the API in Kubernetes' shape: what machines and probes may ask on the plain port, and Thimble's own calls, which
//! are for known callers only. A thin edge that bounds bodies.

mod audit;
mod backup;
mod callers;
mod events;
pub(crate) mod gathered;
mod import;
pub(crate) mod logs;
mod machines;
mod moved;
pub(crate) mod probes;
mod rollouts;
pub(crate) mod uploads;
mod workflows;

use std::net::SocketAddr;
use std::time::Duration;

use access::{is_operator, page};
use api::paths::object;
use api::{Applied, Problem};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use log::error;
use machine::Chain;
use model::{Kind, Mistake, Noted, Object, ObjectName};

use crate::service::{ApplyError, Server};
use crate::store::StoreError;
pub use callers::for_callers;
use uploads::{NotObjects, Upload};

const MAX_APPLY: usize = 8 << 20;
/// The most characters of the name of the person who orders something, and of the reason.
const MAX_BY: usize = 64;
const MAX_REASON: usize = 500;
/// The pause between empty lines. By these lines each side notices that the other one is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The routes of the plain port, which serves no object. Serve them with `api::serve`, because metrics are refused to a caller
/// without a known address.
pub fn router(server: Server) -> Router {
    let metrics = probes::metrics().route_layer(from_fn_with_state(server.clone(), only_allowed));
    let machines = machines::for_machines().merge(moved::routes()).route_layer(from_fn(not_of_a_page));
    metrics.merge(machines).merge(probes::probes()).with_state(server)
}

/// Thimble's own calls that concern no document. `callers` puts the rights before them.
fn own() -> Router<Server> {
    Router::new()
        .merge(audit::routes())
        .merge(backup::routes())
        .merge(events::routes())
        .merge(logs::routes())
        .merge(machines::for_operators())
        .merge(rollouts::routes())
        .merge(workflows::routes())
}

/// The route of a part of each Workflow, in both versions.
fn of_workflows(part: &str) -> [String; 2] {
    let any = ObjectName::new("{namespace}", "{name}");
    [Kind::Workflow, Kind::WorkflowV1alpha2].map(|kind| format!("{}/{part}", object(kind, &any)))
}

async fn only_allowed(State(server): State<Server>, request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if let Err(refused) = page::check(request.headers(), &server.0.config().names) {
        return problem(StatusCode::FORBIDDEN, refused.to_string());
    }
    match from {
        Some(address) if is_operator(address, &server.0.config().api_allow) => next.run(request).await,
        Some(address) => problem(
            StatusCode::FORBIDDEN,
            format!("{address} may not read metrics here; it may by HTTPS with a token, or --api-allow names its network"),
        ),
        None => problem(StatusCode::FORBIDDEN, "the address of the caller is not known, so it may not read metrics"),
    }
}

/// A machine may know this host by any name. A page shows itself by its origin.
async fn not_of_a_page(request: Request, next: Next) -> Response {
    match page::origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => problem(StatusCode::FORBIDDEN, refused.to_string()),
    }
}

pub(crate) fn problem(code: StatusCode, text: impl Into<String>) -> Response {
    (code, Json(Problem { error: text.into() })).into_response()
}

/// Makes the text one line of bounded length.
pub(crate) fn line(text: &str, most: usize) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(most).collect()
}

/// The name of the person or program that orders something.
fn someone(by: &str) -> String {
    let by = line(by, MAX_BY);
    if by.is_empty() { "an operator".to_owned() } else { by }
}

/// Whether the query's `dryRun` asks for the answer alone.
fn only_tries(dry_run: Option<&str>) -> Result<bool, Box<Response>> {
    match dry_run {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(_) => Err(Box::new(problem(StatusCode::BAD_REQUEST, "dryRun can only be All"))),
    }
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
    let Noted { objects, note } = match upload.objects(file.clone()).await {
        Ok(noted) => noted,
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
        Some(Ok(applied)) => Json(Applied { warnings: note.into_iter().collect(), ..applied }).into_response(),
        Some(Err(ApplyError::Refused(mistakes))) => refused(mistakes),
        Some(Err(ApplyError::Store(reason))) => failed("apply", &reason),
        None => see_log("apply"),
    }
}
