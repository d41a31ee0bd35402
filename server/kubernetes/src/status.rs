//! `Status`: the body of every answer that is not an object. Clients decide by its `reason`.

use serde_json::{Map, Value, json};

use crate::resources::Resource;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Map<String, Value>,
    /// Seconds for the header `Retry-After`.
    pub retry_after: Option<u32>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

pub const REQUIRED: &str = "FieldValueRequired";
pub const INVALID: &str = "FieldValueInvalid";
pub const FORBIDDEN: &str = "FieldValueForbidden";
pub const WRONG_TYPE: &str = "FieldValueTypeInvalid";
pub const NOT_SUPPORTED: &str = "FieldValueNotSupported";

impl Cause {
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }

    /// As Kubernetes words it, without the field.
    fn detail(&self) -> String {
        let word = match self.reason {
            REQUIRED => "Required value",
            FORBIDDEN => "Forbidden",
            NOT_SUPPORTED => "Unsupported value",
            _ => "Invalid value",
        };
        if self.message.is_empty() { word.to_owned() } else { format!("{word}: {}", self.message) }
    }

    fn text(&self) -> String {
        if self.field.is_empty() { self.detail() } else { format!("{}: {}", self.field, self.detail()) }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Map::new(), retry_after: None }
    }

    fn of(mut self, resource: &Resource, kind: &str, name: &str) -> Self {
        for (key, value) in [("name", name), ("group", resource.group), ("kind", kind)] {
            if !value.is_empty() {
                self.details.insert(key.to_owned(), json!(value));
            }
        }
        self
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).of(resource, resource.plural, name)
    }

    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).of(resource, resource.plural, name)
    }

    /// A path that names nothing.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).of(resource, resource.plural, name)
    }

    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::new(409, "Conflict", message).of(resource, resource.plural, name)
    }

    /// The object is not the one that the client has read.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Fields that other managers own: the manager, its version, and the field.
    #[must_use]
    pub fn apply_conflict(conflicts: &[(String, String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, version, field)| {
                let message = format!("conflict with {manager:?} using {version}");
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let listed: Vec<String> = conflicts
            .iter()
            .map(|(manager, version, field)| format!("conflict with {manager:?} using {version}: {field}"))
            .collect();
        let plural = if conflicts.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{plural}: {}", conflicts.len(), listed.join("; "));
        let mut status = Self::new(409, "Conflict", message);
        status.details.insert("causes".to_owned(), Value::Array(causes));
        status
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    #[must_use]
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    #[must_use]
    pub fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut status = Self::new(504, "Timeout", message);
        status
            .details
            .insert("causes".to_owned(), json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]));
        status.details.insert("retryAfterSeconds".to_owned(), json!(1));
        status
    }

    #[must_use]
    pub fn too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "the body of the request is too large")
    }

    #[must_use]
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    #[must_use]
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(Cause::text).collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let kind = resource.kind;
        let qualified = if resource.group.is_empty() { kind.to_owned() } else { format!("{kind}.{}", resource.group) };
        let mut status = Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {text}")).of(resource, kind, name);
        let causes = causes.iter().map(|cause| json!({"reason": cause.reason, "message": cause.detail(), "field": cause.field}));
        status.details.insert("causes".to_owned(), causes.collect());
        status
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(503, "ServiceUnavailable", message) }
    }

    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let (false, Some(body)) = (self.details.is_empty(), body.as_object_mut()) {
            body.insert("details".to_owned(), Value::Object(self.details.clone()));
        }
        body
    }
}

/// The answer to a DELETE that is done. Clients wait until the object with this uid is gone.
#[must_use]
pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
    let details = json!({"name": name, "group": resource.group, "kind": resource.plural, "uid": uid});
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    #[test]
    fn messages_read_as_kubernetes_writes_them() {
        let hardware = find("tinkerbell.org", "v1alpha1", "hardware").unwrap();
        let secrets = find("", "v1", "secrets").unwrap();
        let workflows = find("tinkerbell.org", "v1alpha1", "workflows").unwrap();
        let missing = Cause::new(REQUIRED, "spec.templateRef", "");
        for (status, code, message) in [
            (Status::not_found(hardware, "m1"), 404, "hardware.tinkerbell.org \"m1\" not found"),
            (Status::not_found(secrets, "s"), 404, "secrets \"s\" not found"),
            (Status::already_exists(hardware, "m1"), 409, "hardware.tinkerbell.org \"m1\" already exists"),
            (Status::too_old(1, 106), 410, "too old resource version: 1 (106)"),
            (
                Status::invalid(workflows, "w", &[missing]),
                422,
                "Workflow.tinkerbell.org \"w\" is invalid: spec.templateRef: Required value",
            ),
        ] {
            assert_eq!((status.code, status.message.as_str()), (code, message));
            assert_eq!(status.body()["code"], code);
        }
        let conflict = Status::apply_conflict(&[("kubectl".into(), "tinkerbell.org/v1alpha1".into(), ".spec.userData".into())]);
        assert_eq!(
            conflict.message,
            "Apply failed with 1 conflict: conflict with \"kubectl\" using tinkerbell.org/v1alpha1: .spec.userData"
        );
        assert_eq!(conflict.body()["details"]["causes"][0]["field"], ".spec.userData");
    }
}
