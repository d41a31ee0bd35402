//! The server's data about a machine, orders for it, and the announcement of its installed system.

use access::{Caller, Role};
use api::Order;
use api::paths::{BOOTED, MACHINES, STEPS};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use jiff::Timestamp;
use model::Mac;
use serde::Deserialize;

use super::{MAX_REASON, failed, line, problem, see_log, someone};
use crate::machines::OrderError;
use crate::service::Server;

const MAX_BOOTED: usize = 4 << 10;
const MAX_ORDER: usize = 4 << 10;
/// More interfaces than any machine has.
const MAX_MACS: usize = 256;

pub(super) fn for_operators() -> Router<Server> {
    Router::new()
        .route(MACHINES, get(machines))
        .route(STEPS, get(steps))
        .route(&format!("{MACHINES}/{{machine}}"), get(machine))
        .route(&format!("{MACHINES}/{{machine}}/boots"), get(boots))
        .route(&format!("{MACHINES}/{{machine}}/booted"), announced())
        .route(&format!("{MACHINES}/{{machine}}/intent"), post(order).layer(DefaultBodyLimit::max(MAX_ORDER)))
}

pub(super) fn for_machines() -> Router<Server> {
    Router::new().route(BOOTED, announced())
}

fn announced() -> MethodRouter<Server> {
    post(booted).layer(DefaultBodyLimit::max(MAX_BOOTED))
}

fn unknown(text: &str) -> Response {
    problem(StatusCode::NOT_FOUND, format!("no Hardware has the interface {text}"))
}

async fn machines(State(server): State<Server>) -> Response {
    Json(server.machine_lines()).into_response()
}

async fn machine(State(server): State<Server>, Extension(caller): Extension<Caller>, Path(text): Path<String>) -> Response {
    let Some(mut machine) = server.machine_named(&text) else { return unknown(&text) };
    // boots asks for each packet, and does not look at steps.
    if caller.grants.iter().any(|grant| !matches!(grant.role, Role::Boots | Role::Server)) {
        machine.last_step = server.last_step_of_all(&machine.hardware).await;
    }
    if let Some(mac) = machine.mac {
        match server.last_booted(mac).await {
            Ok(booted) => machine.booted = booted,
            Err(reason) => return failed("looking up a machine", &reason),
        }
    }
    Json(machine).into_response()
}

/// A MAC that no Hardware has may have asked, too.
async fn boots(State(server): State<Server>, Path(text): Path<String>) -> Response {
    match server.boots_of(&text, Timestamp::now()).await {
        Some(history) => Json(history).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("{text:?} is neither a MAC nor the name or address of a Hardware")),
    }
}

#[derive(Deserialize)]
struct StepsQuery {
    /// Separated by commas.
    macs: String,
}

/// Another server of the site asks for what this one has.
async fn steps(State(server): State<Server>, Query(query): Query<StepsQuery>) -> Response {
    match query.macs.split(',').take(MAX_MACS).map(str::parse).collect::<Result<Vec<Mac>, _>>() {
        Ok(macs) => Json(server.own_steps(&macs)).into_response(),
        Err(_) => problem(StatusCode::BAD_REQUEST, "macs must be MACs, separated by commas"),
    }
}

async fn order(State(server): State<Server>, Path(text): Path<String>, body: Bytes) -> Response {
    let Ok(Order { order, by, reason }) = serde_json::from_slice(&body) else {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the body must be an order such as {\"order\": \"local\", \"by\": \"...\", \"reason\": \"...\"}",
        );
    };
    let (by, reason) = (someone(&by), line(&reason, MAX_REASON));
    match Server::detached(async move { server.order(&text, order, &by, &reason).await }).await {
        Some(Ok(state)) => Json(state).into_response(),
        Some(Err(unknown @ OrderError::Unknown(_))) => problem(StatusCode::NOT_FOUND, unknown.to_string()),
        Some(Err(OrderError::Store(reason))) => failed("setting the intent of a machine", &reason),
        Some(Err(refused)) => problem(StatusCode::CONFLICT, refused.to_string()),
        None => see_log("setting the intent of a machine"),
    }
}

async fn booted(State(server): State<Server>, Path(text): Path<String>, body: Bytes) -> Response {
    let Ok(mac) = text.parse::<Mac>() else { return unknown(&text) };
    let said = line(&String::from_utf8_lossy(&body), MAX_BOOTED);
    match Server::detached(async move { server.booted(mac, said).await }).await {
        Some(Ok(true)) => StatusCode::NO_CONTENT.into_response(),
        Some(Ok(false)) => unknown(&text),
        Some(Err(reason)) => failed("storing that a machine booted", &reason),
        None => see_log("storing that a machine booted"),
    }
}
