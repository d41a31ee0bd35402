//! `/v1/` and the calls that take many documents, for callers that have shown who they are. Each path asks for a right, and
//! a viewer gets objects without secrets. The layer of `access` stands before it.

use access::{Caller, Denied, ResourceAttributes, Verb, authorize};
use api::ImportedMachine;
use api::names::APPLY;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use log::error;
use model::Object;
use serde::Deserialize;

use super::uploads::Upload;
use super::{MAX_APPLY, applied, backup, import, operators, probes, problem};
use crate::apis;
use crate::service::Server;

/// All Hardware of ten thousand machines has a tenth of it.
const LARGEST: usize = 256 << 20;
/// The API groups of the objects.
const OBJECTS: &str = "tinkerbell.org";
const OWN: &str = "thimble.dev";

/// The routes behind `Access::admit`, with those of the API in Kubernetes' shape.
pub fn for_callers(server: Server) -> Router {
    let apply = Router::new().route(APPLY, post(apply).layer(DefaultBodyLimit::max(MAX_APPLY)));
    let documents = apply.merge(import::routes()).route_layer(from_fn(writers));
    let operators = operators().merge(probes::metrics()).merge(backup::routes()).route_layer(from_fn(with_rights));
    operators.merge(documents).with_state(server.clone()).merge(apis::router(server))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplyQuery {
    /// The name of the file, for its mistakes.
    file: Option<String>,
    /// `All` only returns what would be done.
    dry_run: Option<String>,
}

async fn apply(
    State(server): State<Server>,
    Query(query): Query<ApplyQuery>,
    Extension(caller): Extension<Caller>,
    upload: Upload,
) -> Response {
    let dry_run = match query.dry_run.as_deref() {
        None => false,
        Some("All") => true,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "dryRun can only be All"),
    };
    applied(server, query.file, dry_run, upload, |objects| may_write(&caller, objects)).await
}

/// Refuses a caller that can write no object at all, before its upload takes a turn.
async fn writers(request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return problem(StatusCode::FORBIDDEN, "calls are taken from known callers only");
    };
    let one = |grant: &access::Grant| grant.namespaces.as_ref().and_then(|namespaces| namespaces.first().cloned());
    let places = caller.grants.iter().map(one).chain([None]);
    let found: Vec<_> =
        places.map(|place| authorize(caller, &write(Verb::Create, OBJECTS, "workflows", place.as_deref(), None))).collect();
    match found.into_iter().reduce(Result::or) {
        Some(Err(denied)) => denied_with(&denied),
        _ => next.run(request).await,
    }
}

/// Applying creates objects and changes them, so both rights are needed, for each object.
fn may_write(caller: &Caller, objects: &[Object]) -> Result<(), Box<Response>> {
    objects.iter().try_for_each(|object| {
        let name = object.name();
        writes(caller, OBJECTS, plural(object.kind().plural()), &name.namespace, &name.name)
    })
}

/// An import also sets what machines boot.
pub(super) fn may_import(caller: &Caller, objects: &[Object], machines: &[ImportedMachine]) -> Result<(), Box<Response>> {
    may_write(caller, objects)?;
    machines.iter().try_for_each(|machine| writes(caller, OWN, "machinestates", &machine.namespace, &machine.name))
}

fn writes(caller: &Caller, group: &str, resource: &str, namespace: &str, name: &str) -> Result<(), Box<Response>> {
    [Verb::Create, Verb::Update].into_iter().try_for_each(|verb| {
        let asked = write(verb, group, resource, Some(namespace), Some(name));
        authorize(caller, &asked).map_err(|denied| Box::new(denied_with(&denied)))
    })
}

const fn write<'a>(
    verb: Verb,
    group: &'a str,
    resource: &'a str,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
) -> ResourceAttributes<'a> {
    ResourceAttributes { verb, group, resource, subresource: "", namespace, name }
}

fn denied_with(denied: &Denied) -> Response {
    (StatusCode::FORBIDDEN, Json(denied.status())).into_response()
}

async fn with_rights(request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return problem(StatusCode::FORBIDDEN, "calls are taken from known callers only");
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(asked) = asked(&method, &path) else {
        return problem(StatusCode::FORBIDDEN, format!("no role permits {method} {path}"));
    };
    if let Err(denied) = authorize(&caller, &asked) {
        return problem(StatusCode::FORBIDDEN, denied.message);
    }
    let response = next.run(request).await;
    if caller.sees_secrets(asked.namespace) { response } else { masked(asked.resource, response).await }
}

