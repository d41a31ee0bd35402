//! The API in Kubernetes' shape, so that kubectl and its relatives work. The conventions are the crate `kubernetes`; here is
//! what they are applied to: the view, the plan and the store.

mod change;
mod collect;
mod expiry;
mod items;
mod orders;
mod plain;
mod read;
mod recorder;
mod source;
mod typed;
mod watch;

use std::time::Duration;

use access::{Caller, ResourceAttributes};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use kubernetes::request::{Head, parse};
use kubernetes::resources::{BMC, Family};
use kubernetes::reviews::{self, Question};
use kubernetes::status::Cause;
use kubernetes::{Call, Request, Resource, Status, Verb, body, discovery, openapi};
use log::error;
use machine::Chain;
use serde_json::{Value, json};

use crate::http::gathered::{self, GatherError};
use crate::http::logs::{LogQuery, Place};
use crate::http::probes::probes;
use crate::service::Server;
use crate::store::StoreError;

/// As large as Kubernetes allows.
const MAX_BODY: usize = 3 << 20;
/// For a body to arrive.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Warnings of one answer, and letters of each.
const MOST_WARNINGS: usize = 16;
const MAX_WARNING: usize = 400;

/// The routes. The layer before them puts a [`Caller`] into the extensions; a request without one is refused. Needs a running
/// executor, because events are written and expire from now on.
pub fn router(server: Server) -> Router {
    tokio::spawn(recorder::run(std::sync::Arc::downgrade(&server.0), server.events(None)));
    tokio::spawn(expiry::run(std::sync::Arc::downgrade(&server.0)));
    Router::new()
        .route("/api", any(handle))
        .route("/api/{*rest}", any(handle))
        .route("/apis", any(handle))
        .route("/apis/{*rest}", any(handle))
        .route("/openapi/{*rest}", any(handle))
        .route("/version", any(handle))
        .merge(probes())
        .with_state(server)
}

/// What was asked, and by whom.
struct Asked {
    request: Request,
    caller: Caller,
    content_type: String,
    body: Bytes,
}

async fn handle(State(server): State<Server>, http: HttpRequest) -> Response {
    match answer(server, http).await {
        Ok(response) => response,
        Err(status) => refusal(&status),
    }
}

async fn answer(server: Server, http: HttpRequest) -> Result<Response, Status> {
    let (parts, body) = http.into_parts();
    let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(Status::unauthorized)?;
    let text = |name: header::HeaderName| text_of(&parts.headers, &name);
    let (accept, content_type, user_agent) = (text(header::ACCEPT), text(header::CONTENT_TYPE), text(header::USER_AGENT));
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        accept: &accept,
        content_type: &content_type,
        user_agent: &user_agent,
    };
    let request = match parse(&head)? {
        Call::Objects(request) => *request,
        document => return Ok(self::document(&document, &accept)),
    };
    permitted(&caller, &request)?;
    if request.log {
        return log(server, &request, &parts.uri).await;
    }
    let body = if parts.method == Method::GET { Bytes::new() } else { whole(body).await? };
    let asked = Asked { request, caller, content_type, body };
    match asked.request.verb {
        Verb::Watch => watch::watch(&server, &asked).await,
        Verb::Get | Verb::List => read::answer(&server, &asked).await,
        Verb::Create if asked.request.resource.family == Family::Review => review(&asked),
        // A change runs to its end even if the client goes.
        _ => Server::detached(async move { change::answer(&server, &asked).await })
            .await
            .unwrap_or_else(|| Err(Status::internal("the request ended early; the server's log says why"))),
    }
}

/// What a workflow's actions said, or a machine.
async fn log(server: Server, request: &Request, uri: &Uri) -> Result<Response, Status> {
    let Query(query) = Query::<LogQuery>::try_from_uri(uri).map_err(|refused| Status::bad_request(refused.body_text()))?;
    let name = source::asked_name(request);
    let place = match request.resource.family {
        Family::MachineState => Place::Machine(name.clone()),
        _ => Place::Workflow(name.clone()),
    };
    match gathered::log(server, place, query).await {
        Ok(found) => found.ok_or_else(|| Status::not_found(request.resource, &name.name)),
        Err(GatherError::Store(reason)) => Err(failed("looking for the other servers", &reason)),
        Err(unknown) => Err(Status::unavailable(unknown.to_string())),
    }
}

fn text_of(headers: &HeaderMap, name: &header::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

async fn whole(body: Body) -> Result<Bytes, Status> {
    match tokio::time::timeout(MAX_WAIT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Status::too_large()),
        Err(_) => Err(Status::bad_request("the body did not arrive in time")),
    }
}

fn permitted(caller: &Caller, request: &Request) -> Result<(), Status> {
    let verb = access::Verb::ALL.into_iter().find(|verb| verb.word() == request.verb.word()).unwrap_or(access::Verb::Update);
    let asked = ResourceAttributes {
        verb,
        group: request.resource.group,
        resource: request.resource.plural,
        subresource: match (request.status, request.log) {
            (true, _) => "status",
            (_, true) => "log",
            _ => "",
        },
        namespace: request.namespace.as_deref(),
        name: request.name.as_deref(),
    };
    access::authorize(caller, &asked).map_err(|denied| {
        let name = request.name.as_deref().unwrap_or_default();
        Status { message: denied.message, ..Status::forbidden(request.resource, name, "") }
    })
}

