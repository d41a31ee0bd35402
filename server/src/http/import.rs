//! An export comes back, from callers that may write each object and machine of it.

use access::Caller;
use api::paths::IMPORT;
use api::{Applied, Import};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use model::{Mistake, Noted, parse_noting};

use super::callers::may_import;
use super::uploads::Upload;
use super::{MAX_REASON, failed, line, problem, see_log};
use crate::service::{ApplyError, Server};

/// Ten thousand finished workflows have a fifth of it.
const MAX_IMPORT: usize = 256 << 20;

pub(super) fn routes() -> Router<Server> {
    Router::new().route(IMPORT, post(import).layer(DefaultBodyLimit::max(MAX_IMPORT)))
}

async fn import(State(server): State<Server>, Extension(caller): Extension<Caller>, upload: Upload) -> Response {
    let refused = |mistakes: Vec<Mistake>| {
        let error = Some(format!("nothing was imported: {} mistakes", mistakes.len()));
        (StatusCode::UNPROCESSABLE_ENTITY, Json(Applied { error, mistakes, ..Applied::default() })).into_response()
    };
    let parse = move || {
        let Import { objects, mut machines } = serde_json::from_slice(upload.bytes())?;
        for machine in &mut machines {
            (machine.by, machine.reason) = (line(&machine.by, MAX_REASON), line(&machine.reason, MAX_REASON));
        }
        Ok::<_, serde_json::Error>((parse_noting(&objects, "import"), machines, upload)) // it keeps its turn
    };
    let (Noted { objects, note }, machines, turn) = match tokio::task::spawn_blocking(parse).await {
        Ok(Ok((Ok(noted), machines, turn))) => (noted, machines, turn),
        Ok(Ok((Err(mistakes), ..))) => return refused(mistakes),
        Ok(Err(error)) => return problem(StatusCode::BAD_REQUEST, format!("this is not an import: {error}")),
        Err(_) => return see_log("import"),
    };
    if let Err(refused) = may_import(&caller, &objects, &machines) {
        return *refused;
    }
    let imported = Server::detached(async move { server.import(objects, machines).await }).await;
    drop(turn);
    match imported {
        Some(Ok(applied)) => Json(Applied { warnings: note.into_iter().collect(), ..applied }).into_response(),
        Some(Err(ApplyError::Refused(mistakes))) => refused(mistakes),
        Some(Err(ApplyError::Store(reason))) => failed("import", &reason),
        None => see_log("import"),
    }
}
