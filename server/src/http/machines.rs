//! `/v1/machines/MAC`: what the server knows of a machine, and the announcement of its installed system.

use std::net::IpAddr;

use api::Machine;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::Mac;

use super::{failed, problem, see_log};
use crate::service::Server;

const MAX_BOOTED: usize = 4 << 10;

pub(super) fn for_operators() -> Router<Server> {
    Router::new().route("/v1/machines/{machine}", get(machine))
}

pub(super) fn for_machines() -> Router<Server> {
    Router::new().route("/v1/machines/{machine}/booted", post(booted).layer(DefaultBodyLimit::max(MAX_BOOTED)))
}

/// By MAC in any notation, or by the IP address of its Hardware.
fn find(server: &Server, text: &str) -> Option<Machine> {
    match text.parse::<Mac>() {
        Ok(mac) => server.machine(mac),
        Err(_) => server.machine_by_address(text.parse::<IpAddr>().ok()?),
    }
}

fn unknown(text: &str) -> Response {
    problem(StatusCode::NOT_FOUND, format!("no Hardware has the interface {text}"))
}

async fn machine(State(server): State<Server>, Path(text): Path<String>) -> Response {
    let Some(mut machine) = find(&server, &text) else { return unknown(&text) };
    if let Some(mac) = machine.mac {
        match server.last_booted(mac).await {
            Ok(booted) => machine.booted = booted,
            Err(reason) => return failed("looking up a machine", &reason),
        }
    }
    Json(machine).into_response()
}

async fn booted(State(server): State<Server>, Path(text): Path<String>, body: Bytes) -> Response {
    let Ok(mac) = text.parse::<Mac>() else { return unknown(&text) };
    let said: String =
        String::from_utf8_lossy(&body).trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match Server::detached(async move { server.booted(mac, said).await }).await {
        Some(Ok(true)) => StatusCode::NO_CONTENT.into_response(),
        Some(Ok(false)) => unknown(&text),
        Some(Err(reason)) => failed("storing that a machine booted", &reason),
        None => see_log("storing that a machine booted"),
    }
}