fn document(call: &Call, accept: &str) -> Response {
    let (value, content_type) = match call {
        Call::Versions => discovery::versions(accept),
        Call::Groups => discovery::all(accept),
        Call::Group(name) => (discovery::group(name), JSON),
        Call::Resources { group, version } => (discovery::resources(group, version), JSON),
        Call::Version => (discovery::version(env!("CARGO_PKG_VERSION")), JSON),
        Call::OpenApiV3 => (openapi::index(), JSON),
        Call::OpenApiOf { group, version } => (openapi::document(group, version), JSON),
        Call::OpenApiV2 if accept.contains("proto-openapi") => {
            let name = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            return ([(header::CONTENT_TYPE, name)], openapi::v2_protobuf()).into_response();
        }
        Call::OpenApiV2 => (openapi::v2(), JSON),
        Call::Objects(_) => (Value::Null, JSON),
    };
    ([(header::CONTENT_TYPE, content_type)], value.to_string()).into_response()
}

const JSON: &str = "application/json";

fn answered(code: StatusCode, value: &Value, warnings: &[String]) -> Response {
    sent(code, value.to_string().into(), warnings)
}

/// An answer whose JSON is ready, or is made while it is sent.
fn sent(code: StatusCode, json: Body, warnings: &[String]) -> Response {
    let mut response = (code, [(header::CONTENT_TYPE, JSON)], json).into_response();
    for warning in warnings.iter().take(MOST_WARNINGS) {
        response.headers_mut().extend(warning_header(warning).map(|value| (header::WARNING, value)));
    }
    response
}

fn warning_header(text: &str) -> Option<HeaderValue> {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_WARNING);
    let escaped: String =
        clean.flat_map(|letter| matches!(letter, '"' | '\\').then_some('\\').into_iter().chain([letter])).collect();
    HeaderValue::from_bytes(format!("299 - \"{escaped}\"").as_bytes()).ok()
}

fn refusal(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answered(code, &status.body(), &[]);
    if let Some(seconds) = status.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What the caller may not see is masked.
fn masked(caller: &Caller, resource: &Resource, object: Value) -> Value {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    if caller.sees_secrets(namespace) { object } else { access::mask(resource.plural, object) }
}

/// Nothing acts on these kinds yet, and their users should know.
fn notes(resource: &Resource) -> Vec<String> {
    let note = || format!("nothing acts on {} objects of {BMC} yet: they are only stored", resource.kind);
    (resource.group == BMC).then(note).into_iter().collect()
}

/// The answer when the store does not take or give something.
fn failed(doing: &str, reason: &StoreError) -> Status {
    match reason {
        StoreError::Conflict { .. } => Status::unavailable("other writers were faster every time; try again"),
        _ => {
            error!("{doing}: {}", Chain(reason));
            Status::internal(format!("{doing} failed; the server's log says why"))
        }
    }
}

fn review(asked: &Asked) -> Result<Response, Status> {
    let Asked { request, caller, .. } = asked;
    let review = body::decode(&asked.content_type, &asked.body, request.resource)?.object;
    let answer = match request.resource.kind {
        "SelfSubjectReview" => reviews::subject(review, &caller.name, &caller.groups),
        "SelfSubjectRulesReview" => {
            let namespace = json!(review.get("spec")).get("namespace").and_then(Value::as_str).unwrap_or("default").to_owned();
            let rules = rules(caller, &namespace);
            reviews::rules(review, &rules)
        }
        _ => {
            let question = Question::read(&review);
            let (allowed, reason) = allowed(caller, &question);
            reviews::access(review, allowed, &reason)
        }
    };
    Ok(answered(StatusCode::CREATED, &answer, &[]))
}

fn allowed(caller: &Caller, question: &Question) -> (bool, String) {
    let verbs = access::Verb::ALL.into_iter().filter(|verb| question.verb == "*" || verb.word() == question.verb);
    let verbs: Vec<access::Verb> = verbs.collect();
    if !question.path.is_empty() || verbs.is_empty() {
        let admin = !caller.is_anonymous() && matches!(question.verb.as_str(), "get" | "list");
        return (admin, String::new());
    }
    let text = |text: &'_ str| (!text.is_empty() && text != "*").then(|| text.to_owned());
    let (namespace, name) = (text(&question.namespace), text(&question.name));
    for verb in verbs {
        let asked = ResourceAttributes {
            verb,
            group: &question.group,
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: namespace.as_deref(),
            name: name.as_deref(),
        };
        if let Err(denied) = access::authorize(caller, &asked) {
            return (false, denied.message);
        }
    }
    (true, String::new())
}

/// A row for each resource of which the caller may do something.
fn rules(caller: &Caller, namespace: &str) -> Vec<reviews::Rule> {
    let verbs_of = |resource: &Resource| -> Vec<&'static str> {
        let may = |verb: &access::Verb| {
            let (group, plural) = (resource.group, resource.plural);
            let namespace = resource.namespaced.then_some(namespace);
            let asked = ResourceAttributes { verb: *verb, group, resource: plural, subresource: "", namespace, name: None };
            resource.has(verb.word()) && access::authorize(caller, &asked).is_ok()
        };
        access::Verb::ALL.into_iter().filter(may).map(access::Verb::word).collect()
    };
    let rules = kubernetes::resources::RESOURCES.iter().map(|resource| (verbs_of(resource), resource.group, resource.plural));
    rules.filter(|(verbs, ..)| !verbs.is_empty()).collect()
}

/// Mistakes of a plan as causes of an `Invalid`.
fn causes(mistakes: &[model::Mistake]) -> Vec<Cause> {
    let cause = |mistake: &model::Mistake| {
        let hint = mistake.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        Cause::new(kubernetes::status::INVALID, mistake.path.clone(), format!("{}{hint}", mistake.message))
    };
    mistakes.iter().take(32).map(cause).collect()
}