/// The right that a path asks for.
fn asked<'a>(method: &Method, path: &'a str) -> Option<ResourceAttributes<'a>> {
    let parts: Vec<&str> = if path == "/metrics" { vec!["metrics"] } else { path.strip_prefix("/v1/")?.split('/').collect() };
    let reads = *method == Method::GET || *method == Method::HEAD;
    let on =
        |verb, group, resource, namespace, name| ResourceAttributes { verb, group, resource, subresource: "", namespace, name };
    let (objects, own) = (OBJECTS, OWN);
    Some(match parts.as_slice() {
        // It may have objects of every namespace and kind.
        ["syslog"] => ResourceAttributes { subresource: "log", ..on(Verb::Create, own, "machinestates", None, None) },
        ["hardware", namespace, name, "log"] => {
            ResourceAttributes { subresource: "log", ..on(Verb::Get, own, "machinestates", Some(namespace), Some(name)) }
        }
        ["workflows", namespace, name, "log"] => {
            ResourceAttributes { subresource: "log", ..on(Verb::Get, objects, "workflows", Some(namespace), Some(name)) }
        }
        ["apply"] => on(Verb::Create, objects, "workflows", None, None),
        // No other role knows this resource: it has every secret.
        ["backup"] if reads => on(Verb::Get, "", "backups", None, None),
        // It counts what is in all namespaces.
        ["metrics"] if reads => on(Verb::List, objects, "workflows", None, None),
        ["events"] => on(Verb::Watch, objects, "workflows", None, None),
        ["machines"] => on(Verb::List, own, "machinestates", None, None),
        // A MAC or an address does not say which namespace it leads to.
        ["machines", name] if reads => on(Verb::Get, own, "machinestates", None, Some(name)),
        ["machines", name, "intent"] => on(Verb::Update, own, "machinestates", None, Some(name)),
        ["rollouts"] => on(Verb::List, own, "rollouts", None, None),
        ["rollouts", namespace, name, rest @ ..] => {
            let verb = match (method.as_str(), rest) {
                ("GET" | "HEAD", []) => Verb::Get,
                ("POST", []) => Verb::Create,
                ("DELETE", []) => Verb::Delete,
                _ => Verb::Update,
            };
            on(verb, own, "rollouts", Some(namespace), Some(name))
        }
        [kind] if reads => on(Verb::List, objects, plural(kind), None, None),
        [kind, namespace, name, rest @ ..] => {
            let verb = match (reads, *method == Method::DELETE && rest.is_empty()) {
                (true, _) => Verb::Get,
                (false, true) => Verb::Delete,
                (false, false) => Verb::Update,
            };
            on(verb, objects, plural(kind), Some(namespace), Some(name))
        }
        _ => return None,
    })
}

/// Without the version that `workflows.v1alpha2` names.
fn plural(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

/// The answer without secrets. What is not JSON holds no objects.
async fn masked(resource: &str, response: Response) -> Response {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let read = to_bytes(body, LARGEST).await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(value) = read else {
        error!("an answer about {resource} could not be masked, and is not sent");
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be masked; the server's log says so");
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(access::mask(resource, value).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_asks_for_a_right() {
        for (method, path, expected) in [
            ("POST", "/v1/apply", Some("create workflows of all")),
            ("GET", "/v1/events", Some("watch workflows of all")),
            ("GET", "/v1/workflows/lab/w/log", Some("get workflows/log w in lab")),
            ("GET", "/v1/hardware/lab/m1/log", Some("get machinestates/log m1 in lab")),
            ("POST", "/v1/syslog", Some("create machinestates/log of all")),
            ("GET", "/metrics", Some("list workflows of all")),
            ("POST", "/metrics", None),
            ("GET", "/v1/backup", Some("get backups of all")),
            ("POST", "/v1/backup", None),
            ("GET", "/v1/hardware", Some("list hardware of all")),
            ("GET", "/v1/hardware/lab/m1", Some("get hardware m1 in lab")),
            ("DELETE", "/v1/hardware/lab/m1", Some("delete hardware m1 in lab")),
            ("GET", "/v1/workflows.v1alpha2/lab/w", Some("get workflows w in lab")),
            ("GET", "/v1/workflows/lab/w/history", Some("get workflows w in lab")),
            ("POST", "/v1/workflows/lab/w/cancel", Some("update workflows w in lab")),
            ("POST", "/v1/workflows/lab/w/change", Some("update workflows w in lab")),
            ("GET", "/v1/machines", Some("list machinestates of all")),
            ("GET", "/v1/machines/52:54:00:00:00:01", Some("get machinestates 52:54:00:00:00:01 of all")),
            ("POST", "/v1/machines/m1/intent", Some("update machinestates m1 of all")),
            ("POST", "/v1/machines/m1", None),
            ("GET", "/v1/rollouts", Some("list rollouts of all")),
            ("GET", "/v1/rollouts/lab/r", Some("get rollouts r in lab")),
            ("POST", "/v1/rollouts/lab/r", Some("create rollouts r in lab")),
            ("DELETE", "/v1/rollouts/lab/r", Some("delete rollouts r in lab")),
            ("POST", "/v1/rollouts/lab/r/change", Some("update rollouts r in lab")),
            ("POST", "/v1/hardware", None),
            ("GET", "/v2/x", None),
            ("GET", "/v1/a/b", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let words = asked(&method, path).map(|asked| {
                let name = asked.name.map_or_else(String::new, |name| format!(" {name}"));
                let place = asked.namespace.map_or_else(|| "of all".to_owned(), |namespace| format!("in {namespace}"));
                let part = if asked.subresource.is_empty() { String::new() } else { format!("/{}", asked.subresource) };
                format!("{} {}{part}{name} {place}", asked.verb.word(), asked.resource)
            });
            assert_eq!(words.as_deref(), expected, "{method} {path}");
        }
    }
}
