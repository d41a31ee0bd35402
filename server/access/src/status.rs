//! The `Status` object with which an API in Kubernetes' shape refuses.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

/// The body of a refusal. Clients decide by its reason.
#[must_use]
pub fn body(code: u16, message: &str, details: Value) -> Value {
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if let (false, Some(map)) = (details.is_null(), status.as_object_mut()) {
        map.insert("details".to_owned(), details);
    }
    status
}

/// The answer with such a body.
#[must_use]
pub fn answer(code: StatusCode, message: &str) -> Response {
    of(code, &body(code.as_u16(), message, Value::Null))
}

#[must_use]
pub(crate) fn of(code: StatusCode, body: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
