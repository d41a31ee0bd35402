//! Thimble's own calls, for callers that have shown who they are. Each path asks for a right, and a viewer gets objects without
//! secrets. The layer of `access` stands before it.

use access::{Caller, Denied, ResourceAttributes, Verb, authorize};
use api::ImportedMachine;
use api::paths::APPLY;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use kubernetes::request::segments;
use kubernetes::resources::{THIMBLE as OWN, TINKERBELL as OBJECTS, of_kind};
use log::error;
use model::Object;
use serde::Deserialize;

use super::uploads::Upload;
use super::{MAX_APPLY, applied, import, moved, only_tries, own, probes, problem};
use crate::apis;
use crate::machines::find;
use crate::service::Server;
use crate::several;

/// All Hardware of ten thousand machines has a tenth of it.
const LARGEST: usize = 256 << 20;

/// The routes behind `Access::admit`, with those of the API in Kubernetes' shape.
pub fn for_callers(server: Server) -> Router {
    let apply = Router::new().route(APPLY, post(apply).layer(DefaultBodyLimit::max(MAX_APPLY)));
    let documents = apply.merge(import::routes()).route_layer(from_fn(writers));
    let own = own().merge(probes::metrics()).route_layer(from_fn_with_state(server.clone(), with_rights));
    let routes = own.merge(documents).merge(moved::routes()).with_state(server.clone()).merge(apis::router(server.clone()));
    routes.layer(from_fn_with_state(server, several::current))
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
    let dry_run = match only_tries(query.dry_run.as_deref()) {
        Ok(dry_run) => dry_run,
        Err(refused) => return *refused,
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
        writes(caller, OBJECTS, of_kind(object.kind()).map_or("", |resource| resource.plural), &name.namespace, &name.name)
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

async fn with_rights(State(server): State<Server>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return problem(StatusCode::FORBIDDEN, "calls are taken from known callers only");
    };
    let (method, parts) = (request.method().clone(), segments(request.uri().path()));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let Some(asked) = asked(&method, &parts) else {
        return problem(StatusCode::FORBIDDEN, format!("no role permits {method} {}", request.uri().path()));
    };
    // The namespace of a machine is that of its Hardware. A caller of one namespace learns nothing of the others.
    let found = asked.name.filter(|_| asked.resource == MACHINE && asked.namespace.is_none());
    let found = found.and_then(|name| Some(find(&server.view(), name)?.metadata.namespace.clone()));
    let asked = ResourceAttributes { namespace: asked.namespace.or(found.as_deref()), ..asked };
    if let Err(denied) = authorize(&caller, &asked) {
        return problem(StatusCode::FORBIDDEN, denied.message);
    }
    let response = next.run(request).await;
    if caller.sees_secrets(asked.namespace) { response } else { masked(asked.resource, response).await }
}

const MACHINE: &str = "machinestates";
/// The versions of Workflows, which share their names.
const VERSIONS: [&str; 2] = ["v1alpha1", "v1alpha2"];

/// The right that a call asks for. Parts of objects are the subresources that discovery lists.
fn asked<'a>(method: &Method, parts: &[&'a str]) -> Option<ResourceAttributes<'a>> {
    let verb = match *method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        _ => return None,
    };
    let on = |verb, group, resource, subresource, namespace, name| {
        Some(ResourceAttributes { verb, group, resource, subresource, namespace, name })
    };
    match (verb, parts) {
        // It counts what is in all namespaces.
        (Verb::Get, ["metrics"]) => on(Verb::List, OBJECTS, "workflows", "", None, None),
        (_, ["apis", OBJECTS, version, "namespaces", namespace, "workflows", name, part]) if VERSIONS.contains(version) => {
            on(verb, OBJECTS, "workflows", part, Some(namespace), Some(name))
        }
        (_, ["apis", OWN, "v1alpha1", "namespaces", namespace, "rollouts", name, part]) => {
            on(verb, OWN, "rollouts", part, Some(namespace), Some(name))
        }
        (_, ["apis", OWN, "v1alpha1", rest @ ..]) => match (verb, rest) {
            // No other role knows this resource: it has every secret.
            (Verb::Get, ["backup"]) => on(Verb::Get, "", "backups", "", None, None),
            (Verb::Get, ["audit"]) => on(Verb::Get, "", "audits", "", None, None),
            // They may be of every namespace.
            (Verb::Get, ["events"]) => on(Verb::Watch, OBJECTS, "workflows", "", None, None),
            (Verb::Get, ["steps"]) => on(Verb::List, OWN, MACHINE, "", None, None),
            (Verb::Create, ["syslog"]) => on(Verb::Create, OWN, MACHINE, "log", None, None),
            (Verb::Get, ["machines"]) => on(Verb::List, OWN, MACHINE, "", None, None),
            (Verb::Get, ["machines", name] | ["machines", name, "boots"]) => on(Verb::Get, OWN, MACHINE, "", None, Some(name)),
            (Verb::Create, ["machines", name, "booted"]) => on(Verb::Create, OWN, MACHINE, "booted", None, Some(name)),
            (Verb::Create, ["machines", name, "intent"]) => on(Verb::Update, OWN, MACHINE, "", None, Some(name)),
            _ => None,
        },
        _ => None,
    }
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
        let own = |rest: &str| format!("/apis/thimble.dev/v1alpha1/{rest}");
        let workflow = |rest: &str| format!("/apis/tinkerbell.org/v1alpha1/namespaces/lab/workflows/w/{rest}");
        for (method, path, expected) in [
            ("GET", own("events"), Some("watch workflows of all")),
            ("POST", own("syslog"), Some("create machinestates/log of all")),
            ("GET", own("syslog"), None),
            ("GET", own("steps"), Some("list machinestates of all")),
            ("POST", own("steps"), None),
            ("POST", own("machines/node-1/booted"), Some("create machinestates/booted node-1 of all")),
            ("GET", "/metrics".to_owned(), Some("list workflows of all")),
            ("POST", "/metrics".to_owned(), None),
            ("GET", own("backup"), Some("get backups of all")),
            ("POST", own("backup"), None),
            ("GET", own("audit"), Some("get audits of all")),
            ("GET", workflow("history"), Some("get workflows/history w in lab")),
            ("GET", workflow("history").replace("v1alpha1", "v1alpha2"), Some("get workflows/history w in lab")),
            ("GET", workflow("history").replace("v1alpha1", "v1alpha3"), None),
            ("POST", workflow("cancel"), Some("create workflows/cancel w in lab")),
            ("POST", workflow("change").replace("/lab/", "/l%61b/"), Some("create workflows/change w in lab")),
            ("DELETE", workflow("cancel"), None),
            ("GET", own("machines"), Some("list machinestates of all")),
            ("GET", own("machines/52:54:00:00:00:01"), Some("get machinestates 52:54:00:00:00:01 of all")),
            ("GET", own("machines/52:54:00:00:00:01/boots"), Some("get machinestates 52:54:00:00:00:01 of all")),
            ("GET", own("machines/52:54:00:00:00:01/other"), None),
            ("POST", own("machines/lab%2Fm1/intent"), Some("update machinestates lab/m1 of all")),
            ("POST", own("machines/m1"), None),
            ("GET", own("namespaces/lab/rollouts/r/progress"), Some("get rollouts/progress r in lab")),
            ("POST", own("namespaces/lab/rollouts/r/start"), Some("create rollouts/start r in lab")),
            ("POST", own("namespaces/lab/rollouts/r/change"), Some("create rollouts/change r in lab")),
            ("GET", own("other"), None),
            ("GET", "/v2/x".to_owned(), None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let parts = segments(&path);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let words = asked(&method, &parts).map(|asked| {
                let name = asked.name.map_or_else(String::new, |name| format!(" {name}"));
                let place = asked.namespace.map_or_else(|| "of all".to_owned(), |namespace| format!("in {namespace}"));
                let part = if asked.subresource.is_empty() { String::new() } else { format!("/{}", asked.subresource) };
                format!("{} {}{part}{name} {place}", asked.verb.word(), asked.resource)
            });
            assert_eq!(words.as_deref(), expected, "{method} {path}");
        }
    }
}
